"""Final outcomes, unfinished groups, and the receives that a queue allows: what a next delivery finds."""

from __future__ import annotations

import math
from typing import Any

import pytest

from catalogue import tasks
from events import Context, message_body, sqs_record
from fake_aws import FakeAws
from lambda_tasks.definition.definition import singleton_key
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.errors import StateUnavailable
from lambda_tasks.messages.payload import MAX_MESSAGE_BYTES
from lambda_tasks.messages.sqs_event import Record
from lambda_tasks.state.protocol import Attempt, KeyLease
from lambda_tasks.state.record import StoredRecord
from memory_state import MemoryState
from workers import Dispatched, worker

FIFO: dict[str, Any] = {"SequenceNumber": "1", "MessageGroupId": "a"}


pytestmark = pytest.mark.usefixtures("nothing_ran")


def record_of(task_name: str, received: int = 1, /, *, kwargs: dict[str, Any] | None = None, **system: str) -> Record:
    body = message_body(f"catalogue.tasks.{task_name}", **(kwargs or {}))
    return sqs_record(body, ApproximateReceiveCount=str(received), **system)


def kept(state: MemoryState, record: Record) -> StoredRecord:
    found = state.record(record["messageId"], deadline=math.inf)
    assert found is not None
    return found


def letters(aws: FakeAws) -> list[str]:
    """The reasons of the dead letters that were sent."""
    attributes = [one.body["MessageAttributes"] for one in aws.sent("SendMessage")]
    return [one["lambda_tasks_error_message"]["StringValue"] for one in attributes]


@pytest.mark.parametrize("task", ["fail", "refuse", "nothing"])
def test_a_duplicate_of_a_failure_runs_nothing_and_sends_nothing(dead_letters: FakeAws, task: str) -> None:
    """What failed or was rejected for good has the same outcome again: one run, one letter."""
    made = worker(aws_url=dead_letters.url, state=MemoryState())
    record = record_of(task, kwargs={"number": 7} if task == "fail" else None)
    first = Dispatched(made, record)
    again = [Dispatched(made, record) for _ in range(2)]
    assert {one.outcomes[0] for one in (first, *again)} == {"failed" if task == "fail" else "rejected"}
    assert [one.kept for one in (first, *again)] == [[], [], []]
    assert len(letters(dead_letters)) == 1
    assert tasks.ran == ([7] if task == "fail" else [])


def test_a_duplicate_completes_the_letter_that_is_missing(dead_letters: FakeAws) -> None:
    """A failure whose letter could not be sent stays; the next delivery sends it, with the reason, and runs nothing."""
    state = MemoryState()
    made = worker(aws_url=dead_letters.url, state=state)
    record = record_of("fail", kwargs={"number": 7})
    dead_letters.answers = [lambda one: (400, {"__type": "Nope"}) if one.target.endswith("SendMessage") else None] * 2
    assert Dispatched(made, record).kept == [record["messageId"]]
    assert Dispatched(made, record).kept == []
    (_, letter) = dead_letters.sent("SendMessage")
    attributes = letter.body["MessageAttributes"]
    assert attributes["lambda_tasks_error_type"]["StringValue"] == "ConnectionError"
    assert attributes["lambda_tasks_error_message"]["StringValue"] == "the other side is down"
    assert (tasks.ran, kept(state, record).status) == ([7], "failed")


def test_a_redrive_is_a_new_message(dead_letters: FakeAws) -> None:
    """A message that was sent again, under a new id or after it ended, runs again."""
    state = MemoryState()
    made = worker(aws_url=dead_letters.url, state=state)
    record = record_of("fail", kwargs={"number": 7})
    Dispatched(made, record)
    sent_ms = round((kept(state, record).finished_at or 0) * 1000) + 1000
    redriven: Any = {**record, "attributes": {**record["attributes"], "SentTimestamp": str(sent_ms)}}
    Dispatched(made, redriven)
    Dispatched(made, {**record, "messageId": "another"})
    assert tasks.ran == [7, 7, 7]


def test_a_direct_event_that_failed_may_be_invoked_again() -> None:
    """Whoever invoked the function reads the error, and decides: Lambda's own retries have the same request id."""
    made = worker(state=MemoryState())
    event = {"task_name": "catalogue.tasks.fail", "kwargs": {"number": 7}}
    for _ in range(2):
        with pytest.raises(ConnectionError):
            dispatch(event, Context(), made)
    assert tasks.ran == [7, 7]


