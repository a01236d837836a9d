"""`lambda-tasks check --template`: what is found in a template and its code before it is deployed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from lambda_tasks.local.checks.refused import refused
from lambda_tasks.local.template.model import read_model

TEMPLATE = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Worker:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: code
      Handler: lambda_tasks.handler.handler
      Timeout: 30
      Environment: {Variables: {LAMBDA_TASKS_TABLE: rows}}
      Events:
        Jobs:
          Type: SQS
          Properties:
            Queue: !GetAtt Jobs.Arn
            FunctionResponseTypes: [ReportBatchItemFailures]
        Nightly:
          Type: Schedule
          Properties:
            Schedule: rate(1 day)
            Input: '{"task_name": "shop.tasks.report", "kwargs": {}}'
  Jobs:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 180
      RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 6}
  Dead: {Type: AWS::SQS::Queue}
  Weekly:
    Type: AWS::Scheduler::Schedule
    Properties:
      Target:
        Arn: arn:aws:scheduler:::aws-sdk:sqs:sendMessage
        Input: !Sub '{"QueueUrl": "${Jobs}", "MessageBody": "{\\"task_name\\": \\"shop.tasks.call\\", \\"kwargs\\": {}}"}'
"""

TASKS = """
import lambda_tasks as lt
from lambda_tasks import task

@task
def report() -> None: ...

@lt.task(retry_on=(ConnectionError,), max_retries=5, singleton=True)
async def call() -> None: ...

def plain() -> None: ...
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A template with nothing wrong, and its code."""
    package = tmp_path / "code" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "tasks.py").write_text(textwrap.dedent(TASKS))
    (package / "broken.py").write_text("def (")
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    return tmp_path


