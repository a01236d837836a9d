"""`lambda-tasks local` and `invoke`, as processes: with programs that read along, on terminals, and until Ctrl-C."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import textwrap
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.queue import Queue

ROOT = Path(__file__).resolve().parent.parent

LONGEST_SESSION_SECONDS = 120

TEMPLATE = """
Globals: {Function: {Timeout: 5}}
Resources:
  Worker:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: code
      Handler: app.handler
      Environment: {Variables: {LAMBDA_TASKS_QUEUE_URL: !Ref Jobs}}
      Events:
        Jobs:
          Type: SQS
          Properties:
            Queue: !GetAtt Jobs.Arn
            BatchSize: 1
            FunctionResponseTypes: [ReportBatchItemFailures]
  Jobs:
    Type: AWS::SQS::Queue
    Properties:
      QueueName: %s
      VisibilityTimeout: 5
      RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 2}
  Dead: {Type: AWS::SQS::Queue, Properties: {QueueName: %s}}
"""

CODE = """
import json, time

def handler(event, context):
    failed = []
    for record in event["Records"]:
        print(f"working on {record['body']}", flush=True)
        if record["body"] == "bad":
            failed.append({"itemIdentifier": record["messageId"]})
        if record["body"] == "raise":
            raise ValueError("not this one")
        if record["body"] == "slow":
            time.sleep(600)
    return {"batchItemFailures": failed}
"""

TASKS = """
from lambda_tasks import task

@task
def add(*, number: int) -> int:
    return number + 1

@task
def fail(*, reason: str) -> None:
    raise ValueError(reason)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A template with a function of plain Python, and queues of new names."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "app.py").write_text(textwrap.dedent(CODE))
    name = f"jobs-{uuid.uuid4()}"
    (tmp_path / "template.yaml").write_text(TEMPLATE % (name, f"{name}-dead"))
    return tmp_path


def command(name: str, project: Path, *options: str) -> list[str]:
    port = ["--port", "0"] if name == "local" and "--port" not in options else []
    where = ["--template", str(project / "template.yaml"), "--cache", str(ROOT / "build"), *port]
    return [sys.executable, "-m", "lambda_tasks", name, *options, *where]


def run(name: str, project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(name, project, *options), capture_output=True, text=True, timeout=120, check=False, cwd=project
    )


def messages(project: Path, *bodies: str) -> str:
    path = project / "messages"
    path.write_text("\n".join(bodies) + "\n")
    return str(path)