def test_a_success_that_the_table_does_not_take_is_deleted(caplog: pytest.LogCaptureFixture) -> None:
    """To keep it would run it again for certain: it is deleted, with a warning."""

    class Throttled(MemoryState):
        def finish(self, *_: Any, **__: Any) -> None:
            raise StateUnavailable("throttled")

    dispatched = Dispatched(worker(state=Throttled()), record_of("add", kwargs={"number": 1}))
    assert (dispatched.outcomes, dispatched.kept) == (["succeeded"], [])
    assert "the outcome was not recorded" in caplog.text


def test_a_skipped_message_is_recorded_as_that() -> None:
    """A message that never ran has no success in its record, and no attempt."""
    state = MemoryState()
    holder = record_of("alone_by_warehouse", kwargs={"warehouse_id": 1})
    made = worker(state=state)

    key = singleton_key("catalogue.tasks.alone_by_warehouse", {"warehouse_id": 1})
    state.acquire(KeyLease(key, "another", 100, "another"), deadline=math.inf)
    assert Dispatched(made, holder).outcomes == ["skipped"]
    found = kept(state, holder)
    assert (found.status, found.attempts, tasks.ran) == ("skipped", 0, [])


def test_an_unfinished_message_of_a_group_holds_back_what_ran_with_it(dead_letters: FakeAws) -> None:
    """Of a batch task's call, what ran behind a message that is to be retried stays, and is skipped the next time."""
    state = MemoryState()
    made = worker(aws_url=dead_letters.url, state=state)
    records = [record_of("index", kwargs={"product_id": number}, **FIFO) for number in (14, 2, 3)]
    dispatched = Dispatched(made, *records)
    assert dispatched.outcomes == ["retrying", "succeeded", "succeeded"]
    assert dispatched.kept == [record["messageId"] for record in records]
    assert [kept(state, record).status for record in records] == ["retrying", "succeeded", "succeeded"]
    again = Dispatched(made, *records[1:])
    assert (again.outcomes, again.kept) == (["skipped", "skipped"], [])


def test_a_message_without_a_lease_holds_back_its_group(aws: FakeAws) -> None:
    """Behind a message whose lease could not be taken nothing of its group runs, batch tasks included."""

    class ThrottledOnce(MemoryState):
        failures = 1

        def start(self, attempt: Attempt, *, deadline: float) -> Any:
            if self.failures:
                self.failures -= 1
                raise StateUnavailable("throttled")
            return super().start(attempt, deadline=deadline)

    for task, kwargs in (("add", "number"), ("index", "product_id")):
        records = [record_of(task, kwargs={kwargs: number}, **FIFO) for number in (1, 2, 3)]
        dispatched = Dispatched(worker(aws_url=aws.url, state=ThrottledOnce()), *records)
        assert dispatched.outcomes == ["deferred"] * 3
        assert dispatched.kept == [record["messageId"] for record in records]
    assert (tasks.ran, tasks.seen) == ([], [])


def test_items_of_one_call_share_their_singleton() -> None:
    """A batch task that is a singleton runs for all its messages, and gives the lease back once."""
    state = MemoryState()
    made = worker(state=state)
    records = [sqs_record(message_body("catalogue.tasks.index_alone", product_id=number)) for number in range(5)]
    assert Dispatched(made, *records).outcomes == ["succeeded"] * 5
    assert Dispatched(made, sqs_record(message_body("catalogue.tasks.index_alone", product_id=6))).outcomes == [
        "succeeded"
    ]
    assert tasks.seen == [[0, 1, 2, 3, 4], [6]]


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (
            "alone",
            "deferred 5 times: the singleton was busy: raise the queue's maxReceiveCount, and redrive the message",
        ),
        ("unreliable", "reset"),
    ],
)
def test_the_last_delivery_ends_in_the_dead_letter_queue(dead_letters: FakeAws, task: str, reason: str) -> None:
    """A message that its queue delivers no more goes to the dead-letter queue by us, with the reason."""
    state = MemoryState()
    state.acquire(KeyLease(singleton_key("catalogue.tasks.alone", {}), "another", 100, "another"), deadline=math.inf)
    record = record_of(task, 5)
    dispatched = Dispatched(worker(aws_url=dead_letters.url, state=state), record)
    assert (dispatched.outcomes, dispatched.kept) == (["failed"], [])
    assert letters(dead_letters) == [reason]
    assert dispatched.reports[record["messageId"]].is_unrun is (task == "alone")