def check(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("LAMBDA_TASKS_", "AWS_"))}
    return subprocess.run(
        [sys.executable, "-m", "lambda_tasks", "check", "--template", "template.yaml", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=project,
        env=environ,
    )


def edit(project: Path, before: str, after: str) -> None:
    text = (project / "template.yaml").read_text()
    assert before in text
    (project / "template.yaml").write_text(text.replace(before, after))


def test_a_good_template_has_no_findings(project: Path) -> None:
    """Nothing is found where nothing is wrong, and the status is 0."""
    result = check(project, "--json")
    assert (result.returncode, json.loads(result.stdout)["findings"]) == (0, [])


MISTAKES = [
        ("            FunctionResponseTypes: [ReportBatchItemFailures]\n", "", "13: Worker.Jobs: there is no ReportBatchItemFailures"),
        ("[ReportBatchItemFailures]", "[ReportBatchItemFailure]", "15: Worker.Jobs: FunctionResponseTypes has ReportBatchItemFailure"),
        ("VisibilityTimeout: 180", "VisibilityTimeout: 179", "24: Jobs: VisibilityTimeout of 179 s is below six times the Timeout of Worker, 30 s: set it to 180 s"),
        ("VisibilityTimeout: 180", "VisibilityTimeout: 29", "13: Worker.Jobs: the queue's VisibilityTimeout of 29 s is below the function's Timeout of 30 s"),
        ("VisibilityTimeout: 180", "VisibilityTimeout: 50000", "24: Jobs: VisibilityTimeout is 50000"),
        ("maxReceiveCount: 6", "maxReceiveCount: 5", "25: Jobs: maxReceiveCount is 5, and shop.tasks.call is tried up to 6 times: set it to 6 or more"),
        ("maxReceiveCount: 6", "maxReceiveCount: 0", "25: Jobs: RedrivePolicy has a maxReceiveCount of 0"),
        ("      RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 6}\n", "", "Jobs: there is no dead-letter queue"),
        ("!GetAtt Dead.Arn", "!Ref Dead", "25: Jobs: RedrivePolicy has https://sqs."),
        ("Dead: {Type: AWS::SQS::Queue}", "Dead: {Type: AWS::SQS::Queue, Properties: {FifoQueue: true}}", "25: Jobs: the dead-letter queue of a standard queue is a FIFO queue"),
        ("VisibilityTimeout: 180", "VisibilityTimeout: 180\n      FifoQueue: true", "Jobs: the dead-letter queue of a FIFO queue is a standard queue: make it a FIFO queue too"),
        ("VisibilityTimeout: 180", "VisibilityTimeout: 180\n      FifoQueue: true\n      QueueName: jobs", "Jobs: QueueName is jobs, and FifoQueue is true: end its name in .fifo"),
        ("LAMBDA_TASKS_TABLE: rows", "LAMBDA_TASKS_MODE: eager, LAMBDA_TASKS_TABLE: rows", "9: Worker: LAMBDA_TASKS_MODE is eager"),
        ("LAMBDA_TASKS_TABLE: rows", "OTHER: rows", "9: Worker: shop.tasks.call is a singleton, and there is no table"),
        ("shop.tasks.report", "shop.tasks.reprot", "20: Worker.Nightly: it sends the task shop.tasks.reprot, which the code of Worker does not have"),
        ("Schedule: rate(1 day)", "Schedule: rate(1 days)", "19: Worker.Nightly: Schedule is 'rate(1 days)': number and unit do not agree: write rate(1 day)"),
        ("Schedule: rate(1 day)", "Schedule: cron(0 3 * * *)", "19: Worker.Nightly: Schedule is 'cron(0 3 * * *)': it has 5 fields"),
        ("      Target:\n", "      ScheduleExpressionTimezone: Europe/Berln\n      Target:\n", "Weekly: ScheduleExpressionTimezone is 'Europe/Berln', which is no time zone: use Europe/Berlin"),
        ("shop.tasks.report", "shop.tasks.plain", "20: Worker.Nightly: it sends the task shop.tasks.plain"),
        ("shop.tasks.call", "shop.task.call", "32: Weekly: it sends the task shop.task.call, which the code of Worker does not have"),
        ("Timeout: 30\n", "Timeout: 901\n", "8: Worker: Timeout is 901: write 1 to 900 seconds, or a CapacityProviderConfig"),
        ("Timeout: 30\n", "Timeout: 5401\n      CapacityProviderConfig: {Arn: !ImportValue provider}\n", "8: Worker: Timeout is 5401: write 1 to 5400 seconds"),
        ("        Nightly:", "        Again: {Type: SQS, Properties: {Queue: !GetAtt Jobs.Arn, FunctionResponseTypes: [ReportBatchItemFailures]}}\n        Nightly:", "16: Worker.Again: Worker has two mappings of Jobs: remove one"),
]  # fmt: skip
# A second process tells each of these as an annotation; the text is made in one place.
ANNOTATED = MISTAKES[::5]


@pytest.mark.parametrize(("before", "after", "line"), MISTAKES)
def test_each_mistake_is_one_line(project: Path, before: str, after: str, line: str) -> None:
    """A mistake is named with its line and what to do, as text and as GitHub's annotation, and the status is 1."""
    edit(project, before, after)
    result = check(project)
    assert result.returncode == 1, result.stderr
    found = [text for text in result.stdout.splitlines() if text.startswith("template.yaml:")]
    assert [text for text in found if line in text], result.stdout
    if (before, after, line) in ANNOTATED:
        annotated = check(project, "--format", "github")
        annotations = annotated.stdout.splitlines()
        assert (annotated.returncode, len(annotations)) == (1, len(found))
        assert all(text.startswith("::error file=template.yaml,line=") for text in annotations)


MANAGED = "CapacityProviderConfig: {Arn: !ImportValue provider, PerExecutionEnvironmentMaxConcurrency: 4}"
OF_CLOUDFORMATION = """
  Raw:
    Type: AWS::Lambda::Function
    Properties:
      Code: code
      Timeout: 5400
      CapacityProviderConfig: {LambdaManagedInstancesCapacityProviderConfig: {CapacityProviderArn: !Ref Provider}}
  Provider: {Type: AWS::Lambda::CapacityProvider}
"""


@pytest.mark.parametrize(
    ("before", "after", "refused_timeouts"),
    [
        ("Timeout: 30\n", f"Timeout: 5400\n      {MANAGED}\n", []),
        ("Resources:\n", f"Globals: {{Function: {{{MANAGED}}}}}\nResources:{OF_CLOUDFORMATION}", []),
        ("Timeout: 30\n", "Timeout: 5400\n      CapacityProviderConfig: !Ref AWS::NoValue\n", ["Timeout is 5400"]),
        ("Timeout: 30\n", "Timeout: 901\n      CapacityProviderConfig: {}\n", ["Timeout is 901"]),
        ("Timeout: 30\n", f"Timeout: 0\n      {MANAGED}\n", ["Timeout is 0"]),
    ],
)
def test_managed_instances_have_90_minutes(project: Path, before: str, after: str, refused_timeouts: list[str]) -> None:
    """A function with a capacity provider may have a Timeout of 5,400 s, of SAM's or CloudFormation's own kind."""
    edit(project, before, after)
    edit(project, "VisibilityTimeout: 180", "VisibilityTimeout: 32400")
    model = read_model(project / "template.yaml", {}, "eu-west-1", "123456789012")
    assert [one.problem for one in refused(model)] == refused_timeouts


def test_the_tasks_that_a_function_may_not_run_do_not_count(project: Path) -> None:
    """LAMBDA_TASKS_MODULES says which of the tasks in the code are the function's."""
    edit(project, "LAMBDA_TASKS_TABLE: rows", "LAMBDA_TASKS_MODULES: other.tasks")
    edit(project, "maxReceiveCount: 6", "maxReceiveCount: 2")
    assert check(project).returncode == 0


def test_every_function_is_checked(project: Path) -> None:
    """The references of all functions are checked where none is named."""
    text = (project / "template.yaml").read_text()
    more = "  {}: {{Type: AWS::Lambda::Function, Properties: {{Code: code, Environment: {{Variables: {{LAMBDA_TASKS_SECRET_A: {}}}}}}}}}\n"
    (project / "template.yaml").write_text(text + more.format("One", "arn:x") + more.format("Two", "arn:y"))
    result = check(project, "--json")
    assert result.returncode == 1
    assert [one["error"] for one in json.loads(result.stdout)["problems"]] == ["InvalidReference"] * 2
    assert json.loads(check(project, "--json", "--function", "Worker").stdout)["problems"] == []
    annotations = check(project, "--format", "github").stdout.splitlines()
    assert [line.split(",")[2].partition("::")[0] for line in annotations] == ["title=One", "title=Two"]