class Reader:
    """Reads the JSON lines of a running session."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event: dict[str, Any] = json.loads(line)
            if wanted(event):
                return event
        raise AssertionError("the session ended")


@contextmanager
def session(project: Path, *options: str) -> Iterator[Reader]:
    with subprocess.Popen(
        command("local", project, "--json", *options), stdout=subprocess.PIPE, text=True, cwd=project
    ) as process:
        end = threading.Timer(LONGEST_SESSION_SECONDS, process.kill)  # a line that never comes ends the wait for it
        end.start()
        try:
            yield Reader(process)
        finally:
            end.cancel()
            process.terminate()
            if process.stdout is not None:
                process.stdout.read()


def sqs_of(environ: Mapping[str, str]) -> Any:
    return boto3.client(
        "sqs",
        endpoint_url=environ["AWS_ENDPOINT_URL"],
        region_name=environ["AWS_REGION"],
        aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
    )


def logs(text: str) -> Callable[[dict[str, Any]], bool]:
    return lambda event: event["event"] == "log" and text in event["line"]


def test_once_drains_the_queues_and_exits_by_the_outcome(project: Path) -> None:
    """Good messages alone exit with 0; the summary tells of each one, and log lines belong to their message."""
    result = run("local", project, "--once", "--json", "--messages", messages(project, "a", "b", "c"))

    assert result.returncode == 0, result.stderr
    events = [json.loads(line) for line in result.stdout.splitlines()]
    sent = [event["message_id"] for event in events if event["event"] == "sent"]
    summary = events[-1]
    assert (summary["drained"], summary["dead_letters"], summary["function_errors"]) == (True, [], [])
    outcomes = {one["message_id"]: (one["outcome"], one["deliveries"]) for one in summary["messages"]}
    assert outcomes == dict.fromkeys(sent, ("succeeded", 1))
    lines = sorted(event["line"] for event in events if event["event"] == "log")
    assert lines == ["working on a", "working on b", "working on c"]
    assert {event["message_id"] for event in events if event["event"] == "log"} <= set(sent)
    assert all(event["duration_ms"] > 0 for event in events if event["event"] == "init")


def test_once_exits_with_1_where_a_message_failed(project: Path) -> None:
    """A message that fails as often as the redrive policy allows is a dead letter, and the status is 1."""
    result = run("local", project, "--once", "--json", "--messages", messages(project, "bad", "good", "raise"))

    assert result.returncode == 1
    summary = json.loads(result.stdout.splitlines()[-1])
    assert sorted(one["body"] for one in summary["dead_letters"]) == ["bad", "raise"]
    assert sorted((one["outcome"], one["deliveries"]) for one in summary["messages"])[:2] == [("failed", 2)] * 2
    assert summary["function_errors"][0] == "ValueError: not this one"


def test_once_gives_up_when_its_time_is_over(project: Path) -> None:
    """What is not drained in time exits with 1, and says so."""
    result = run("local", project, "--once", "--timeout", "1", "--messages", messages(project, "slow"))
    assert result.returncode == 1
    assert "It ended before the queues were empty: 1 message is left." in result.stdout


def test_a_function_starts_again_when_its_code_changes(project: Path) -> None:
    """A change is noticed while the session runs, and the next message sees the new code."""
    with session(project) as reader:
        ready = reader.until(lambda event: event["event"] == "ready")
        queue, sqs = ready["queues"]["Jobs"], sqs_of(ready["environ"])
        sqs.send_message(QueueUrl=queue, MessageBody="one")
        reader.until(logs("working on one"))
        (project / "code" / "app.py").write_text(textwrap.dedent(CODE).replace("working on", "changed for"))
        assert "app.py changed: the function starts again" in reader.until(logs("changed:"))["line"]
        sent = sqs.send_message(QueueUrl=queue, MessageBody="two")
        assert reader.until(logs("changed for two"))["message_id"] == sent["MessageId"]


def test_what_failed_comes_back_when_the_code_is_mended(project: Path) -> None:
    """A broken import is said with its wait; once it is mended its messages come back at once, and not after an hour."""
    template = (project / "template.yaml").read_text().replace("VisibilityTimeout: 5", "VisibilityTimeout: 3600")
    (project / "template.yaml").write_text(template)
    (project / "code" / "app.py").write_text("import nothere\n")
    with session(project, "--messages", messages(project, "one", "two")) as reader:
        failure = reader.until(lambda event: event["event"] == "failure")
        assert (failure["in_init"], failure["error_type"]) == (True, "Runtime.ImportModuleError")
        waiting = reader.until(lambda event: event["event"] == "waiting" and event["count"] == 2)
        assert 3500 < waiting["seconds"] <= 3600
        (project / "code" / "app.py").write_text(textwrap.dedent(CODE))
        changed = reader.until(logs("changed:"))["line"]
        assert changed == "app.py changed: the function starts again, and the 2 messages that wait come back now"
        reader.until(logs("working on"))
        reader.until(logs("working on"))


def test_what_our_handler_holds_back_comes_back_too(shop: tuple[Path, list[str]]) -> None:
    """A message that waits for its retry comes back at once when the code has changed, and is told with its outcomes."""
    project, layer = shop
    broken = "\n@task(retry_on=(ConnectionError,), retry_delay=3600)\ndef call() -> None:\n    raise ConnectionError('not yet')\n"
    (project / "code" / "shop.py").write_text(textwrap.dedent(TASKS) + broken)
    body = json.dumps({"task_name": "shop.call", "kwargs": {}, "n_retries": 0})
    with session(project, "--messages", messages(project, body), *layer) as reader:
        outcome = reader.until(lambda event: event["event"] == "outcome")
        assert (outcome["outcome"], outcome["error"]) == ("retrying", "ConnectionError: not yet")
        reader.until(lambda event: event["event"] == "waiting" and event["count"] == 1)
        (project / "code" / "shop.py").write_text(textwrap.dedent(TASKS) + broken.replace("raise", "return; raise"))
        outcome = reader.until(lambda event: event["event"] == "outcome")
        assert (outcome["outcome"], outcome["error"], outcome["task"]) == ("succeeded", None, "shop.call")


@pytest.mark.parametrize("broken", ["import nothere", "def handler(", "raise SystemExit(1)"])
def test_a_failed_init_phase_ends_what_waits_for_an_end(project: Path, broken: str) -> None:
    """Nothing but new code would help: --once and invoke end with the error, and not when their time is over."""
    (project / "code" / "app.py").write_text(broken + "\n")
    template = (project / "template.yaml").read_text().replace("VisibilityTimeout: 5", "VisibilityTimeout: 3600")
    (project / "template.yaml").write_text(template)
    options = ("--timeout", "3600", "--json")
    once = run("local", project, "--once", *options, "--messages", messages(project, "one"))
    invoked = run("invoke", project, "app.task", *options)

    summary, found = json.loads(once.stdout.splitlines()[-1]), json.loads(invoked.stdout)
    assert (once.returncode, invoked.returncode, summary["drained"]) == (1, 1, False)
    [message] = summary["messages"]
    assert (message["outcome"], found["outcome"], found["deliveries"]) == ("failed", "failed", 1)
    assert message["error"] == found["error"] == found["function_errors"][0]
    assert message["error"].startswith("Runtime.")
    assert any("Worker failed in its init phase: Runtime." in line for line in found["log"])


def test_a_timeout_is_said_each_time(project: Path) -> None:
    """A function that takes too long says so once a delivery, in the log and as the reason of its message."""
    template = (project / "template.yaml").read_text().replace("Function: {Timeout: 5}", "Function: {Timeout: 1}")
    (project / "template.yaml").write_text(template)
    said = run("local", project, "--once", "--messages", messages(project, "slow"))
    result = run("local", project, "--once", "--json", "--messages", messages(project, "slow"))
    assert (said.returncode, result.returncode) == (1, 1)
    assert said.stdout.count(" Worker timed out after 1 s\n") == 2
    assert "The function failed 2 times: timed out after 1 s\n" in said.stdout
    events = [json.loads(line) for line in result.stdout.splitlines()]
    [message] = events[-1]["messages"]
    failures = [event for event in events if event["event"] == "failure"]
    assert [(one["reason"], one["message_ids"]) for one in failures] == [
        ("timed out after 1 s", [message["message_id"]])
    ] * 2
    assert (message["outcome"], message["error"], message["duration_ms"]) == ("failed", "timed out after 1 s", 1000.0)


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Children that SIGINT ends, even where it is ignored here: a shell starts its background jobs so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_even_while_a_function_runs(project: Path, number: signal.Signals) -> None:
    """Ctrl-C, or SIGTERM, ends everything at once with status 0, and without a traceback."""
    process = subprocess.Popen(
        command("local", project, "--json", "--messages", messages(project, "slow")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=project,
        start_new_session=True,
    )
    with process:
        try:
            Reader(process).until(logs("working on slow"))
            os.killpg(process.pid, number) if number is signal.SIGINT else process.send_signal(number)
            _, errors = process.communicate(timeout=60)  # and not the ten minutes of the function
        finally:
            process.kill()
    assert (process.returncode, errors) == (0, "")


def test_an_sqs_that_already_runs_is_used(project: Path, embedded_aws: EmbeddedAws) -> None:
    """With --endpoint-url messages come from there; a queue that is not there is bad input."""
    name = re.search(r"QueueName: (\S+)", (project / "template.yaml").read_text())
    assert name is not None
    missing = run("local", project, "--once", "--endpoint-url", embedded_aws.endpoint_url)
    assert missing.returncode == 2
    assert missing.stderr.count("\n") == 1
    assert "lambda-tasks: there is no queue jobs-" in missing.stderr

    sqs = embedded_aws.client("sqs")
    dead = sqs.create_queue(QueueName=f"{name[1]}-dead")["QueueUrl"]
    url = sqs.create_queue(QueueName=name[1])["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="from elsewhere")
    result = run("local", project, "--once", "--endpoint-url", embedded_aws.endpoint_url)
    assert result.returncode == 0, result.stderr
    assert "working on from elsewhere" in result.stdout
    assert Queue(sqs, url, "").depth() == Queue(sqs, dead, "").depth() == 0


def test_what_this_machine_lacks_is_one_line(project: Path) -> None:
    """A port in use, an SQS that is not there and messages that cannot be read exit with 2 and say what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        in_use = run("local", project, "--port", port)
    unreachable = run("local", project, "--endpoint-url", "http://127.0.0.1:9")
    unreadable = run("local", project, "--messages", str(project))
    for result, problem in (
        (in_use, f"port {port} cannot be used: Address already in use: choose another one with --port"),
        (unreachable, 'Could not connect to the endpoint URL: "http://127.0.0.1:9/": check --endpoint-url'),
        (unreadable, "the messages cannot be read: Is a directory"),
    ):
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith(f"lambda-tasks: {problem}")
        assert result.stderr.count("\n") == 1


