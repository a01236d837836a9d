"""`lambda-tasks`, command by command: its output, for people and for programs, and its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import stores
from catalogue import tasks
from lambda_tasks.aws.credentials import CredentialChain
from lambda_tasks.aws.transport import Transport
from lambda_tasks.command_line import app, dead_letters
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.queue import Queue, redrive_policy
from lambda_tasks.messages.attributes import ATTRIBUTE
from lambda_tasks.messages.dead_letter import PREFIX
from lambda_tasks.state.dynamodb import DynamoDbState
from lambda_tasks.state.protocol import Attempt
from lambda_tasks.state.record import Ending, Status
from wrapper import secret_arn

MakeQueue = Callable[..., Queue]
TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, embedded_aws: EmbeddedAws) -> None:
    """A machine whose AWS is the embedded one, in the folder of the catalogue."""
    for name in [name for name in os.environ if name.startswith(("LAMBDA_TASKS_", "AWS_"))]:
        monkeypatch.delenv(name)
    for name, value in embedded_aws.environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(TESTS)


class Result:
    """The result of a command."""

    def __init__(self, status: int, stdout: str, stderr: str) -> None:
        self.status = status
        self.stdout = stdout
        self.stderr = stderr

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def complaint(self) -> str:
        """The one line that a bad input gets."""
        assert (self.status, self.stdout) == (2, "")
        (line,) = self.stderr.splitlines()
        return line.removeprefix("lambda-tasks: ")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    def run_command(*arguments: str) -> Result:
        capsys.readouterr()
        status = app.run(arguments)
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return run_command


Run = Callable[..., Result]


def test_help_lists_the_commands(run: Run) -> None:
    """Help names every command, and each one has help of its own."""
    listed = run("--help")
    assert listed.status == 0
    for name in ("check", "dead-letters", "invoke", "local", "records", "send"):
        assert name in listed.stdout
        assert run(name, "--help").status == 0
    assert run("--version").stdout.startswith("lambda-tasks, version ")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nothing"], "No such command 'nothing'. See `lambda-tasks --help`."),
        (["send"], "Missing argument 'TASK'. See `lambda-tasks send --help`."),
        (["local", "--prt", "1"], "No such option '--prt'. (Did you mean one of: '--export', '--parameter', '--port'?) See `lambda-tasks local --help`."),
        (["local", "--port", "x"], "Invalid value for '--port': 'x' is not a valid integer range. See"),
        (["local", "--template", "none.yaml"], "the template cannot be read: No such file or directory (none.yaml): name"),
        (["local", "--template", "none.yaml", "--parameter", "A"], "'A' is no parameter: use NAME=VALUE for a parameter"),
        (["send", "catalogue.tasks.add", "number=1"], "there is no queue to send to (variable LAMBDA_TASKS_QUEUE_URL): set it"),
        (["send", "catalogue.tasks.add", "number"], "'number' is no kwarg: use NAME=VALUE for a kwarg"),
        (["send", "catalogue.tasks.none"], "catalogue.tasks has no none (task catalogue.tasks.none): correct the name"),
        (["send", "catalogue.tasks.undecorated"], "the object is not a task (task catalogue.tasks.undecorated): put @task"),
        (["send", "add"], "the name is not a dotted path (task add): use package.module.task"),
        (["send", "catalogue.tasks.add", "number=x"], "the kwargs do not fit: Expected `int`, got `str` - at `$.number` (task catalogue.tasks.add): the task takes (*, number: 'int', addend: 'int' = 1)"),
        (["send", "a.b", "--queue-url", "no-such-queue"], "GetQueueUrl was refused: QueueDoesNotExist: check the name"),
        (["send", "a.b", "--queue-url", "x", "--endpoint-url", "http://127.0.0.1:9"], 'Could not connect to the endpoint URL: "http://127.0.0.1:9/": check the network'),
        (["send", "a.b", "--queue-url", "x", "--endpoint-url", "nonsense"], "Invalid endpoint: nonsense: add --region or --endpoint-url"),
        (["dead-letters", "list"], "there is no dead-letter queue to look at (variable LAMBDA_TASKS_DEAD_LETTER_QUEUE_URL)"),
        (["dead-letters", "redrive", "--queue", "x"], "it is not clear which messages are meant: add --task, --error-type"),
        (["dead-letters", "delete", "--queue", "x", "--all", "--id", "1"], "it is not clear which messages are meant"),
        (["records"], "there is no state table to read (variable LAMBDA_TASKS_TABLE): set it, or add --table"),
        (["records", "--table", "x", "--since", "soon"], "'soon' is no time: use an age such as 30m"),
        (["invoke", "a.b", "--template", "none.yaml"], "the template cannot be read: No such file or directory"),
        (["check", "--env-file", "none"], "the file cannot be read: No such file or directory (none): name a file"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_line_and_status_2(arguments: list[str], complaint: str, run: Run) -> None:
    """Any input that cannot be used is one line on standard error that says what to do."""
    assert run(*arguments).complaint.startswith(complaint)


def test_a_missing_library_says_what_to_install() -> None:
    """Without the extra the script says how to get it, also as a module."""
    program = "import sys; sys.modules['rich_click'] = None; sys.argv[1:] = ['--help']; from lambda_tasks.__main__ import main; main()"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "lambda-tasks: rich_click is not installed: pip install 'lambda-tasks[cli]'\n"


def test_the_module_is_the_script() -> None:
    """``python -m lambda_tasks`` is ``lambda-tasks``."""
    result = subprocess.run(
        [sys.executable, "-m", "lambda_tasks", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("lambda-tasks, version ")


def test_send_reads_values_as_the_annotations_say(run: Run, make_queue: MakeQueue) -> None:
    """Numbers, text and lists come out as the task wants them, and options become those of the message."""
    queue = make_queue()
    sent = run(
        "send", "catalogue.tasks.everything", "number=42", "text=42", "day=2026-01-31", "price=9.90", "names=[1, 2]",
        "--queue-url", queue.url, "--group", "g", "--context", "tenant=acme", "--json",
    )  # fmt: skip
    assert sent.status == 0
    (received,) = queue.receive()
    assert sent.json == {
        "message_id": received["MessageId"],
        "queue_url": queue.url,
        "task": "catalogue.tasks.everything",
    }
    body = json.loads(received["Body"])
    kwargs = {"number": 42, "text": "42", "day": "2026-01-31", "price": "9.90", "names": [1, 2]}
    assert (body["kwargs"], body["n_retries"]) == (kwargs, 0)
    assert received["Attributes"]["MessageGroupId"] == "g"
    assert json.loads(received["MessageAttributes"][ATTRIBUTE]["StringValue"]) == {"tenant": "acme"}


def test_send_takes_tasks_that_are_elsewhere(run: Run, make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that cannot be imported here is sent all the same, with values as JSON, or text."""
    queue = make_queue()
    monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL_MAIL", queue.url)
    sent = run("send", "elsewhere.tasks.work", "number=42", "text=forty two", "--queue", "mail", "--delay", "1")
    assert sent.status == 0
    assert sent.stdout.startswith("sent elsewhere.tasks.work as message ")
    (received,) = queue.receive(wait_seconds=5)
    assert json.loads(received["Body"])["kwargs"] == {"number": 42, "text": "forty two"}


