"""Each row of the table of outcomes: what happened, what became of the message, and what SQS was asked for."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from catalogue import tasks
from events import message_body, sqs_record
from fake_aws import FakeAws
from lambda_tasks.definition.definition import singleton_key
from lambda_tasks.errors import HardTimeLimitExceeded, Reject, StateUnavailable
from lambda_tasks.messages.sqs_event import Record
from lambda_tasks.settings import Settings
from lambda_tasks.state.protocol import AlreadyEnded, AlreadySucceeded, Attempt, Busy, KeyLease, Started
from lambda_tasks.state.record import Ending, Status
from memory_state import MemoryState
from workers import Dispatched, worker

ADD, FAIL = "catalogue.tasks.add", "catalogue.tasks.fail"
FIFO = {"SequenceNumber": "1"}


pytestmark = pytest.mark.usefixtures("nothing_ran")


def record_of(task_name: str, /, *, attributes: dict[str, Any] | None = None, **system: str) -> Record:
    return sqs_record(message_body(f"catalogue.tasks.{task_name}", **(attributes or {})), **system)


def test_returned_is_succeeded_and_deleted() -> None:
    """A message whose task returns is deleted."""
    dispatched = Dispatched(worker(), sqs_record(message_body(ADD, number=1)))
    assert (dispatched.outcomes, dispatched.kept, tasks.ran) == (["succeeded"], [], [1])


def test_ignored_error_is_succeeded_and_deleted_with_its_traceback() -> None:
    """An error that the task ignores is recorded with its traceback, and the message is deleted."""
    state = MemoryState()
    record = record_of("ignore", attributes={"path": "x"})
    dispatched = Dispatched(worker(state=state), record)
    assert (dispatched.outcomes, dispatched.kept) == (["succeeded"], [])
    kept = state.record(record["messageId"], deadline=math.inf)
    assert kept is not None
    assert (kept.status, kept.error_type) == ("succeeded", "FileNotFoundError")
    assert "in ignore" in str(kept.traceback)


@pytest.mark.parametrize(("received", "retries", "seconds"), [(1, 0, 5), (2, 0, 10), (3, 0, 20), (1, 2, 20)])
def test_retry_on_with_attempts_left_is_retrying_and_stays(
    aws: FakeAws, received: int, retries: int, seconds: int
) -> None:
    """An error to retry on keeps the message, invisible for an exponential backoff with full jitter (here a half)."""
    body = json.dumps({"task_name": "catalogue.tasks.unreliable", "kwargs": {}, "n_retries": retries})
    record = sqs_record(body, ApproximateReceiveCount=str(received))
    dispatched = Dispatched(worker(aws_url=aws.url), record)
    assert (dispatched.outcomes, dispatched.kept) == (["retrying"], [record["messageId"]])
    assert aws.visibilities == {record["receiptHandle"]: seconds}
    (request,) = aws.sent("ChangeMessageVisibilityBatch")
    assert request.body["QueueUrl"] == f"{aws.url}/123456789012/queue"


def test_retries_of_a_batch_are_one_call_for_ten(aws: FakeAws) -> None:
    """Visibility is changed by tens; where that fails, the messages stay all the same."""
    records = [record_of("unreliable") for _ in range(12)]
    refusal = (400, {"__type": "com.amazonaws.sqs#QueueDoesNotExist"})
    aws.answers = [lambda request: refusal if "Visibility" in request.target else None] * 2
    dispatched = Dispatched(worker(aws_url=aws.url), *records)
    assert dispatched.kept == [record["messageId"] for record in records]
    changes = aws.sent("ChangeMessageVisibilityBatch")
    assert sorted(len(request.body["Entries"]) for request in changes) == [2, 10]


@pytest.mark.parametrize(("delay", "seconds"), [(None, 15), (7, 7), (0, 0), (12 * 3600, 12 * 3600 - 300)])
def test_retry_raised_by_the_task_is_retrying_after_its_delay(aws: FakeAws, delay: float | None, seconds: int) -> None:
    """A task may ask for another try, at a time of its own or by its backoff, within the 12 hours that SQS allows."""
    record = record_of("ask_again", attributes={"delay": delay})
    dispatched = Dispatched(worker(aws_url=aws.url), record)
    assert (dispatched.outcomes, dispatched.kept) == (["retrying"], [record["messageId"]])
    assert aws.visibilities == {record["receiptHandle"]: seconds}


def test_retry_on_with_attempts_spent_is_failed(dead_letters: FakeAws) -> None:
    """After the last retry the message is sent to the dead-letter queue, and deleted."""
    dispatched = Dispatched(worker(aws_url=dead_letters.url), record_of("unreliable", ApproximateReceiveCount="4"))
    assert (dispatched.outcomes, dispatched.kept) == (["failed"], [])
    assert len(dead_letters.sent("SendMessage")) == 1


def test_anything_else_raised_is_failed_and_sent_to_the_dead_letter_queue(dead_letters: FakeAws) -> None:
    """A failed message is in the dead-letter queue with its body untouched and the reason beside it, and deleted."""
    record = record_of("fail", ApproximateReceiveCount="2")
    record["messageAttributes"] = {"tenant": {"stringValue": "acme", "dataType": "String"}}
    good = sqs_record(message_body(ADD, number=1))
    dispatched = Dispatched(worker(aws_url=dead_letters.url), record, good)
    assert (dispatched.outcomes, dispatched.kept) == (["failed", "succeeded"], [])
    (sent,) = dead_letters.sent("SendMessage")
    assert sent.body["QueueUrl"] == f"{dead_letters.url}/123456789012/dead"
    assert sent.body["MessageBody"] == record["body"]
    attributes = {name: value["StringValue"] for name, value in sent.body["MessageAttributes"].items()}
    assert attributes == {
        "tenant": "acme",
        "lambda_tasks_error_type": "ConnectionError",
        "lambda_tasks_error_message": "the other side is down",
        "lambda_tasks_task": FAIL,
        "lambda_tasks_outcome": "failed",
        "lambda_tasks_receive_count": "2",
        "lambda_tasks_request_id": "11111111-2222-3333-4444-555555555555",
        "lambda_tasks_first_failure": "2026-09-21T14:13:20Z",
        "lambda_tasks_message_id": record["messageId"],
    }


@pytest.mark.parametrize("task", ["fail", "leave", "refuse"])
def test_failed_without_a_dead_letter_queue_stays(aws: FakeAws, task: str) -> None:
    """Where no dead-letter queue is known the message stays, for SQS to redrive; that is looked up once."""
    made = worker(aws_url=aws.url)
    for _ in range(2):
        record = record_of(task)
        assert Dispatched(made, record).kept == [record["messageId"]]
    assert [request.target for request in aws.requests] == ["AmazonSQS.GetQueueAttributes"]


@pytest.mark.parametrize(
    "answer",
    [
        (400, {"__type": "com.amazonaws.sqs#QueueDoesNotExist"}),
        (403, {"__type": "AccessDenied"}),
        (200, {}),
    ],
)
def test_failed_whose_dead_letter_send_fails_stays(dead_letters: FakeAws, answer: tuple[int, dict[str, Any]]) -> None:
    """A message is deleted only once the dead-letter queue has it."""
    settings = Settings(dead_letter_queue_url=f"{dead_letters.url}/123456789012/elsewhere")
    dead_letters.answers = [lambda _: answer]
    record = record_of("fail")
    assert Dispatched(worker(settings, aws_url=dead_letters.url), record).kept == [record["messageId"]]
    assert len(dead_letters.sent("SendMessage")) == 1


def test_failed_in_the_dead_letter_queue_itself_stays(aws: FakeAws) -> None:
    """A function that consumes its own dead-letter queue does not send a message in a circle."""
    settings = Settings(dead_letter_queue_url="https://sqs.eu-west-1.amazonaws.com/123456789012/queue")
    record = record_of("fail")
    assert Dispatched(worker(settings, aws_url=aws.url), record).kept == [record["messageId"]]
    assert aws.requests == []


@pytest.mark.parametrize(
    "body", ["{", message_body("catalogue.tasks.nothing"), message_body("os.system"), message_body(ADD, number="1")]
)
def test_malformed_unknown_refused_and_bad_kwargs_are_rejected_as_failed(dead_letters: FakeAws, body: str) -> None:
    """A message that can never run goes to the dead-letter queue at once, with the reason."""
    dispatched = Dispatched(worker(aws_url=dead_letters.url), sqs_record(body))
    assert (dispatched.outcomes, dispatched.kept) == (["rejected"], [])
    (sent,) = dead_letters.sent("SendMessage")
    assert sent.body["MessageBody"] == body
    assert sent.body["MessageAttributes"]["lambda_tasks_outcome"]["StringValue"] == "rejected"
    assert sent.body["MessageAttributes"]["lambda_tasks_error_message"]["StringValue"] == str(dispatched.errors[0])


@pytest.mark.parametrize(
    ("body", "task", "error_type"),
    [
        ("{", "", "MalformedMessage"),
        (message_body("catalogue.tasks." + "x" * 3000), "catalogue.tasks." + "x" * 496, "UnknownTask"),
        (message_body(ADD, number="1"), ADD, "InvalidKwargs"),
    ],
)
def test_rejected_is_recorded(dead_letters: FakeAws, body: str, task: str, error_type: str) -> None:
    """With a table, what can never run has a record as well, under no more of its name than a key can hold."""
    state = MemoryState()
    record = sqs_record(body)
    assert Dispatched(worker(aws_url=dead_letters.url, state=state), record).kept == []
    (kept,) = state.records_with_status(Status.REJECTED)
    assert (kept.message_id, kept.task, kept.error_type) == (record["messageId"], task, error_type)


def test_duplicate_of_a_success_that_can_no_longer_run_is_skipped(dead_letters: FakeAws) -> None:
    """A deployment may change a task between two deliveries: what succeeded is no dead letter because of that."""
    state = MemoryState()
    record = sqs_record(message_body("catalogue.tasks.removed"))
    attempt = hold_message(state, record, lease_seconds=40)
    state.finish(attempt, Ending(Status.SUCCEEDED), deadline=math.inf)
    dispatched = Dispatched(worker(aws_url=dead_letters.url, state=state), record)
    assert (dispatched.outcomes, dispatched.kept, dead_letters.requests) == (["skipped"], [], [])


def test_reject_raised_by_the_task_is_rejected(dead_letters: FakeAws) -> None:
    """A task may reject its message."""
    dispatched = Dispatched(worker(aws_url=dead_letters.url), record_of("refuse"))
    assert (dispatched.outcomes, dispatched.kept) == (["rejected"], [])
    assert isinstance(dispatched.errors[0], Reject)


def test_duplicate_of_a_success_is_skipped_and_deleted() -> None:
    """With a table, a message that succeeded before is deleted without running."""
    made = worker(state=MemoryState())
    record = sqs_record(message_body(ADD, number=1))
    assert Dispatched(made, record).outcomes == ["succeeded"]
    again = Dispatched(made, record)
    assert (again.outcomes, again.kept, tasks.ran) == (["skipped"], [], [1])


def test_duplicate_of_one_that_still_runs_is_deferred_until_the_lease_is_due(aws: FakeAws) -> None:
    """While another execution environment runs a message, its duplicate stays, until that one's time is up."""
    state = MemoryState()
    record = sqs_record(message_body(ADD, number=1))
    hold_message(state, record, lease_seconds=40)
    dispatched = Dispatched(worker(aws_url=aws.url, state=state), record)
    assert (dispatched.outcomes, dispatched.kept, tasks.ran) == (["deferred"], [record["messageId"]], [])
    assert aws.visibilities[record["receiptHandle"]] in (39, 40)


