"""A table that functions with two releases of the layer share: each reads, and respects, what the other wrote.

`release_before.json` has the requests that the first release with this table sends, word for word; `read_before` is how
it reads an item.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stores
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.state import history
from lambda_tasks.state.dynamodb import DynamoDbState
from lambda_tasks.state.protocol import AlreadyEnded, AlreadySucceeded, Attempt, Busy, Queued, Started
from lambda_tasks.state.record import Ending, PastAttempt, Status
from stores import Clock, create_table, dynamodb_state, soon

REQUESTS = json.loads((Path(__file__).parent / "release_before.json").read_text())
STATUSES = {"running", "succeeded", "retrying", "deferred", "failed", "rejected", "skipped"}
TASK = "shop.tasks.send"


class Before:
    """The release before, at one message of a table. Each method says whether its write was made."""

    def __init__(self, aws: EmbeddedAws, table: str, message_id: str) -> None:
        self._client = aws.client("dynamodb")
        self._table = table
        self._message_id = message_id

    def write(self, name: str) -> bool:
        text = json.dumps(REQUESTS[name]).replace("TABLE", self._table).replace("message#ID", self.key)
        try:
            self._client.update_item(**json.loads(text))
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    @property
    def key(self) -> str:
        return f"message#{self._message_id}"

    def read(self) -> dict[str, Any]:
        item = self._client.get_item(TableName=self._table, Key={"id": {"S": self.key}})["Item"]
        return read_before(item)


def read_before(item: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what the release before reads of an item; it raises where that is not what it knows."""

    def text(name: str) -> str | None:
        return item.get(name, {}).get("S")

    def number(name: str) -> float | None:
        value = item.get(name, {}).get("N")
        return None if value is None else float(value)

    status = text("status")
    assert status in STATUSES
    return {
        "task": text("task") or "",
        "status": status,
        "attempts": round(number("attempts") or 0),
        "first_received_at": number("first_received_at") or 0,
        "started_at": number("started_at") or 0,
        "finished_at": number("finished_at"),
        "result": text("result"),
        "error_type": text("error_type"),
        "error_message": text("error_message"),
    }


@pytest.fixture(scope="module")
def table(embedded_aws: EmbeddedAws) -> str:
    return create_table(embedded_aws)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(embedded_aws: EmbeddedAws, table: str, clock: Clock) -> Iterator[DynamoDbState]:
    with stores.transport(embedded_aws.environ()) as transport:
        yield dynamodb_state(transport, table, clock)


@pytest.fixture
def before(embedded_aws: EmbeddedAws, table: str) -> Before:
    return Before(embedded_aws, table, str(uuid.uuid4()))


@pytest.fixture
def one(before: Before) -> Attempt:
    details = {"queue": "q", "request_id": "r-1", "kwargs": "{}", "context": "{}", "python": "3.13.1"}
    return Attempt(before._message_id, TASK, 60, details=details)


def test_what_the_release_before_wrote_is_read(
    state: DynamoDbState, before: Before, one: Attempt, clock: Clock
) -> None:
    """Its lease holds, its attempts count, and its record has what it knew."""
    assert before.write("start")
    assert state.start(one, deadline=soon()) == Busy(clock.now + 60)
    assert before.write("release")
    record = state.record(one.message_id, deadline=soon())
    assert record is not None
    assert (record.status, record.attempts, record.error_message) == (Status.RETRYING, 1, "down")
    assert (record.first_received_at, record.history, record.queue) == (clock.now - 10, (), None)
    begun = state.start(one, deadline=soon())
    assert isinstance(begun, Started)
    assert (begun.attempts, begun.first_failed_at) == (2, clock.now)
    state.release(one, Ending.of(Status.DEFERRED, reason="busy", history=begun.history), deadline=soon())
    assert before.write("start")
    assert before.write("finish")
    assert isinstance(state.start(one, deadline=soon()), AlreadySucceeded)
    record = state.record(one.message_id, deadline=soon())
    assert record is not None
    assert (record.status, record.attempts, record.result) == (Status.SUCCEEDED, 3, '{"sent":1}')
    assert (record.reason, [attempt.outcome for attempt in record.history]) == (None, ["deferred"])


def test_a_failure_of_the_release_before_is_final(
    state: DynamoDbState, before: Before, one: Attempt, clock: Clock
) -> None:
    """What it ended for good does not run again."""
    assert before.write("start")
    assert before.write("fail")
    clock.advance(60)
    ended = state.start(one, deadline=soon())
    assert isinstance(ended, AlreadyEnded)
    assert (ended.status, ended.has_letter) == (Status.FAILED, False)


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED, Status.SKIPPED])
def test_the_release_before_reads_what_this_one_writes(
    state: DynamoDbState, before: Before, one: Attempt, clock: Clock, status: Status
) -> None:
    """This release's lease holds there, its attempts count, and what it ended does not run again."""
    begun = state.start(one, deadline=soon())
    assert isinstance(begun, Started)
    assert not before.write("start")
    assert (before.read()["status"], before.read()["attempts"]) == ("running", 1)
    error = ConnectionError("down")
    state.release(one, Ending.of(Status.RETRYING, error=error, history=begun.history), deadline=soon())
    assert (before.read()["status"], before.read()["error_message"]) == ("retrying", "down")
    assert before.write("start")
    assert before.write("release")
    again = Attempt(one.message_id, TASK, 60, details=one.details)
    begun = state.start(again, deadline=soon())
    assert isinstance(begun, Started)
    ending = Ending.of(status, value=1, reason="it expired", history=begun.history)
    state.finish(again, ending, deadline=soon())
    assert not before.write("start")
    expected = {"status": status.value, "attempts": 3, "finished_at": clock.now, "result": "1"}
    assert before.read().items() >= expected.items()


def test_the_release_before_runs_what_this_one_queued(
    state: DynamoDbState, before: Before, one: Attempt, clock: Clock
) -> None:
    """A queued message is one that waits, to a release that does not know the status; and it starts there."""
    state.queued([Queued(one.message_id, TASK, "q", clock.now)], deadline=soon())
    assert (before.read()["status"], before.read()["attempts"]) == ("deferred", 0)
    assert before.write("start")
    assert before.write("finish")
    record = state.record(one.message_id, deadline=soon())
    assert record is not None
    assert (record.status, record.attempts, record.queued_at) == (Status.SUCCEEDED, 1, clock.now)


def test_a_later_release_may_say_more_of_an_attempt() -> None:
    """Fields at the end of an entry are left out, as is an entry of another form."""
    entries = ['[1.5,"r-1",2.5,"retrying",null,null,"more"]', "nonsense", '{"started_at":1}', "[3]"]
    assert history.read(entries) == (PastAttempt(1.5, "r-1", 2.5, "retrying"), PastAttempt(3))
