"""`lambda-tasks worker` and `lambda-tasks run` as processes of their own, and their exit statuses."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from catalogue import tasks
from events import message_body, sqs_event, sqs_record
from lambda_tasks.command_line import app
from lambda_tasks.containers import one_message
from lambda_tasks.containers.health import Health
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.queue import Queue, redrive_policy
from waiting import wait_until

TESTS = Path(__file__).parent
LONGEST_SECONDS = 60

MakeQueue = Callable[..., Queue]


def environ(embedded_aws: EmbeddedAws, **variables: str) -> dict[str, str]:
    """Return the environment of a container whose AWS is the embedded one."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LAMBDA_TASKS_", "AWS_", "PYTHONPATH"))
    }
    return {**kept, **embedded_aws.environ(), **variables}


@contextlib.contextmanager
def lambda_tasks(*arguments: str, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run the command line in the folder of the catalogue; kill it at the end, if it is still there."""
    command = [sys.executable, "-m", "lambda_tasks", *arguments]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=TESTS, env=env, text=True, **pipes) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def health(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST_SECONDS)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_worker_from_its_start_to_its_end(embedded_aws: EmbeddedAws, make_queue: MakeQueue, tmp_path: Path) -> None:
    """A worker runs what is in its queue, is well, replaces a process whose task is stuck, and gives back what is left."""
    dead = make_queue()
    queue = make_queue(RedrivePolicy=redrive_policy(dead, 3))
    for number in range(5):
        queue.send(message_body(tasks.add, number=number))
    queue.send(message_body(tasks.fail))
    env = environ(embedded_aws, LAMBDA_TASKS_QUEUE_URL_JOBS=queue.url, LAMBDA_TASKS_REPORTING_MARGIN_SECONDS="0.2")
    file = tmp_path / "health"
    options = ("--grace", "0.3", "--wait", "1", "--health-file", str(file), "--health-port", "0")
    with lambda_tasks("worker", "--queue", "jobs", *options, env=env) as worker:
        assert worker.stderr is not None
        port = int(re.findall(r"^health: port (\d+)$", worker.stderr.readline(), re.MULTILINE)[0])
        wait_until(lambda: queue.depth() == 0 and dead.depth() == 1, LONGEST_SECONDS)
        wait_until(lambda: health(port) == 200 and file.exists(), LONGEST_SECONDS)

        queue.send(message_body(tasks.stick))
        wait_until(lambda: dead.depth() == 2, LONGEST_SECONDS)
        queue.send(message_body(tasks.add, number=1))
        wait_until(lambda: queue.depth() == 0, LONGEST_SECONDS)

        queue.send(message_body(tasks.say_and_stay))
        assert worker.stdout is not None
        assert worker.stdout.readline() == "here\n"
        worker.send_signal(signal.SIGTERM)
        _, log = worker.communicate(timeout=LONGEST_SECONDS)
        assert worker.returncode == 0, log
    (given_back,) = queue.receive(wait_seconds=10)
    assert given_back["Attributes"]["ApproximateReceiveCount"] == "2"
    assert "1 messages did not finish in time, and are given back" in log
    assert not file.exists()


def test_the_health_port_has_both_families() -> None:
    """Whoever asks for the health may do so by IPv4, or by IPv6 where this machine has it."""
    shown = Health(port=0)
    try:
        for host in ("127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])):
            socket.create_connection((host, shown.port or 0), timeout=LONGEST_SECONDS).close()
    finally:
        shown.close()


@pytest.mark.parametrize(
    ("arguments", "variables", "complaint"),
    [
        (["worker"], {}, "there is no queue to consume (variable LAMBDA_TASKS_QUEUE_URL)"),
        (["worker", "--queue", "nowhere"], {}, "the queue nowhere was not found: "),
        (["worker"], {"LAMBDA_TASKS_QUEUE_URL": "batch:a/b"}, "batch:a/b is no queue of SQS"),
        (
            ["worker"],
            {"LAMBDA_TASKS_CONCURRENCY": "x"},
            "the setting is not usable (variable LAMBDA_TASKS_CONCURRENCY)",
        ),
        (["run", " "], {}, "there is no message to run (variable LAMBDA_TASKS_MESSAGE)"),
        (["run", "{}"], {"LAMBDA_TASKS_MODULES": "nowhere"}, "there is no module nowhere: install it in the image"),
    ],
)
def test_bad_input_of_a_container_is_one_line(
    arguments: list[str],
    variables: dict[str, str],
    complaint: str,
    embedded_aws: EmbeddedAws,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A worker without a queue, and a run without a message, say so in one line and exit with 2."""
    for name, value in environ(embedded_aws, **variables).items():
        monkeypatch.setenv(name, value)
    assert app.run(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"lambda-tasks: {complaint}")


def test_a_worker_that_cannot_begin_ends(embedded_aws: EmbeddedAws) -> None:
    """A module that cannot be imported ends the worker, whose processes are not started again and again."""
    queue = f"{embedded_aws.endpoint_url}/123456789012/q"
    env = environ(embedded_aws, LAMBDA_TASKS_QUEUE_URL=queue, LAMBDA_TASKS_MODULES="nowhere")
    with lambda_tasks("worker", env=env) as worker:
        _, log = worker.communicate(timeout=LONGEST_SECONDS)
    assert worker.returncode in (1, 2)
    assert "nowhere" in log


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (message_body(tasks.add, number=1), 0),
        (message_body(tasks.fail), 1),
        (message_body("catalogue.tasks.none"), 1),
        ("nonsense", 1),
        (message_body(tasks.unreliable), 75),
        ('{"Records": [{"messageId": "id", "body": "{\\"task_name\\": \\"catalogue.tasks.refuse\\"}"}]}', 1),
        ('{"messageId": "id", "body": "{\\"task_name\\": \\"catalogue.tasks.ask_again\\"}", "attributes": null}', 75),
    ],
)
def test_the_status_says_what_became_of_the_message(message: str, status: int) -> None:
    """The status of a run is 0 for done, 1 for failed or rejected, and 75 for a message to be tried again."""
    assert app.run(["run", message]) == status