def test_send_to_a_fifo_queue(run: Run, make_queue: MakeQueue) -> None:
    """A FIFO queue gets group and deduplication id; the queue may be given by its name."""
    queue = make_queue(FifoQueue="true")
    name = queue.url.rpartition("/")[2]
    sent = run(
        "send", "catalogue.tasks.add", "number=1", "--queue-url", name, "--group", "g", "--deduplication-id", "d"
    )
    assert sent.status == 0
    assert queue.receive()[0]["Attributes"]["MessageDeduplicationId"] == "d"


# Dead letters.


@pytest.fixture
def letters(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> tuple[Queue, Queue]:
    """A queue, and its dead-letter queue with four letters: three with a reason, and one that SQS redrove."""
    dead = make_queue()
    queue = make_queue(RedrivePolicy=redrive_policy(dead, 3))
    monkeypatch.setenv("LAMBDA_TASKS_DEAD_LETTER_QUEUE_URL", dead.url)
    for number, (task, error) in enumerate(
        [("shop.pay", "GatewayDown"), ("shop.pay", "GatewayDown"), ("shop.mail", "KeyError")]
    ):
        reason = {
            "task": task,
            "outcome": "failed",
            "error_type": error,
            "error_message": f"no answer {number}",
            "message_id": f"m-{number}",
            "receive_count": "3",
        }
        attributes = {PREFIX + name: {"DataType": "String", "StringValue": value} for name, value in reason.items()}
        attributes[ATTRIBUTE] = {"DataType": "String", "StringValue": '{"tenant": "acme"}'}
        dead.send(json.dumps({"task_name": task, "kwargs": {"n": number}}), MessageAttributes=attributes)
    dead.send("no JSON")
    return queue, dead


def test_dead_letters_are_counted_by_reason(run: Run, letters: tuple[Queue, Queue]) -> None:
    """The list groups by task and error, shows one message of each, and leaves every letter where it is."""
    listed = run("dead-letters", "list", "--json").json
    assert listed["count"] == 4
    groups = [(one["count"], one["task"], one["error_type"]) for one in listed["groups"]]
    assert sorted(groups, key=str) == [
        (1, "shop.mail", "KeyError"),
        (1, None, "redriven by SQS"),
        (2, "shop.pay", "GatewayDown"),
    ]
    assert groups[0] == (2, "shop.pay", "GatewayDown")
    table = run("dead-letters", "list").stdout
    assert "2  shop.pay   GatewayDown" in table
    assert "no answer 0" in table or "no answer 1" in table
    assert run("dead-letters", "list", "--task", "shop.mail", "--json").json["count"] == 1
    assert "There are no such dead letters." in run("dead-letters", "list", "--error-type", "X").stdout
    assert len(letters[1].receive(10)) == 4


def test_one_dead_letter_is_shown_whole(run: Run, letters: tuple[Queue, Queue]) -> None:
    """A letter has its body and all of its reason; one that is not there exits with 1."""
    assert letters
    shown = run("dead-letters", "show", "m-2", "--json").json
    assert (shown["task"], shown["error_type"], shown["error_message"]) == ("shop.mail", "KeyError", "no answer 2")
    assert json.loads(shown["body"]) == {"task_name": "shop.mail", "kwargs": {"n": 2}}
    assert "no answer 2" in run("dead-letters", "show", "m-2").stdout
    absent = run("dead-letters", "show", "m-9")
    assert (absent.status, absent.stdout) == (1, "There is no such dead letter.\n")


def test_redriving_is_a_dry_run_first(run: Run, letters: tuple[Queue, Queue]) -> None:
    """Without --yes it is said what would be sent; with it messages go back as they were, without the reason."""
    queue, dead = letters
    planned = run("dead-letters", "redrive", "--error-type", "GatewayDown")
    assert planned.status == 0
    assert f"2 messages would be sent to {queue.url}. Add --yes to do it." in planned.stdout
    assert (queue.depth(), dead.depth()) == (0, 4)

    done = run("dead-letters", "redrive", "--error-type", "GatewayDown", "--yes", "--json")
    assert (done.status, sorted(done.json["done"]), done.json["errors"]) == (0, ["m-0", "m-1"], [])
    received = queue.receive()
    assert sorted(json.loads(message["Body"])["kwargs"]["n"] for message in received) == [0, 1]
    assert {name for message in received for name in message["MessageAttributes"]} == {ATTRIBUTE}
    assert dead.depth() == 2

    assert run("dead-letters", "redrive", "--id", "m-0", "--yes").status == 1
    assert "1 of 1 message sent to" in run("dead-letters", "redrive", "--id", "m-2", "--to", queue.url, "--yes").stdout
    assert len(dead.receive()) == 1


def test_redriving_to_a_fifo_queue(run: Run, make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter of a FIFO queue goes back to its group, with a deduplication id of its own."""
    dead = make_queue(FifoQueue="true")
    queue = make_queue(FifoQueue="true", RedrivePolicy=redrive_policy(dead, 3))
    monkeypatch.setenv("LAMBDA_TASKS_DEAD_LETTER_QUEUE_URL", dead.url)
    dead.send("{}", MessageGroupId="g", MessageDeduplicationId="d")
    assert run("dead-letters", "redrive", "--all", "--yes").status == 0
    attributes = queue.receive()[0]["Attributes"]
    assert attributes["MessageGroupId"] == "g"
    assert attributes["MessageDeduplicationId"] != "d"


def test_deleting_is_a_dry_run_first(run: Run, letters: tuple[Queue, Queue]) -> None:
    """Without --yes nothing is deleted."""
    dead = letters[1]
    assert "4 messages would be deleted" in run("dead-letters", "delete", "--all").stdout
    assert dead.depth() == 4
    assert run("dead-letters", "delete", "--task", "shop.pay", "--yes").stdout.endswith("2 of 2 messages deleted.\n")
    assert dead.depth() == 2
    assert run("dead-letters", "delete", "--task", "shop.pay", "--yes").status == 1


def test_a_queue_without_a_source_needs_one_to_be_named(run: Run, make_queue: MakeQueue) -> None:
    """If no queue, or more than one, has this dead-letter queue, the target has to be given."""
    dead = make_queue()
    complaint = run("dead-letters", "redrive", "--all", "--queue", dead.url).complaint
    assert complaint == f"0 queues have this dead-letter queue ({dead.url}): name the queue with --to"


def test_what_cannot_be_sent_stays(run: Run, letters: tuple[Queue, Queue], monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter that could not be sent back is reported, stays, and makes the status 1."""
    queue, dead = letters
    queue.client.delete_queue(QueueUrl=queue.url)
    monkeypatch.setattr(dead_letters, "_MOST", 2)
    done = run("dead-letters", "redrive", "--all", "--to", queue.url, "--yes")
    assert done.status == 1
    assert "0 of 2 messages sent" in done.stdout
    assert "SendMessage was refused: QueueDoesNotExist" in done.stdout
    assert dead.depth() == 4


# Records.


@pytest.fixture
def table(embedded_aws: EmbeddedAws) -> Iterator[str]:
    """A state table with a task that succeeded, one that failed, and one that runs."""
    name = stores.create_table(embedded_aws)
    environ = embedded_aws.environ()
    transport = Transport(CredentialChain(environ), environ)
    state = DynamoDbState(name, transport, region="eu-west-1", partition="aws")
    now = time.time()
    deadline = time.monotonic() + 30
    attempts = [Attempt(f"m-{n}", f"shop.task_{n % 2}", 60, now - 3600 * n) for n in range(3)]
    for attempt in attempts:
        state.start(attempt, deadline=deadline)
    state.finish(attempts[0], Ending.of(Status.SUCCEEDED, value={"a": 1}), deadline=deadline)
    try:
        tasks.fail(number=1)
    except ConnectionError as error:
        state.finish(attempts[1], Ending.of(Status.FAILED, error=error), deadline=deadline)
    yield name
    tasks.ran.clear()
    transport.close()


def test_records_are_listed_newest_first(run: Run, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records come by task, status and time; each with its outcome and error."""
    monkeypatch.setenv("LAMBDA_TASKS_TABLE", table)

    def listed(*options: str) -> list[str]:
        return [json.loads(line)["message_id"] for line in run("records", "--json", *options).stdout.splitlines()]

    assert listed() == ["m-0", "m-1", "m-2"]
    assert listed("--task", "shop.task_0") == ["m-0", "m-2"]
    assert listed("--status", "failed") == ["m-1"]
    assert listed("--task", "shop.task_0", "--status", "running") == ["m-2"]
    assert listed("--since", "90m") == ["m-0", "m-1"]
    assert listed("--until", "30m") == ["m-1", "m-2"]
    assert listed("--since", "2020-01-01T00:00Z", "--limit", "1") == ["m-0"]
    shown = run("records").stdout
    assert "ConnectionError: the other side is down" in shown
    assert "There are no such records." in run("records", "--status", "rejected").stdout


def test_one_record_is_shown_with_its_traceback(run: Run, table: str, embedded_aws: EmbeddedAws) -> None:
    """A record by its message id is shown whole; one that is not there exits with 1."""
    where = ["--table", table, "--endpoint-url", embedded_aws.endpoint_url, "--region", "eu-west-1"]
    shown = run("records", "m-1", *where)
    assert shown.status == 0
    assert "Traceback (most recent call last):" in shown.stdout
    assert run("records", "m-0", "--json", *where).json["result"] == '{"a":1}'
    absent = run("records", "m-9", *where)
    assert (absent.status, absent.stdout) == (1, "There is no such record.\n")
    assert run("records", "m-9", "--json", *where).json is None


# Check.


def test_check_says_how_references_stand(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """References are listed with their status; problems exit with 1; nothing to check is well."""
    nothing = run("check")
    assert (nothing.status, nothing.stdout) == (0, "There are no references in this environment.\n")
    monkeypatch.setenv("LAMBDA_TASKS_SECRET_TOKEN", secret_arn("a-AbCdEf"))
    assert run("check").status == 0
    found = run("check", "--json").json
    assert [(one["variable"], one["status"]) for one in found["references"]] == [("TOKEN", "valid")]
    fetched = run("check", "--fetch")
    assert fetched.status == 1
    assert "SecretNotFound" in fetched.stdout
    policy = run("check", "--policy", "--json").json
    assert policy["Statement"][0]["Action"] == ["secretsmanager:GetSecretValue"]
    assert json.loads(run("check", "--policy").stdout) == policy


def test_check_takes_the_variables_of_a_file(run: Run, tmp_path: Path) -> None:
    """The function's variables may come from a file, in place of this environment's."""
    file = tmp_path / "env"
    file.write_text("LAMBDA_TASKS_SECRET_TOKEN=nonsense\n")
    found = run("check", "--env-file", str(file), "--json")
    assert (found.status, found.json["problems"][0]["error"]) == (1, "InvalidReference")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completion(shell: str, run: Run) -> None:
    """The script of each shell names the program, and asks it for what fits."""
    script = run("completion", shell)
    assert (script.status, script.stderr) == (0, "")
    assert "lambda-tasks" in script.stdout
    assert "_LAMBDA_TASKS_COMPLETE" in script.stdout
