"""`lambda-tasks schedules`, and `check` where template and code differ in their schedules."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lambda_tasks.command_line.app import run
from lambda_tasks.local.template.language.text import load

KEY = "<aws.scheduler.schedule-arn> <aws.scheduler.scheduled-time>"
CLEAN_UP = {"task_name": "shop.tasks.clean_up", "kwargs": {}, "n_retries": 0, "idempotency_key": KEY}

TEMPLATE = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  # The worker of the shop.
  Worker:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: code
      Handler: lambda_tasks.handler.handler
      Events:
        Jobs:
          Type: SQS
          Properties:
            Queue: !GetAtt Jobs.Arn
            FunctionResponseTypes: [ReportBatchItemFailures]  # each by itself
  Jobs:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 18
      RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 6}

  Dead: {Type: AWS::SQS::Queue}
# The end.
"""

TASKS = """
from lambda_tasks import task
from shop import times
from shop.times import ZONE

@task(schedule=times.NIGHT, schedule_timezone=ZONE)
def clean_up(*, days: int = 3) -> None: ...

@task
def plain() -> None: ...
"""
TIMES = """
NIGHT = f"cron(0 {3} * * ? *)"
ZONE = "Europe/" + "Berlin"
"""

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a template without schedules, and code that has one."""
    package = tmp_path / "code" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "tasks.py").write_text(TASKS)
    (package / "times.py").write_text(TIMES)
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def command(project: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """A call of the command line in the project's folder, which gives its status and what it printed."""
    assert project.is_dir()

    def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        status = run([*arguments, "--template", "template.yaml"])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return call


def findings(command: Command) -> list[str]:
    status, printed = command("check")
    found = [line for line in printed.splitlines() if line.startswith("template.yaml")]
    assert status == (1 if found else 0), printed
    return found


def event(project: Path, name: str = "CleanUp") -> Any:
    return load(project / "template.yaml")[0]["Resources"]["Worker"]["Properties"]["Events"][name]


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text, text
    path.write_text(text.replace(before, after))


