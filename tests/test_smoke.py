"""`lambda-tasks smoke`: against a local run with each part broken, and against a stack that a server describes as AWS does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from copies import ROOT
from lambda_tasks.command_line import app
from lambda_tasks.command_line.smoke import diagnosis
from lambda_tasks.command_line.smoke.aws_stack import outcome_of
from lambda_tasks.command_line.smoke.stack import Failure, Function, Source
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.settings import SMOKE_MODULE, Settings

LONGEST_SESSION_SECONDS = 120
LAYER = "arn:aws:lambda:eu-west-1:123456789012:layer:lambda-tasks:1"
OURS = {"handler": "lambda_tasks.handler.handler", "layer": LAYER, "wrapper": "/opt/bin/lambda-tasks-exec"}
BROKEN: dict[str, dict[str, Any]] = {
    "Good": {},
    "Mapping": {"enabled": "false"},
    "Layer": {"layer": "", "wrapper": ""},
    "LayerOfWrapper": {"layer": ""},
    "Wrapper": {"wrapper": "/opt/bin/nothing"},
    "Timeout": {"handler": "app.sleep", "timeout": 1},
    "Permissions": {"handler": "app.denied"},
}

FUNCTION = """
  {name}:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: code
      Handler: {handler}
      Runtime: python{version}
      Timeout: {timeout}
      Layers: [{layer}]
      Environment: {{Variables: {{LAMBDA_TASKS_MODULES: shop.tasks{wrapper}}}}}
      Events:
        Jobs:
          Type: SQS
          Properties:
            Queue: !GetAtt {name}Queue.Arn
            Enabled: {enabled}
            FunctionResponseTypes: [ReportBatchItemFailures]
  {name}Queue:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 60
      RedrivePolicy: {{deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 2}}
"""

CODE = """
import time

def sleep(event, context):
    time.sleep(600)

def denied(event, context):
    raise PermissionError("AccessDeniedException: the role is not authorized to perform dynamodb:UpdateItem")
"""


def template() -> str:
    text = "Resources:\n  Dead: {Type: AWS::SQS::Queue}\n"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for name, broken in BROKEN.items():
        values = {"timeout": 10, "enabled": "true", **OURS, **broken}
        wrapper = f", AWS_LAMBDA_EXEC_WRAPPER: {values['wrapper']}" if values["wrapper"] else ""
        text += FUNCTION.format(**{**values, "wrapper": wrapper}, name=name, version=version)
    return text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of a user's, whose state lies apart, with an environment that the command may change."""
    environ = dict(os.environ)
    for name in [one for one in environ if one.startswith(("AWS_", "LAMBDA_TASKS_"))]:
        del os.environ[name]
    os.environ["XDG_STATE_HOME"] = str(tmp_path / "state")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    os.environ.clear()
    os.environ.update(environ)