def test_a_template_without_queues_has_nothing_to_run(project: Path) -> None:
    """A template in which no function takes from a queue is bad input."""
    (project / "template.yaml").write_text("Resources: {Q: {Type: AWS::SQS::Queue}}")
    result = run("local", project)
    assert (result.returncode, result.stderr.partition(" (")[0]) == (2, "lambda-tasks: no function has an SQS event")
    invoked = run("invoke", project, "a.b")
    assert (invoked.returncode, "there is no function with a queue" in invoked.stderr) == (2, True)


@pytest.fixture
def shop(project: Path, layer_folder: Path) -> tuple[Path, list[str]]:
    """The template with this project's handler and layer, and two tasks; and the option that names the layer."""
    text = (project / "template.yaml").read_text().replace("app.handler", "lambda_tasks.handler.handler")
    text = text.replace("{Timeout: 5}", "{Timeout: 20, Layers: ['arn:tasks']}")
    # The first invocation has the init phase before it: on a busy machine that takes longer than a short timeout.
    text = text.replace("VisibilityTimeout: 5", "VisibilityTimeout: 120")
    text = text.replace("!Ref Jobs}}", "!Ref Jobs, AWS_LAMBDA_EXEC_WRAPPER: /opt/bin/lambda-tasks-exec}}")
    (project / "template.yaml").write_text(text)
    (project / "code" / "shop.py").write_text(textwrap.dedent(TASKS))
    return project, ["--layer", f"arn:tasks={layer_folder}"]