def test_retries_are_those_that_started() -> None:
    """With a table, deliveries that were deferred do not count towards max_retries."""
    state = MemoryState()
    record = record_of("unreliable", 4)
    dispatched = Dispatched(worker(state=state), record)
    assert (dispatched.outcomes, dispatched.reports[record["messageId"]].attempt) == (["retrying"], 1)


def test_without_a_table_known_deferrals_are_not_charged(aws: FakeAws) -> None:
    """An execution environment knows what it deferred itself: that is no attempt."""
    made = worker(aws_url=aws.url)
    blocked, behind = record_of("unreliable", **FIFO), record_of("unreliable", **FIFO)
    assert Dispatched(made, blocked, behind).outcomes == ["retrying", "deferred"]
    again: Any = {**behind, "attributes": {**behind["attributes"], "ApproximateReceiveCount": "2"}}
    assert Dispatched(made, again).reports[behind["messageId"]].attempt == 1


def test_an_outage_of_the_table_hides_messages_for_longer_and_longer(dead_letters: FakeAws) -> None:
    """The deliveries that the queue allows last for an hour at least."""

    class Away(MemoryState):
        def start(self, *_: Any, **__: Any) -> Any:
            raise StateUnavailable("away")

    made, hidden = worker(aws_url=dead_letters.url, state=Away()), []
    for received in range(1, 5):
        record = record_of("add", received, kwargs={"number": 1})
        assert Dispatched(made, record).outcomes == ["deferred"]
        hidden.append(dead_letters.visibilities[record["receiptHandle"]])
    assert sum(hidden) >= 3600
    record = record_of("add", 5, kwargs={"number": 1})
    assert Dispatched(made, record).outcomes == ["failed"]
    assert letters(dead_letters) == [
        "deferred 5 times: the table did not answer: raise the queue's maxReceiveCount, and redrive the message"
    ]


def test_a_failing_table_is_not_asked_for_each_message(aws: FakeAws) -> None:
    """A second failure ends the asking in this invocation, but for what is under way by then."""

    class Away(MemoryState):
        asked = 0

        def start(self, *_: Any, **__: Any) -> Any:
            self.asked += 1
            raise StateUnavailable("away")

    state = Away()
    records = [record_of("add", kwargs={"number": number}) for number in range(8)]
    made = worker(aws_url=aws.url, state=state)
    made._most_side_threads = 0
    assert Dispatched(made, *records).outcomes == ["deferred"] * 8
    assert state.asked == 2


def test_a_failing_dead_letter_queue_is_not_asked_for_each_message(dead_letters: FakeAws) -> None:
    """A second refusal ends the sending of letters in this invocation."""
    dead_letters.answers = [
        lambda one: (403, {"__type": "AccessDenied"}) if one.target.endswith("SendMessage") else None
    ] * 20
    records = [record_of("fail") for _ in range(6)]
    dispatched = Dispatched(worker(aws_url=dead_letters.url), *records)
    assert dispatched.kept == [record["messageId"] for record in records]
    assert len(dead_letters.sent("SendMessage")) == 2


def test_a_letter_that_is_too_large_is_left_to_sqs_once(dead_letters: FakeAws) -> None:
    """Where nothing makes it smaller the message is recorded as failed, and does not run again."""
    state = MemoryState()
    made = worker(aws_url=dead_letters.url, state=state)
    body = message_body("catalogue.tasks.fail", number=7)
    record = sqs_record(body + " " * (MAX_MESSAGE_BYTES - len(body)))
    for _ in range(2):
        assert Dispatched(made, record).kept == [record["messageId"]]
    assert (tasks.ran, kept(state, record).status, letters(dead_letters)) == ([7], "failed", [])


def test_attempts_count_starts(aws: FakeAws) -> None:
    """The record of a message that was deferred, and then ran, has one attempt."""
    state = MemoryState()
    made = worker(aws_url=aws.url, state=state)
    record = record_of("add", kwargs={"number": 1}, **FIFO)
    blocked = record_of("unreliable", **FIFO)
    Dispatched(made, blocked, record)
    Dispatched(made, record)
    assert (kept(state, record).attempts, kept(state, record).status) == (1, "succeeded")