@contextmanager
def session(folder: Path) -> Iterator[None]:
    """A session of `lambda-tasks local` for the folder, once it is ready."""
    command = [sys.executable, "-m", "lambda_tasks", "local", "--json", "--port", "0", "--cache", str(ROOT / "build")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        end = threading.Timer(LONGEST_SESSION_SECONDS, process.kill)
        end.start()
        try:
            assert process.stdout is not None
            assert any(json.loads(line)["event"] == "ready" for line in process.stdout)
            yield
        finally:
            process.terminate()
            process.communicate()
            end.cancel()


def smoke(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    """Run the command here, and return its exit status and its functions by logical id."""
    status = app.run(["smoke", "--json", *options])
    printed = capsys.readouterr()
    assert printed.out, printed.err
    return status, {one["function"]: one for one in json.loads(printed.out)["functions"]}


def parts(function: Mapping[str, Any]) -> list[str]:
    return [one["part"] for one in function["findings"]]


def test_each_part_that_is_broken_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a session with a mapping, layers, a wrapper, a timeout and permissions broken, each is named, and what to do."""
    (folder / "code").mkdir()
    (folder / "code" / "app.py").write_text(CODE)
    (folder / "code" / "shop").mkdir()
    (folder / "code" / "shop" / "tasks.py").write_text("")
    (folder / "template.yaml").write_text(template())
    with session(folder):
        status, found = smoke(capsys, "--stack", "shop", "--timeout", "150")

    assert status == 1
    assert found["Good"]["outcome"] == "succeeded"
    wanted = {"LayerOfWrapper": ["layer"], "Good": []}
    assert {name: parts(one) for name, one in found.items()} == {
        name: wanted.get(name, [name.lower()]) for name in BROKEN
    }
    assert found["Mapping"]["message_id"] is None
    assert "/opt/bin/nothing" in found["Wrapper"]["findings"][0]["problem"]
    assert "dynamodb:UpdateItem" in found["Permissions"]["findings"][0]["problem"]


class Aws(BaseHTTPRequestHandler):
    """CloudFormation, Lambda and CloudWatch Logs, of a stack with one function, as far as the command asks."""

    queue_arn = ""
    state = "Enabled"
    lines: tuple[str, ...] = ()
    error: Mapping[str, str] | None = None
    message_ids: list[str]

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.endswith("/configuration"):
            variables = {"Variables": {"LAMBDA_TASKS_MODULES": "shop.tasks"}}
            self._answer(
                {"Handler": OURS["handler"], "Timeout": 10, "Environment": variables, "Layers": [{"Arn": LAYER}]}
            )
        else:
            mapping = {"EventSourceArn": self.queue_arn, "State": self.state, "StateTransitionReason": "USER_INITIATED"}
            self._answer({"EventSourceMappings": [{**mapping, "FunctionResponseTypes": ["ReportBatchItemFailures"]}]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path.endswith("/invocations"):
            headers = {"X-Amz-Function-Error": "Unhandled"} if self.error else {}
            self._answer(self.error, **headers)
        elif "FilterLogEvents" in self.headers.get("X-Amz-Target", ""):
            message_id = json.loads(json.loads(body)["filterPattern"])
            self._answer({"events": [{"message": line.replace("MESSAGE", message_id)} for line in self.lines]})
        else:
            assert parse_qs(body)["StackName"] == ["shop"]
            names = (
                "LogicalResourceId",
                "PhysicalResourceId",
                "ResourceType",
                "ResourceStatus",
                "LastUpdatedTimestamp",
            )
            values = ("Worker", "shop-worker", "AWS::Lambda::Function", "CREATE_COMPLETE", "2026-01-01T00:00:00Z")
            member = "".join(f"<{name}>{value}</{name}>" for name, value in zip(names, values, strict=True))
            summaries = f"<StackResourceSummaries><member>{member}</member></StackResourceSummaries>"
            self._answer(
                f"<ListStackResourcesResponse><ListStackResourcesResult>{summaries}</ListStackResourcesResult>"
                "</ListStackResourcesResponse>"
            )

    def _answer(self, value: object, **headers: str) -> None:
        body = (value if isinstance(value, str) else json.dumps(value)).encode()
        self.send_response(200)
        for name, text in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def aws(embedded_aws: EmbeddedAws, folder: Path) -> Iterator[type[Aws]]:
    """The stack `shop`: its queue is in the embedded AWS, and nothing takes its messages; the rest is described."""

    class Described(Aws):
        pass

    sqs = embedded_aws.client("sqs")
    dead = sqs.create_queue(QueueName=f"smoke-dead-{folder.name}")["QueueUrl"]
    dead_arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = {"RedrivePolicy": json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": "3"})}
    url = sqs.create_queue(QueueName=f"smoke-{folder.name}", Attributes=redrive)["QueueUrl"]
    Described.queue_arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    os.environ.update(embedded_aws.environ())
    with ThreadingHTTPServer(("127.0.0.1", 0), Described) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        for service in ("LAMBDA", "CLOUDFORMATION", "CLOUDWATCH_LOGS"):
            os.environ[f"AWS_ENDPOINT_URL_{service}"] = f"http://127.0.0.1:{server.server_port}"
        yield Described
        server.shutdown()
        thread.join()


TEXT_LINE = (
    "[INFO]\t2026-01-01T00:00:00Z\t1\tlambda_tasks.tasks.smoke.nothing succeeded in 0 ms (message MESSAGE, attempt 1)"
)


@pytest.mark.parametrize(
    ("attributes", "status", "outcome", "wanted"),
    [
        ({"lines": (TEXT_LINE,)}, 0, "succeeded", []),
        ({"lines": (json.dumps({"message_id": "MESSAGE", "outcome": "succeeded"}),)}, 0, "succeeded", []),
        ({"lines": (TEXT_LINE.replace("succeeded", "rejected"),)}, 1, "rejected", ["function"]),
        ({"state": "Disabled"}, 1, None, ["mapping"]),
        ({"error": {"errorType": "Runtime.ExitError", "errorMessage": "exit status 127"}}, 1, None, ["function"]),
        (
            {"error": {"errorType": "Sandbox.Timedout", "errorMessage": "Task timed out after 10 s"}},
            1,
            None,
            ["timeout"],
        ),
        ({}, 1, None, ["permissions"]),
    ],
)
def test_a_stack_in_aws_is_followed(
    attributes: Mapping[str, Any],
    status: int,
    outcome: str | None,
    wanted: list[str],
    aws: type[Aws],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The outcome is that of the log; without one the function is asked, then the queue."""
    for name, value in attributes.items():
        setattr(aws, name, value)

    found = smoke(capsys, "--stack", "shop", "--timeout", "20" if "lines" in attributes else "0.1")

    assert found[0] == status
    assert found[1]["Worker"]["outcome"] == outcome
    assert parts(found[1]["Worker"]) == wanted


@pytest.mark.usefixtures("folder")
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a session and a stack there is nothing to check."""
    assert app.run(["smoke"]) == app.BAD_INPUT
    assert "add --stack NAME" in capsys.readouterr().err


def worker(**environ: str) -> Function:
    return Function("Worker", "shop-worker", OURS["handler"], [LAYER], 10, environ)


def source(**changes: Any) -> Source:
    values = {"state": "Enabled", "reason": "", "reports_item_failures": True, "has_filters": False, **changes}
    return Source(worker(), "https://queue", **values)


@pytest.mark.parametrize(
    ("failure", "part"),
    [
        (Failure("Runtime.ImportModuleError", "Unable to import module 'lambda_tasks.handler'"), "layer"),
        (Failure("Runtime.ExitError", "Runtime exited with error: exit status 127"), "wrapper"),
        (Failure("Runtime.ExitError", "the runtime exited", "bootstrap: exec: /opt/x: not found"), "wrapper"),
        (Failure("Sandbox.Timedout", "RequestId: 1 Error: Task timed out after 3.00 seconds"), "timeout"),
        (Failure("LambdaTasks.SecretAccessDenied", "allow secretsmanager:GetSecretValue"), "permissions"),
        (Failure("LambdaTasks.InvalidReference", "the ARN has 1 suffix"), "function"),
    ],
)
def test_a_failure_has_a_part(failure: Failure, part: str) -> None:
    """Each way in which a function fails altogether is about one part."""
    assert diagnosis.of_failure(failure, worker(AWS_LAMBDA_EXEC_WRAPPER="/opt/x")).part == part


@pytest.mark.parametrize(
    ("queue", "filters", "part"),
    [
        ({"ApproximateNumberOfMessages": "1"}, False, "permissions"),
        ({"ApproximateNumberOfMessagesNotVisible": "1"}, False, "timeout"),
        ({}, True, "filter"),
        ({}, False, "log"),
    ],
)
def test_silence_has_a_part(queue: Mapping[str, str], filters: bool, part: str) -> None:  # noqa: FBT001
    """Where nothing is known of a message, its place says what is most likely wrong."""
    assert diagnosis.of_silence(source(has_filters=filters), queue).part == part


def test_what_messages_suffer_from_is_said() -> None:
    """No reports of item failures, a short visibility timeout, and no dead-letter queue are findings too."""
    found = diagnosis.regrets(source(reports_item_failures=False), {"VisibilityTimeout": "5"})

    assert [one.part for one in found] == ["mapping", "timeout", "queue"]


def test_a_mapping_that_may_not_receive_is_a_matter_of_permissions() -> None:
    """AWS disables a mapping whose role may not receive, and says so."""
    denied = source(state="Disabled", reason="The function execution role is not authorized to perform ReceiveMessage")
    found = diagnosis.keeps_from_arriving(denied)

    assert found is not None
    assert found.part == "permissions"


def test_a_line_of_another_message_tells_nothing() -> None:
    """Only a line with the message's id and an outcome counts."""
    assert outcome_of("shop.tasks.pay failed in 3 ms (message b, attempt 1)", "a") is None
    assert outcome_of("nothing about a", "a") is None
    assert outcome_of('{"message_id": "b", "outcome": "failed"}', "a") is None
    assert outcome_of("x failed in 3 ms (message a, attempt 1): why", "a") == {"outcome": "failed", "reason": "why"}


def test_the_task_of_smoke_alone_need_not_be_listed() -> None:
    """A list of modules stays what it is, but for the module of the task that does nothing, which has no other task."""
    settings = Settings(modules=("shop.tasks",))

    assert settings.allows_module(SMOKE_MODULE)
    assert not any(
        settings.allows_module(one) for one in ("lambda_tasks", "lambda_tasks.tasks", f"{SMOKE_MODULE}.x", "os")
    )
    from lambda_tasks.tasks import smoke  # noqa: PLC0415
    from lambda_tasks.tasks.task import Task  # noqa: PLC0415

    assert [name for name, value in vars(smoke).items() if isinstance(value, Task)] == ["nothing"]
    smoke.nothing()