def test_not_enough_time_left_is_deferred_and_visible_at_once(aws: FakeAws) -> None:
    """A task with an explicit hard timeout is not started with less time than that, unless it is the first."""
    first, second, third = (
        record_of("long_at_most"),
        record_of("long_at_most"),
        record_of("add", attributes={"number": 3}),
    )
    made = worker(aws_url=aws.url)
    Dispatched(made, seconds=60)
    dispatched = Dispatched(made, first, second, third, seconds=20)
    assert dispatched.outcomes == ["succeeded", "deferred", "succeeded"]
    assert dispatched.kept == [second["messageId"]]
    assert aws.visibilities == {second["receiptHandle"]: 0}


def test_later_message_of_a_fifo_group_is_deferred_and_visible_at_once(aws: FakeAws) -> None:
    """Behind a message that did not finish, the rest of its FIFO group is deferred; other groups go on."""
    first = record_of("unreliable", attributes={"number": 1}, MessageGroupId="a", **FIFO)
    second = record_of("add", attributes={"number": 2}, MessageGroupId="a", **FIFO)
    other = record_of("add", attributes={"number": 3}, MessageGroupId="b", **FIFO)
    dispatched = Dispatched(worker(aws_url=aws.url), first, second, other)
    assert dispatched.outcomes == ["retrying", "deferred", "succeeded"]
    assert dispatched.kept == [first["messageId"], second["messageId"]]
    assert aws.visibilities == {first["receiptHandle"]: 5, second["receiptHandle"]: 0}
    assert tasks.ran == [1, 3]