def test_the_events_are_printed_as_a_part_of_the_template(command: Command, project: Path) -> None:
    """Expression, zone, input, retry policy, dead-letter queue and role are there, as YAML, and as JSON with all forms."""
    status, printed = command("schedules")
    (project / "part.yaml").write_text(printed)
    part = load(project / "part.yaml")[0]["Resources"]
    own = part["Worker"]["Properties"]["Events"]["CleanUp"]["Properties"]
    assert (status, part["Worker"]["Properties"]["Events"]["CleanUp"]["Type"]) == (0, "ScheduleV2")
    assert (own["ScheduleExpression"], own["ScheduleExpressionTimezone"]) == ("cron(0 3 * * ? *)", "Europe/Berlin")
    assert json.loads(own["Input"]) == CLEAN_UP
    assert own["RetryPolicy"] == {"MaximumEventAgeInSeconds": "3600", "MaximumRetryAttempts": "185"}
    assert own["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["Dead", "Arn"]}}
    assert own["RoleArn"] == {"Fn::GetAtt": ["WorkerScheduleRole", "Arn"]}
    statements = part["WorkerScheduleRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    assert [one["Action"] for one in statements] == ["lambda:InvokeFunction", "sqs:SendMessage"]
    assert command("schedules", "--json")[1].startswith("{")
    found = json.loads(command("schedules", "--json")[1])["Resources"]
    assert found["WorkerScheduleRole"]["Type"] == "AWS::IAM::Role"
    assert found["Worker"]["Properties"]["Events"]["CleanUp"]["Properties"]["OmitName"] is True
    assert (project / "template.yaml").read_text() == TEMPLATE


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_what_is_written_is_what_the_code_says(command: Command, project: Path, ending: str) -> None:
    """With --write the check has no findings, comments and the rest stay, and a second time there is nothing to do."""
    (project / "template.yaml").write_bytes(TEMPLATE.replace("\n", ending).encode())
    assert findings(command) == [
        "template.yaml:9: Worker: the schedule of shop.tasks.clean_up, cron(0 3 * * ? *), is missing: add it: "
        "lambda-tasks schedules --template template.yaml --write"
    ]
    assert command("schedules", "--write") == (
        0,
        "added Worker.CleanUp: shop.tasks.clean_up, cron(0 3 * * ? *)\n",
    )
    assert findings(command) == []
    text = (project / "template.yaml").read_bytes().decode()
    assert set(TEMPLATE.splitlines()) <= set(text.splitlines())
    assert text.count("\r\n") == (text.count("\n") if ending == "\r\n" else 0)
    assert command("schedules", "--write") == (0, "The template has the schedules of the code.\n")
    assert (project / "template.yaml").read_bytes().decode() == text
    assert [one.name for one in project.iterdir() if one.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("file", "before", "after", "said", "changed"),
    [
        ("code/shop/times.py", "{3}", "{4}", "ScheduleExpression is cron(0 3 * * ? *), and the code has cron(0 4 * * ? *)", "ScheduleExpression"),
        ("code/shop/times.py", '"Berlin"', '"Rome"', "ScheduleExpressionTimezone is Europe/Berlin, and the code has Europe/Rome", "ScheduleExpressionTimezone"),
        ("code/shop/tasks.py", ", schedule_timezone=ZONE", "", "ScheduleExpressionTimezone is Europe/Berlin, and the code has UTC", "ScheduleExpressionTimezone"),
        ("template.yaml", "            ScheduleExpressionTimezone: Europe/Berlin\n", "", "ScheduleExpressionTimezone is UTC", "ScheduleExpressionTimezone"),
        ("template.yaml", '"kwargs": {}', '"kwargs": {"days": 5}', "Input is ", "Input"),
        ("template.yaml", f', "idempotency_key": "{KEY}"', "", "Input is ", "Input"),
        ("template.yaml", "scheduled-time", "execution-id", "Input is ", "Input"),
        ("template.yaml", "ScheduleExpression: 'cron(0 3 * * ? *)'", "ScheduleExpression: >-\n              cron(0 5 * * ? *)\n            # why", "ScheduleExpression is cron(0 5", "ScheduleExpression"),
        ("template.yaml", "ScheduleExpression: 'cron(0 3 * * ? *)'", "ScheduleExpression: !Join ['', ['rate(', '2 days)']]", "ScheduleExpression is rate(2 days)", "ScheduleExpression"),
    ],
)  # fmt: skip
def test_each_difference_is_found_and_corrected(
    command: Command, project: Path, file: str, before: str, after: str, said: str, changed: str
) -> None:
    """A difference in expression, zone or input is a finding that names both sides, and --write corrects that alone."""
    command("schedules", "--write")
    edit(project / file, before, after)
    (line,) = findings(command)
    assert "Worker.CleanUp: it differs from the schedule of shop.tasks.clean_up: " + said in line
    assert command("schedules", "--write") == (0, f"changed Worker.CleanUp: {changed}\n")
    assert findings(command) == []
    assert json.loads(event(project)["Properties"]["Input"]) == CLEAN_UP


def test_a_schedule_of_a_task_that_has_none_is_found_and_removed(command: Command, project: Path) -> None:
    """An event of a task without a schedule, or a second one of a task, is a finding; one with kwargs is its template's."""
    command("schedules", "--write")
    written = (project / "template.yaml").read_text()
    more = """\
        Again:
          Type: ScheduleV2
          Properties: {ScheduleExpression: rate(1 day), Input: '{"task_name": "shop.tasks.clean_up"}'}
        Own2: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 day), Input: '{"task_name": "shop.tasks.clean_up", "kwargs": {"days": 1}}'}}
        Own:
          Type: ScheduleV2
          Properties: {ScheduleExpression: rate(1 day), Input: '{"task_name": "shop.tasks.plain", "kwargs": {"x": 1}}'}
"""
    edit(project / "template.yaml", "        CleanUp:\n", f"{more}        CleanUp:\n")
    (line,) = findings(command)
    assert "Worker.Again: shop.tasks.clean_up is scheduled a second time: remove it" in line
    edit(project / "code" / "shop" / "tasks.py", "(schedule=times.NIGHT, schedule_timezone=ZONE)", "")
    assert [line.partition(": ")[2].partition(":")[0] for line in findings(command)] == [
        "Worker.Again",
        "Worker.CleanUp",
    ]
    assert "shop.tasks.clean_up has no schedule in the code: remove it" in findings(command)[1]
    assert command("schedules", "--write")[1].count("removed Worker.") == 2
    assert findings(command) == []
    assert list(load(project / "template.yaml")[0]["Resources"]["Worker"]["Properties"]["Events"]) == [
        "Jobs",
        "Own2",
        "Own",
    ]
    assert len(written) > len((project / "template.yaml").read_text())


def test_an_event_is_the_last_one_of_its_function(command: Command, project: Path) -> None:
    """Where the only event goes its map goes too; where there is none it comes with the first event."""
    head, _, rest = TEMPLATE.partition("      Events:\n")
    (project / "template.yaml").write_text(head + rest[rest.index("  Jobs:\n    Type") :])
    command("schedules", "--write")
    assert findings(command)[:1] == []
    edit(project / "code" / "shop" / "tasks.py", "(schedule=times.NIGHT, schedule_timezone=ZONE)", "")
    assert command("schedules", "--write")[0] == 0
    assert "Events" not in load(project / "template.yaml")[0]["Resources"]["Worker"]["Properties"]


def test_a_function_on_one_line(command: Command, project: Path) -> None:
    """A template in flow style is written too."""
    content = load(project / "template.yaml")[0]
    (project / "template.yaml").write_text(yaml.safe_dump(content, default_flow_style=True, width=10_000))
    assert command("schedules", "--write")[0] == 0
    assert findings(command) == []
    edit(project / "code" / "shop" / "tasks.py", "(schedule=times.NIGHT, schedule_timezone=ZONE)", "")
    assert command("schedules", "--write") == (0, "removed Worker.CleanUp: shop.tasks.clean_up\n")


def test_schedules_of_other_kinds(command: Command, project: Path) -> None:
    """A schedule that sends to the queue is as good; an event of a rule knows no zone, and becomes a ScheduleV2."""
    raw = """\
  Nightly:
    Type: AWS::Scheduler::Schedule
    Properties:
      ScheduleExpression: cron(0 3 * * ? *)
      ScheduleExpressionTimezone: Europe/Berlin
      Target: {Arn: !GetAtt Jobs.Arn, Input: '{"task_name": "shop.tasks.clean_up", "kwargs": {}}'}
"""
    edit(project / "template.yaml", "# The end.\n", raw)
    assert findings(command) == []
    edit(project / "template.yaml", "cron(0 3", "cron(0 4")
    assert "Nightly: it differs from the schedule of shop.tasks.clean_up" in findings(command)[0]
    assert command("schedules", "--write") == (0, "changed Nightly: ScheduleExpression\n")
    rule = '        Old: {Type: Schedule, Properties: {Schedule: "cron(0 3 * * ? *)", Input: \'{"task_name": "shop.tasks.clean_up"}\'}}\n'
    (project / "template.yaml").write_text(TEMPLATE.replace("      Events:\n", f"      Events:\n{rule}"))
    assert (
        "Worker.Old: it differs from the schedule of shop.tasks.clean_up: Type is Schedule, and" in findings(command)[0]
    )
    assert command("schedules", "--write")[0] == 0
    assert (findings(command), event(project, "Old")["Type"]) == ([], "ScheduleV2")
    gone = """\
  Nightly:
    Type: AWS::Events::Rule
    Properties:
      ScheduleExpression: rate(1 day)
      Targets: [{Id: one, Arn: !GetAtt Jobs.Arn, Input: '{"task_name": "shop.tasks.clean_up"}'}]
"""
    (project / "template.yaml").write_text(TEMPLATE.replace("# The end.\n", gone))
    status, printed = command("schedules", "--write")
    assert (status, "Nightly is a rule, which is not changed" in printed) == (2, True)


def test_what_the_events_refer_to(command: Command, project: Path) -> None:
    """A FIFO dead-letter queue gets one beside it that is none, an encrypted one its key, and failed events' queue is taken."""
    (project / "template.yaml").write_text(
        TEMPLATE.replace(
            "Dead: {Type: AWS::SQS::Queue}", "Dead: {Type: AWS::SQS::Queue, Properties: {FifoQueue: true}}"
        )
        .replace("      VisibilityTimeout: 18\n", "      VisibilityTimeout: 18\n      FifoQueue: true\n")
        .replace("# The end.", "  Key: {Type: AWS::KMS::Key}")
    )
    assert command("schedules", "--write")[0] == 0
    assert findings(command) == []
    assert event(project)["Properties"]["DeadLetterConfig"]["Arn"]["Fn::GetAtt"] == ["WorkerScheduleDeadLetters", "Arn"]
    failed = "  Failed: {Type: AWS::SQS::Queue, Properties: {KmsMasterKeyId: !Ref Key}}\n  Key: {Type: AWS::KMS::Key}\n"
    config = "      EventInvokeConfig: {DestinationConfig: {OnFailure: {Type: SQS, Destination: !GetAtt Failed.Arn}}}\n"
    text = TEMPLATE.replace("# The end.\n", failed).replace("      Events:\n", f"{config}      Events:\n", 1)
    (project / "template.yaml").write_text(text)
    found = json.loads(command("schedules", "--json")[1])["Resources"]
    statements = found["WorkerScheduleRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    assert [one["Resource"] for one in statements][1:] == [
        {"Fn::GetAtt": ["Failed", "Arn"]},
        {"Fn::GetAtt": ["Key", "Arn"]},
    ]


def test_which_function_is_asked_for(command: Command, project: Path) -> None:
    """Where several functions may run a task one has to be named, and each may say which modules are its own."""
    other = "  Other: {Type: AWS::Serverless::Function, Properties: {CodeUri: code, Handler: lambda_tasks.handler.handler}}\n"
    edit(project / "template.yaml", "# The end.\n", other)
    status, printed = command("schedules")
    assert (status, "several functions may run shop.tasks.clean_up: add --function" in printed) == (2, True)
    assert command("schedules", "--function", "Nobody")[0] == 2
    assert command("schedules", "--function", "Other", "--write")[0] == 0
    assert findings(command) == []
    assert command("schedules", "--write") == (0, "The template has the schedules of the code.\n")


def test_a_schedule_that_is_computed(command: Command, project: Path) -> None:
    """The command runs code whose schedule cannot be read; the check compares what it can read, and never runs any."""
    name = f"computed_{project.name.replace('-', '_')}"
    computed = """
    from lambda_tasks import task
    OPTIONS = dict(schedule="rate(2 days)")

    @task(**OPTIONS)
    def hidden() -> None: ...

    @task(schedule="rate({} days)".format(3))
    def formatted() -> None: ...
    """
    (project / "code" / f"{name}.py").write_text(textwrap.dedent(computed))
    assert len(findings(command)) == 2
    assert sorted(command("schedules", "--write")[1].splitlines()) == [
        "added Worker.CleanUp: shop.tasks.clean_up, cron(0 3 * * ? *)",
        f"added Worker.Formatted: {name}.formatted, rate(3 days)",
        f"added Worker.Hidden: {name}.hidden, rate(2 days)",
    ]
    assert findings(command) == []
    (project / "code" / f"{name}.py").write_text("import nothing_there\n" + textwrap.dedent(computed))
    assert findings(command) == []


@pytest.mark.parametrize(
    ("decorator", "words"),
    [
        ('schedule="cron(0 3 * * *)"', "cannot be used: schedule is 'cron(0 3 * * *)': it has 5 fields"),
        ('schedule="rate(1 day)", schedule_timezone="Europe/Berln"', "no time zone: use Europe/Berlin"),
    ],
)
def test_a_schedule_that_no_task_can_have(command: Command, project: Path, decorator: str, words: str) -> None:
    """What the definition would refuse is a finding before anything is deployed, and is not written."""
    edit(project / "code" / "shop" / "tasks.py", "schedule=times.NIGHT, schedule_timezone=ZONE", decorator)
    assert words in findings(command)[0]
    assert command("schedules", "--write")[0] == 2


def test_templates_that_are_not_written(command: Command, project: Path) -> None:
    """A template in JSON, and one whose function is made by a loop, stay as they are; the error says what to do."""
    loop = TEMPLATE.replace("  Worker:\n", "  Fn::ForEach::Each:\n    - Name\n    - [Worker]\n    - ${Name}:\n", 1)
    lines = loop.splitlines(keepends=True)
    first, last = next(n for n, line in enumerate(lines) if "${Name}" in line), lines.index("  Jobs:\n")
    text = "".join([*lines[: first + 1], *("    " + line for line in lines[first + 1 : last]), *lines[last:]])
    (project / "template.yaml").write_text(text)
    status, printed = command("schedules", "--write")
    assert (status, "add by hand what `lambda-tasks schedules` prints" in printed) == (2, True), printed
    assert (project / "template.yaml").read_text() == text
    content = load(project / "template.yaml")[0]
    (project / "template.json").write_text(json.dumps(content))
    assert run(["schedules", "--write", "--template", "template.json"]) == 2


def test_a_function_without_sam(command: Command, project: Path) -> None:
    """A function of CloudFormation's own has no events: its schedules are resources."""
    raw = "  Raw: {Type: AWS::Lambda::Function, Properties: {Code: code, Handler: lambda_tasks.handler.handler}}\n"
    (project / "template.yaml").write_text(f"Resources:\n{raw}")
    assert command("schedules", "--write")[0] == 0
    assert findings(command) == []
    made = load(project / "template.yaml")[0]["Resources"]["RawCleanUp"]
    assert (made["Type"], made["Properties"]["FlexibleTimeWindow"]) == ("AWS::Scheduler::Schedule", {"Mode": "OFF"})
    assert json.loads(made["Properties"]["Target"]["Input"]) == CLEAN_UP
    edit(project / "code" / "shop" / "times.py", "{3}", "{4}")
    assert command("schedules", "--write") == (0, "changed RawCleanUp: ScheduleExpression\n")
    assert sorted(json.loads(command("schedules", "--json")[1])["Resources"]) == ["RawCleanUp"]


def test_no_task_has_a_schedule(command: Command, project: Path) -> None:
    """Where no task has a schedule the part is empty, and says so as a comment."""
    edit(project / "code" / "shop" / "tasks.py", "(schedule=times.NIGHT, schedule_timezone=ZONE)", "")
    assert command("schedules") == (0, "# No task has a schedule.\n")
    assert json.loads(command("schedules", "--json")[1]) == {"Resources": {}}