@pytest.mark.parametrize(("attempt", "status"), [("1", 75), ("3", 75), ("4", 1), ("", 75)])
def test_attempts_of_a_job_count_as_retries(attempt: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task with three retries is tried again in three attempts of a job, and fails in the fourth."""
    monkeypatch.setenv("AWS_BATCH_JOB_ATTEMPT", attempt)
    monkeypatch.setenv("LAMBDA_TASKS_MESSAGE", message_body(tasks.unreliable))
    assert app.run(["run"]) == status


def test_a_run_tries_again_where_nothing_else_would() -> None:
    """With --retry a message is tried again in the same process, after its backoff, as often as the task allows."""
    tasks.ran.clear()
    message = message_body(tasks.flaky, number=2)
    assert app.run(["run", "--retry", message]) == 0


def test_a_message_has_the_id_of_its_job() -> None:
    """A message of a job has the job's id, unless it brings its own."""
    job = {"AWS_BATCH_JOB_ID": "job-1"}
    assert one_message.record_of(message_body(tasks.add, number=1), job)["messageId"] == "job-1"
    event = sqs_event(sqs_record(message_body(tasks.add, number=1), message_id="own"))
    assert one_message.record_of(json.dumps(event), job)["messageId"] == "own"
    assert (
        len(one_message.record_of("{}", {"ECS_CONTAINER_METADATA_URI_V4": "http://127.0.0.1:9/v4"})["messageId"]) == 36
    )


def test_a_run_reads_standard_input_and_puts_off_what_it_cannot_end(embedded_aws: EmbeddedAws) -> None:
    """A message may come by standard input, where its variable is empty; SIGTERM ends the process with 75 though its task does not end."""
    env = environ(embedded_aws, LAMBDA_TASKS_MESSAGE="")
    with lambda_tasks("run", env=env) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        run.stdin.write(message_body("catalogue.tasks.say_and_stay"))
        run.stdin.close()
        assert run.stdout.readline() == "here\n"
        run.send_signal(signal.SIGTERM)
        assert run.wait(LONGEST_SECONDS) == 75


def test_the_handler_says_that_it_is_no_program() -> None:
    """`python -m lambda_tasks.handler` exits with 2 and names the commands that run messages."""
    finished = subprocess.run(
        [sys.executable, "-m", "lambda_tasks.handler"], capture_output=True, text=True, check=False, env={}
    )
    assert finished.returncode == 2
    assert "`lambda-tasks run`" in finished.stderr
    assert len(finished.stderr.splitlines()) == 1