def test_later_message_of_a_fifo_group_runs_once_the_failed_one_is_a_dead_letter(dead_letters: FakeAws) -> None:
    """A failed message that the dead-letter queue has is done with: its group goes on."""
    first = record_of("fail", attributes={"number": 1}, MessageGroupId="a", **FIFO)
    second = record_of("add", attributes={"number": 2}, MessageGroupId="a", **FIFO)
    settings = Settings(dead_letter_queue_url="https://sqs.eu-west-1.amazonaws.com/123456789012/dead.fifo")
    dispatched = Dispatched(worker(settings, aws_url=dead_letters.url), first, second)
    assert (dispatched.outcomes, dispatched.kept) == (["failed", "succeeded"], [])
    (sent,) = dead_letters.sent("SendMessage")
    assert sent.body["MessageGroupId"] == "a"
    assert sent.body["MessageDeduplicationId"] == first["messageId"]


def test_groups_of_a_standard_queue_have_no_order(aws: FakeAws) -> None:
    """On a standard queue a message group is for fairness: a failure holds nothing back."""
    first = record_of("fail", attributes={"number": 1}, MessageGroupId="a")
    second = record_of("add", attributes={"number": 2}, MessageGroupId="a")
    assert Dispatched(worker(aws_url=aws.url), first, second).kept == [first["messageId"]]
    assert tasks.ran == [1, 2]