def test_invoke_prints_the_outcome_of_one_message(shop: tuple[Path, list[str]]) -> None:
    """One message goes the whole way; what became of it is printed, and is the exit status."""
    project, layer = shop
    good = run("invoke", project, "shop.add", "number=42", "--json", *layer)
    assert good.returncode == 0, good.stderr
    found = json.loads(good.stdout)
    assert (found["outcome"], found["task"], found["deliveries"]) == ("succeeded", "shop.add", 1)

    bad = run("invoke", project, "shop.fail", "reason=no money", *layer)
    assert bad.returncode == 1
    assert re.search(r"shop\.fail +failed +1 ", bad.stdout)
    assert "ValueError: no money" in bad.stdout


def test_schedules_fire_in_a_session_and_from_beside_it(shop: tuple[Path, list[str]]) -> None:
    """--fire invokes the function as the schedule does, with its key; where a session runs already it fires there."""
    project, layer = shop
    schedule = """
        Nightly:
          Type: ScheduleV2
          Properties:
            ScheduleExpression: cron(0 3 * * ? *)
            Input: '{"task_name": "shop.add", "kwargs": {"number": 1}, "context": {"tenant": "<aws.scheduler.schedule-arn>"}}'
        Failing: {Type: Schedule, Properties: {Schedule: rate(1 day), Input: '{"task_name": "shop.fail", "kwargs": {"reason": "no"}}'}}
"""
    text = (project / "template.yaml").read_text().replace("      Events:\n", f"      Events:{schedule}", 1)
    (project / "template.yaml").write_text(text)
    with session(project, "--fire", "Nightly", *layer) as reader:
        reader.until(lambda event: event["event"] == "ready")
        assert reader.until(lambda event: event["event"] == "fired")["schedule"] == "Worker.Nightly"
        outcome = reader.until(lambda event: event["event"] == "outcome")
        assert (outcome["outcome"], outcome["task"], outcome["receive_count"]) == ("succeeded", "shop.add", 1)
        beside = run("local", project, "--fire", "shop.fail")
        assert (beside.returncode, beside.stdout) == (0, "Worker.Failing fires in the session that runs already\n")
        outcome = reader.until(lambda event: event["event"] == "outcome")
        assert (outcome["outcome"], outcome["error"]) == ("failed", "ValueError: no")
    unknown = run("local", project, "--fire", "Weekly", *layer)
    assert (unknown.returncode, "there is no schedule Weekly" in unknown.stderr) == (2, True)


