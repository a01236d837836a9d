"""The dispatcher under AWS's own runtime and emulator, fed by an event source mapping from SQS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import demo
from events import message_body
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.mapping.event_source_mapping import EventSourceMapping
from lambda_tasks.local.queue import Queue, redrive_policy
from lambda_tasks.local.runtime.emulator_log import json_records
from lambda_tasks.local.runtime.process import Function, Runtime, running

ROOT = Path(__file__).resolve().parent.parent
LONGEST_SECONDS = 60


@pytest.fixture
def start(embedded_aws: EmbeddedAws, emulator_path: Path) -> Callable[..., Any]:
    """Start a worker with the catalogue's tasks; keywords are settings."""

    @contextmanager
    def start(timeout_seconds: int, *, memory_mb: int = 512, **settings: str) -> Iterator[Runtime]:
        function = Function(
            code=ROOT / "tests",
            handler="lambda_tasks.handler.handler",
            layers=(demo.LAYER,),
            environ={
                **embedded_aws.environ(),
                "AWS_LAMBDA_EXEC_WRAPPER": "/opt/bin/lambda-tasks-exec",
                "LAMBDA_TASKS_MODULES": "catalogue.tasks",
                **settings,
            },
            timeout_seconds=timeout_seconds,
            memory_mb=memory_mb,
        )
        with running(function, emulator_path) as runtime:
            yield runtime

    return start


def drain(queue: Queue, runtime: Runtime) -> list[frozenset[str]]:
    """Run the event source mapping until the queue is empty; return which messages each invocation left."""
    mapping = EventSourceMapping(queue, runtime.invoke)
    deadline = time.monotonic() + LONGEST_SECONDS
    left = []
    while queue.depth() and time.monotonic() < deadline:
        batch = mapping.poll(wait_seconds=1)
        if batch:
            assert not batch.invocation.is_error, batch.invocation
            left.append(batch.failed)
    assert queue.depth() == 0
    return left


def outcomes(runtime: Runtime) -> list[tuple[str, str, str]]:
    """Return message id, outcome and request id of what the dispatcher logged, in order."""
    records = [record for record in json_records(runtime.log_lines()) if "outcome" in record]
    return [(record["message_id"], record["outcome"], record["requestId"]) for record in records]


def test_finished_messages_never_run_again_when_time_is_short(
    start: Callable[..., Any], make_queue: Callable[..., Queue]
) -> None:
    """Ten tasks of 1 s under a function timeout of 5 s: each succeeds once, over several invocations, none is killed."""
    queue = make_queue(VisibilityTimeout="30")
    sent = [queue.send(message_body("catalogue.tasks.hold_time", seconds=1, number=number)) for number in range(10)]
    with start(timeout_seconds=5) as runtime:
        left = drain(queue, runtime)
        logged = outcomes(runtime)
        text = "\n".join(runtime.log_lines())
    succeeded = [message_id for message_id, outcome, _ in logged if outcome == "succeeded"]
    assert sorted(succeeded) == sorted(sent)
    assert {outcome for _, outcome, _ in logged} == {"succeeded", "deferred"}
    assert 3 <= len(left) <= 5
    assert text.count("INIT START") == 1
    assert "Sandbox.Timedout" not in text