def test_singleton_that_is_busy_is_deferred(aws: FakeAws) -> None:
    """A singleton that another message runs stays, until a jittered retry_delay from now."""
    state = MemoryState()
    hold_singleton(state, "catalogue.tasks.alone")
    record = record_of("alone")
    dispatched = Dispatched(worker(aws_url=aws.url, state=state), record)
    assert (dispatched.outcomes, dispatched.kept, tasks.ran) == (["deferred"], [record["messageId"]], [])
    assert 15 <= aws.visibilities[record["receiptHandle"]] <= 30


def test_singleton_that_may_be_skipped_succeeds_without_running() -> None:
    """With singleton_busy="skip" the message is deleted; other values of the chosen kwargs run."""
    state = MemoryState()
    hold_singleton(state, "catalogue.tasks.alone_by_warehouse", warehouse_id=1)
    busy = record_of("alone_by_warehouse", attributes={"warehouse_id": 1, "number": 1})
    free = record_of("alone_by_warehouse", attributes={"warehouse_id": 2, "number": 2})
    dispatched = Dispatched(worker(state=state), busy, free)
    assert (dispatched.outcomes, dispatched.kept, tasks.ran) == (["skipped", "succeeded"], [], [2])


def test_singletons_of_one_batch_run_one_after_the_other() -> None:
    """The lease of a singleton is given back with its message."""
    dispatched = Dispatched(worker(state=MemoryState()), record_of("alone"), record_of("alone"))
    assert dispatched.outcomes == ["succeeded", "succeeded"]


@pytest.mark.parametrize("broken", ["start", "acquire", "finish", "surrender"])
@pytest.mark.parametrize("task", ["alone", "fail"])
def test_state_that_does_not_answer_keeps_the_message(dead_letters: FakeAws, broken: str, task: str) -> None:
    """Without its leases a message stays; a failure that is not recorded stays too, and a success is deleted."""
    state = BrokenState(broken)
    record = record_of(task)
    dispatched = Dispatched(worker(aws_url=dead_letters.url, state=state), record)
    is_deferred = broken == "start" or (task == "alone" and broken == "acquire")
    stays = is_deferred or (task == "fail" and broken == "finish")
    assert dispatched.kept == ([record["messageId"]] if stays else [])
    assert dispatched.outcomes == ["deferred" if is_deferred else "failed" if task == "fail" else "succeeded"]


def test_lost_lease_is_noticed_before_the_outcome_is_final(dead_letters: FakeAws) -> None:
    """Where another execution environment took the lease over, neither a success nor a failure of ours counts."""
    for task in ("add", "fail"):
        record = record_of(task, attributes={"number": 1})
        dispatched = Dispatched(worker(aws_url=dead_letters.url, state=LosingState()), record)
        assert dispatched.kept == [record["messageId"]]
    assert dead_letters.sent("SendMessage") == []


def test_a_hard_timeout_is_failed() -> None:
    """A task that is stopped at its own hard timeout has failed, and `except Exception` cannot keep it alive."""
    dispatched = Dispatched(worker(), record_of("overrun", attributes={"number": 1}))
    assert dispatched.outcomes == ["failed"]
    assert isinstance(dispatched.errors[0], HardTimeLimitExceeded)
    assert (tasks.ran, tasks.seen) == ([1], [])


def hold_message(state: MemoryState, record: Record, *, lease_seconds: float) -> Attempt:
    attempt = Attempt(record["messageId"], ADD, lease_seconds)
    state.start(attempt, deadline=math.inf)
    return attempt


def hold_singleton(state: MemoryState, task: str, **kwargs: object) -> None:
    state.acquire(KeyLease(singleton_key(task, kwargs), "another", 100, "another"), deadline=math.inf)


class BrokenState(MemoryState):
    """A store of which one operation fails."""

    def __init__(self, broken: str) -> None:
        super().__init__()

        def fail(*_: object, **__: object) -> None:
            raise StateUnavailable("the table does not answer")

        setattr(self, broken, fail)


class LosingState(MemoryState):
    """A store in which every lease has expired, and is taken over, before its attempt is over."""

    def start(self, attempt: Attempt, *, deadline: float) -> Started | Busy | AlreadySucceeded | AlreadyEnded:
        expired = Attempt(attempt.message_id, attempt.task, 0, owner=attempt.owner)
        started = super().start(expired, deadline=deadline)
        super().start(Attempt(attempt.message_id, attempt.task, 60), deadline=deadline)
        return started