def test_invoke_checks_before_it_starts_anything(shop: tuple[Path, list[str]]) -> None:
    """Bad kwargs, an unknown task and an unknown function are bad input, with what would be right."""
    project, layer = shop
    for arguments, problem in (
        (["shop.add", "number=x"], "the task takes (*, number: int)"),
        (["shop.ad"], "shop has no ad (task shop.ad): correct the name"),
        (["shop.add", "--function", "X"], "functions with a queue: Worker"),
    ):
        result = run("invoke", project, *arguments, *layer)
        assert (result.returncode, result.stdout) == (2, "")
        assert problem in result.stderr
        assert result.stderr.count("\n") == 1


# On a terminal.

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")


def on_a_terminal(arguments: list[str], columns: int, cwd: Path) -> tuple[int, str]:
    """Run a program in a pseudo-terminal of that width, and return its status and all that it wrote."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    with subprocess.Popen(
        arguments,
        stdin=child,
        stdout=child,
        stderr=child,
        cwd=cwd,
        env={**environ, "TERM": "xterm-256color"},
        start_new_session=True,
    ) as process:
        os.close(child)
        written = b""
        while select.select([parent], [], [], 120)[0]:
            try:
                read = os.read(parent, 65536)
            except OSError:  # the other side is closed
                break
            if not read:
                break
            written += read
    os.close(parent)
    return process.returncode, written.decode()


def screen(written: str) -> list[str]:
    """Return the lines that a person sees at the end: what was drawn over is gone."""
    lines = written.replace("\r\n", "\n").split("\n")
    return [_ESCAPES.sub("", line.rpartition("\r")[2]).rstrip() for line in lines]


@pytest.mark.parametrize("columns", [200, 80])
def test_a_terminal_shows_progress_lines_and_a_table(project: Path, columns: int) -> None:
    """On a terminal what takes its time is announced, outcomes are coloured, and no line is wider than it."""
    bodies = messages(project, "good", "bad", "x" * 150)
    status, written = on_a_terminal(command("local", project, "--once", "--messages", bodies), columns, project)

    lines = screen(written)
    assert status == 1, written
    assert "Starting the embedded AWS" in written
    assert "\x1b[32msucceeded" in written
    assert "\x1b[31mfailed" in written
    assert max(len(line) for line in lines if "export" not in line) <= columns  # those are there to be copied
    assert any(re.fullmatch(r"\d\d:\d\d:\d\d [0-9a-f]{8} working on good", line) for line in lines)
    assert any(line.startswith("message ") and "deliveries" in line for line in lines)
    assert "2 of 3 messages succeeded; 1 dead letter." in lines


@pytest.mark.parametrize("columns", [200, 80])
def test_help_fits_the_terminal(project: Path, columns: int) -> None:
    """Help has its commands and options, as wide as the terminal."""
    for arguments in (["--help"], ["local", "--help"], ["dead-letters", "redrive", "--help"]):
        status, written = on_a_terminal([sys.executable, "-m", "lambda_tasks", *arguments], columns, project)
        assert status == 0
        assert max(map(len, screen(written))) <= columns
        assert "--help" in written


@pytest.mark.parametrize("columns", [200, 80])
def test_bad_input_is_one_line_on_a_terminal_too(project: Path, columns: int) -> None:
    """No panel and no traceback: one line that says what to do."""
    arguments = [sys.executable, "-m", "lambda_tasks", "local", "--template", "none.yaml"]
    status, written = on_a_terminal(arguments, columns, project)
    assert status == 2
    expected = "lambda-tasks: the template cannot be read: No such file or directory (none.yaml): name a SAM template"
    seen = [line for line in screen(written) if line and "Reading" not in line]
    assert len(seen) == 1
    assert seen[0].startswith(expected)
