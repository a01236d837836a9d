"""What `enqueue` returns: a text, from which a producer gets to the record, the end and the result of its message."""

from __future__ import annotations

import asyncio
import json
import pickle
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from catalogue import tasks
from events import message_body, sqs_event, sqs_record
from lambda_tasks import TaskFailed, TaskRecord, settings
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.dispatch.worker import Worker
from lambda_tasks.enqueue import queued
from lambda_tasks.enqueue.message_id import MessageId
from lambda_tasks.errors import InvalidSetting
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.queue import Queue
from lambda_tasks.records import NotEnded
from lambda_tasks.state.record import Ending, Status, StoredRecord
from lambda_tasks.testing import TaskQueue
from stores import create_table


@pytest.fixture(scope="module")
def table(embedded_aws: EmbeddedAws) -> str:
    return create_table(embedded_aws)


@pytest.fixture
def producer(
    monkeypatch: pytest.MonkeyPatch,
    embedded_aws: EmbeddedAws,
    calls_of_its_own: None,  # noqa: ARG001
) -> EmbeddedAws:
    """Make this process a producer within a function alone: what sends a message makes no difference to its id."""
    for name, value in {**embedded_aws.environ(), "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"}.items():
        monkeypatch.setenv(name, value)
    return embedded_aws


@pytest.fixture
def _recorded(table: str, default_queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:  # noqa: ARG001
    """A producer and a worker that have one table."""
    monkeypatch.setenv("LAMBDA_TASKS_TABLE", table)
    queued._pauses_until = 0.0
    yield
    queued._pauses_until = 0.0


def run(message_id: str, name: str, **kwargs: Any) -> None:
    """Have a worker of this process's settings run the message, as if SQS had delivered it."""
    record = sqs_record(message_body(f"catalogue.tasks.{name}", **kwargs), message_id=message_id)
    dispatch(sqs_event(record), None, Worker.of_process(settings.current()))


@pytest.mark.usefixtures("_recorded")
def test_a_producer_follows_its_message() -> None:
    """The id is a text; its record is queued, then what the worker makes it; the result is the task's."""
    message_id = tasks.add.enqueue(number=1)
    assert isinstance(message_id, str)
    assert message_id == str(uuid.UUID(message_id))
    assert json.loads(json.dumps(message_id)) == pickle.loads(pickle.dumps(message_id)) == message_id  # noqa: S301
    record = message_id.record()
    assert record is not None
    assert (record.status, record.attempts, record.task) == ("queued", 0, "catalogue.tasks.add")
    assert record in TaskRecord.by_status("queued")
    assert TaskRecord.get(str(uuid.uuid4())) is None
    with pytest.raises(TimeoutError, match=r"not ended within 0\.1 s, it is queued \(message .*\): wait longer"):
        message_id.wait(timedelta(seconds=0.1))
    run(message_id, "add", number=1)
    assert message_id.wait(0).status == "succeeded"
    assert message_id.result(timeout=5) == 2


@pytest.mark.usefixtures("_recorded")
def test_a_failure_is_raised_where_the_message_came_from() -> None:
    """The error has the type, text and traceback of the worker's, and travels between processes."""
    message_id = tasks.fail.enqueue(number=1)
    run(message_id, "fail", number=1)
    with pytest.raises(TaskFailed, match="the task failed: ConnectionError: the other side is down") as raised:
        message_id.result(timeout=0)
    for error in (raised.value, pickle.loads(pickle.dumps(raised.value))):  # noqa: S301
        assert (error.error_type, error.error_message) == ("ConnectionError", "the other side is down")
        assert (error.message_id, error.task, error.status) == (message_id, "catalogue.tasks.fail", "failed")
        assert error.traceback.startswith("Traceback (most recent call last):")
        assert "raise ConnectionError" in error.__notes__[1]


class Polled(MessageId):
    """An id whose records are given, one for each time that it is looked at."""

    statuses: Any

    def record(self) -> TaskRecord | None:
        status = next(self.statuses)
        return None if status is None else TaskRecord(str(self), "t", Status(status), 1, 0, 0, result='{"a":[1]}')


def test_a_wait_ends_when_the_message_has() -> None:
    """What is unknown, queued, running or to be tried again is waited for."""
    waited_for = Polled("m-1")
    waited_for.statuses = iter([None, "queued", "running", "retrying", "deferred", "skipped", "never looked at"])
    assert waited_for.result() == {"a": [1]}
    assert next(waited_for.statuses) == "never looked at"
    waited_for.statuses = iter([None])
    with pytest.raises(NotEnded, match="it is unknown"):
        waited_for.wait(0)


@pytest.mark.usefixtures("_recorded")
def test_many_messages_are_recorded_as_queued(table: str, embedded_aws: EmbeddedAws) -> None:
    """Each of many that was sent has a record, and one that was not has none."""
    sent = tasks.add.enqueue_many([*({"number": number} for number in range(60)), {"number": "x"}])
    assert (sent.sent, sent.failed) == (60, 1)
    for entry in sent[:60]:
        assert entry.message_id is not None
    ids = {entry.message_id for entry in sent[:60]}
    assert ids <= {record.message_id for record in TaskRecord.by_status("queued")}
    first = sent[0].message_id
    assert first is not None
    key = {"id": {"S": f"message#{first}"}}
    item = embedded_aws.client("dynamodb").get_item(TableName=table, Key=key)["Item"]
    assert (item["task"]["S"], item["queue"]["S"]) == (
        "catalogue.tasks.add",
        settings.current().queue_url("default").rpartition("/")[2],
    )


@pytest.mark.usefixtures("_recorded")
def test_what_is_sent_is_not_recorded_where_that_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the setting off, a message has no record until it is received."""
    monkeypatch.setenv("LAMBDA_TASKS_RECORD_ENQUEUED", "0")
    assert tasks.add.enqueue(number=1).record() is None


@pytest.mark.usefixtures("_recorded")
def test_a_table_that_is_not_there_does_not_keep_a_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A message is sent without its record, with one warning for a while, also many of them."""
    monkeypatch.setenv("LAMBDA_TASKS_TABLE", "nowhere")
    for _ in range(3):
        assert tasks.add.enqueue(number=1)
    assert tasks.add.enqueue_many({"number": number} for number in range(30)).raise_for_errors().sent == 30
    assert caplog.text.count("no record until it is received") == 1
    assert "table nowhere" in caplog.text


@pytest.mark.usefixtures("default_queue")
def test_without_a_table_an_id_is_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking it for more says which setting is missing."""
    monkeypatch.delenv("LAMBDA_TASKS_TABLE", raising=False)
    message_id = tasks.add.enqueue(number=1)
    with pytest.raises(InvalidSetting, match="LAMBDA_TASKS_TABLE"):
        message_id.result()


def test_a_message_of_this_process_has_its_record_without_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a test's queue, and in the mode eager, an id leads to the result, or to the error, of what ran here."""
    monkeypatch.delenv("LAMBDA_TASKS_TABLE", raising=False)
    with TaskQueue() as queue:
        one, other = tasks.add.enqueue(number=1), tasks.fail.enqueue()
        with pytest.raises(NotEnded, match="it is queued"):
            one.result(timeout=0)
        queue.run(raise_errors=False)
    assert (one.result(timeout=0), one.wait(0).status, one.wait(0).attempts) == (2, "succeeded", 1)
    with pytest.raises(TaskFailed, match="ConnectionError: the other side is down"):
        other.result(timeout=0)
    monkeypatch.setenv("LAMBDA_TASKS_MODE", "eager")
    assert tasks.add.enqueue(number=2).result() == 3
    assert tasks.add.options(expires=0).enqueue(number=2).wait().reason.startswith("it expired")  # type: ignore[union-attr]
    assert tasks.ignore.enqueue(path="nowhere").wait().error_type == "FileNotFoundError"


def test_an_event_loop_goes_on_while_a_message_is_sent(default_queue: Queue) -> None:
    """`aenqueue` sends as `enqueue` does, several at a time."""

    async def both() -> list[MessageId]:
        return list(await asyncio.gather(tasks.add.aenqueue(number=1), tasks.note.aenqueue(text="a")))

    ids = asyncio.run(both())
    received = [message["MessageId"] for _ in ids for message in default_queue.receive()]
    assert sorted(ids) == sorted(received)


def test_an_id_is_kept_as_a_result() -> None:
    """A task that returns the id of what it enqueued has it in its record."""
    ending = Ending.of(Status.SUCCEEDED, value={"next": MessageId("m-1")})
    assert ending.result == '{"next":"m-1"}'
    record = StoredRecord("m", "t", Status.SUCCEEDED, 1, 0, 0, result=ending.result)
    assert record.has_ended
