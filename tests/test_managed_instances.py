"""Functions on Managed Instances: up to 90 minutes, and a process for each of several requests at a time."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

import runtime_process
from catalogue import tasks
from events import message_body, sqs_event, sqs_record
from fake_aws import FakeAws
from lambda_tasks.containers.worker import HoldingWorker
from lambda_tasks.dispatch import rescue
from lambda_tasks.limits.memory_guard import MIB, limit_bytes
from lambda_tasks.messages.fetching import memory_for_payloads
from lambda_tasks.settings import Settings, processes
from lambda_tasks.state.protocol import AlreadyEnded, AlreadySucceeded, Attempt, Busy, Started
from memory_state import MemoryState
from workers import Dispatched, worker
from wrapper import base_environ

CONCURRENCY, SIZE = "AWS_LAMBDA_MAX_CONCURRENCY", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"


def message(task: str) -> Any:
    return sqs_record(message_body(f"catalogue.managed.{task}"))


def test_each_process_ends_and_begins_alone(aws: FakeAws) -> None:
    """Under awslambdaric with three processes the stuck one and the one without memory answer and begin anew.

    The third one goes on. Afterwards there are as many processes as before, each with its share of the memory, random
    numbers and an event loop of its own, and logs and metrics tell them apart.
    """
    aws.redrive_policies["queue"] = "arn:aws:sqs:eu-west-1:123456789012:dead"
    stuck, kept, neighbours = message("stick"), message("keep"), [message("show"), message("show")]
    shows = [[message("show"), message("show_loop")] for _ in range(4)]
    environ = base_environ(
        aws.url,
        AWS_LAMBDA_FUNCTION_NAME="worker",
        AWS_LAMBDA_FUNCTION_MEMORY_SIZE="1024",
        AWS_LAMBDA_LOG_FORMAT="JSON",
        AWS_LAMBDA_LOG_LEVEL="INFO",
        LAMBDA_TASKS_MEMORY_GUARD="1",
        LAMBDA_TASKS_METRICS_NAMESPACE="Shop",
        LAMBDA_TASKS_MODULES="catalogue.managed",
    )
    events = [sqs_event(stuck, neighbours[0]), sqs_event(kept, neighbours[1]), *(sqs_event(*one) for one in shows)]
    finished = runtime_process.run(events, environ, seconds=20, processes=3)

    left = [[one["itemIdentifier"] for one in answer["batchItemFailures"]] for answer in finished.answers]
    assert left == [[neighbours[0]["messageId"]], [neighbours[1]["messageId"]], [], [], [], []], finished.output
    reasons = {
        one.body["MessageAttributes"]["lambda_tasks_error_type"]["StringValue"] for one in aws.sent("SendMessage")
    }
    assert reasons == {"HardTimeLimitExceeded", "MemoryError"}

    lines = [json.loads(line) for line in finished.output.splitlines() if line.startswith("{")]
    seen = [(one["message"], one) for one in lines if isinstance(one.get("message"), dict)]
    by_request: dict[str, set[int]] = {}
    for one in lines:
        if "process_id" in one:
            by_request.setdefault(one.get("requestId") or one["request_id"], set()).add(one["process_id"])
    assert all(len(one) == 1 for one in by_request.values())
    of_event = [process for _, (process,) in sorted(by_request.items())]
    assert len(set(of_event[:3])) == 3
    assert sorted(of_event[3:]) == sorted(of_event[:3])
    assert all(one["pid"] == record["process_id"] for one, record in seen)
    numbers = list(itertools.chain(*(one["random"] for one, _ in seen if "random" in one)))
    assert len({*numbers}) == len(numbers) == 8
    assert all(100 < one["mebibytes"] < 1024 * 0.9 / 3 for one, _ in seen if "mebibytes" in one)
    deferred = [one["message"] for one in lines if one.get("outcome") == "deferred"]
    assert len(deferred) == 2
    assert all(one.endswith(": another task was stuck, or used up the memory") for one in deferred)
    metrics = [one for one in lines if "_aws" in one]
    assert {one["process_id"] for one in metrics} == {*of_event}
    dimensions = [one["_aws"]["CloudWatchMetrics"][0]["Dimensions"] for one in metrics if "Task" in one]
    assert all(one == [["FunctionName", "Task"], ["FunctionName"]] for one in dimensions)


@pytest.mark.parametrize(
    ("variables", "count", "data_mebibytes", "payload_mebibytes"),
    [
        ({SIZE: "2048"}, 1, 1843.2, 512),
        ({SIZE: "2048", CONCURRENCY: "1"}, 1, 1843.2, 512),
        ({SIZE: "2048", CONCURRENCY: "16"}, 16, 115.2, 32),
        ({SIZE: "2048", "LAMBDA_TASKS_PROCESSES": "16"}, 16, 115.2, 32),
        ({SIZE: "2048", CONCURRENCY: "64"}, 64, None, 8),
        ({CONCURRENCY: "4"}, 4, None, 64),
        ({SIZE: "2048", CONCURRENCY: "many"}, 1, 1843.2, 512),
        ({SIZE: "2048", CONCURRENCY: "0"}, 1, 1843.2, 512),
    ],
)
def test_processes_share_the_memory(
    variables: dict[str, str], count: int, data_mebibytes: float | None, payload_mebibytes: int
) -> None:
    """Tasks and payloads of a process have its part of the environment's memory, also once it was started anew."""
    assert processes(variables) == count
    assert limit_bytes(variables) == (None if data_mebibytes is None else round(data_mebibytes * MIB))
    assert memory_for_payloads(variables) == payload_mebibytes * MIB


def test_a_process_that_begins_anew_forks_no_others() -> None:
    """The new runtime takes one request at a time, knows of the others, and writes where its parent has it write."""
    environ = {"A": "1", CONCURRENCY: "8"}
    successor = rescue._environ_of_successor(environ)
    assert successor == {"A": "1", "LAMBDA_TASKS_PROCESSES": "8"}
    assert rescue._environ_of_successor(successor) == successor


class _Leases(MemoryState):
    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def start(self, attempt: Attempt, *, deadline: float) -> Started | Busy | AlreadySucceeded | AlreadyEnded:
        self.seconds.append(attempt.lease_seconds)
        return super().start(attempt, deadline=deadline)


def test_leases_and_time_last_as_long_as_the_invocation_may() -> None:
    """In an invocation of 90 minutes a task has all of them, a margin apart, and so has its lease."""
    state = _Leases()
    tasks.seen.clear()
    remaining = sqs_record(message_body("catalogue.tasks.note_remaining"))
    assert Dispatched(worker(state=state), remaining, seconds=5400).outcomes == ["succeeded"]
    assert 5_390_000 < tasks.seen.pop() < 5_400_000
    (lease_seconds,) = state.seconds
    assert 5390 < lease_seconds <= 5401


def test_a_container_that_crashes_leaves_a_shorter_lease() -> None:
    """Where SQS' 12 hours are the only end, a lease lasts 15 minutes."""
    made, state = worker(), _Leases()
    holding = HoldingWorker(Settings(), made.environ, state=state, transport=made.transport)
    Dispatched(holding, sqs_record(message_body("catalogue.tasks.add", number=1)), seconds=43_000)
    assert [round(seconds) for seconds in state.seconds] == [901]