@pytest.mark.parametrize("task", ["stick", "stick_async"])
def test_a_task_stuck_in_c_code_does_not_take_the_batch_with_it(
    start: Callable[..., Any], make_queue: Callable[..., Queue], task: str
) -> None:
    """A task in C code far beyond its limit has failed; what was finished is, the rest runs later, in a new runtime."""
    dead_letters = make_queue()
    queue = make_queue(VisibilityTimeout="30", RedrivePolicy=redrive_policy(dead_letters, 10))
    names = ["add", task, "add", "add"]
    sent = [
        queue.send(message_body(f"catalogue.tasks.{name}", **({"number": 1} if name == "add" else {})))
        for name in names
    ]
    with start(timeout_seconds=10) as runtime:
        left = drain(queue, runtime)
        logged = outcomes(runtime)
        text = "\n".join(runtime.log_lines())
    ended = {message_id: outcome for message_id, outcome, _ in logged}
    assert [ended[message_id] for message_id in sent] == ["succeeded", "failed", "succeeded", "succeeded"]
    assert len([outcome for _, outcome, _ in logged if outcome == "succeeded"]) == 3
    assert len(left) == (2 if task == "stick" else 1)  # the async tasks of this batch begin last
    assert text.count("INIT START") == 1
    assert "is stuck and is ended with the runtime" in text
    assert "pbkdf2_hmac" in text
    (letter,) = dead_letters.receive()
    assert letter["MessageAttributes"]["lambda_tasks_error_type"]["StringValue"] == "HardTimeLimitExceeded"


def test_a_thread_stuck_in_c_code_is_left_behind_and_ended_with_the_runtime(
    start: Callable[..., Any], make_queue: Callable[..., Queue]
) -> None:
    """With threads, all others finish; then the answer is given, and a new runtime takes over."""
    dead_letters = make_queue()
    queue = make_queue(VisibilityTimeout="30", RedrivePolicy=redrive_policy(dead_letters, 10))
    for name in ("stick", "add", "add", "add"):
        queue.send(message_body(f"catalogue.tasks.{name}", **({"number": 1} if name == "add" else {})))
    with start(timeout_seconds=10, LAMBDA_TASKS_CONCURRENCY="2") as runtime:
        left = drain(queue, runtime)
        again = queue.send(message_body("catalogue.tasks.add", number=2))
        drain(queue, runtime)
        logged = outcomes(runtime)
        text = "\n".join(runtime.log_lines())
    assert sorted(outcome for _, outcome, _ in logged) == ["failed", "succeeded", "succeeded", "succeeded", "succeeded"]
    assert left == [frozenset()]
    assert logged[-1][:2] == (again, "succeeded")
    assert text.count("INIT START") == 1


def test_memory_that_stays_used_does_not_fail_the_others(
    start: Callable[..., Any], make_queue: Callable[..., Queue]
) -> None:
    """If a task keeps all memory it alone has failed; the rest runs in a new runtime, which has memory again."""
    queue = make_queue(VisibilityTimeout="30", RedrivePolicy=redrive_policy(make_queue(), 10))
    sent = [queue.send(message_body("catalogue.tasks.leak"))]
    sent += [queue.send(message_body(f"catalogue.tasks.{name}", number=1, of=1)) for name in ("take", "meet", "take")]
    with start(timeout_seconds=10, memory_mb=256, LAMBDA_TASKS_MEMORY_GUARD="1") as runtime:
        drain(queue, runtime)
        logged = outcomes(runtime)
        text = "\n".join(runtime.log_lines())
    ended = {message_id: outcome for message_id, outcome, _ in logged}
    assert [ended[message_id] for message_id in sent] == ["failed", "succeeded", "succeeded", "succeeded"]
    assert text.count("INIT START") == 1
    assert "MemoryError" in text


def test_messages_of_a_fifo_queue_keep_their_order_through_retries(
    start: Callable[..., Any], make_queue: Callable[..., Queue]
) -> None:
    """Messages behind one that is tried again run after it, though they are visible at once."""
    queue = make_queue(FifoQueue="true", VisibilityTimeout="30")
    for number, name in enumerate(["add", "flaky", "add", "add"]):
        body = message_body(f"catalogue.tasks.{name}", number=number)
        queue.send(body, MessageGroupId="g", MessageDeduplicationId=str(number))
    with start(timeout_seconds=10) as runtime:
        drain(queue, runtime)
        logged = outcomes(runtime)
    ids = list(dict.fromkeys(message_id for message_id, _, _ in logged))
    succeeded = [message_id for message_id, outcome, _ in logged if outcome == "succeeded"]
    assert succeeded == ids
    assert [outcome for message_id, outcome, _ in logged if message_id == ids[1]] == ["retrying", "succeeded"]
