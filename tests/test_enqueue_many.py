"""Many messages at once: batches, refusals, results, and how much of an iterable is held."""

from __future__ import annotations

import gc
import json
import logging
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fake_aws
from catalogue import tasks
from lambda_tasks.enqueue import many
from lambda_tasks.enqueue.many import Numbered, in_batches_of_sqs
from lambda_tasks.enqueue.message_id import MessageId
from lambda_tasks.enqueue.outgoing import Outgoing
from lambda_tasks.enqueue.results import Enqueued, Entry
from lambda_tasks.errors import EnqueueFailed, InvalidKwargs, InvalidTask, LambdaTasksError, MessageTooLarge
from lambda_tasks.local.queue import Queue
from lambda_tasks.messages.payload import MAX_MESSAGE_BYTES

MakeQueue = Callable[..., Queue]


class Sqs:
    """An SQS server that can refuse: it knows each entry's number, and what it accepted."""

    def __init__(self) -> None:
        self.accepted: list[int] = []
        self.calls = 0
        self.lock = threading.Lock()
        self.refuse: Callable[[int, int], dict[str, Any] | None] = lambda *_: None

    def __call__(self, request: fake_aws.Request) -> fake_aws.Answer:
        with self.lock:
            self.calls += 1
            good, bad = [], []
            for entry in request.body["Entries"]:
                number = json.loads(entry["MessageBody"])["kwargs"]["number"]
                refusal = self.refuse(number, self.calls)
                if refusal:
                    bad.append({"Id": entry["Id"], "Code": "InternalError", **refusal})
                else:
                    self.accepted.append(number)
                    good.append({"Id": entry["Id"], "MessageId": f"00000000-0000-4000-8000-{number:012}"})
            return 200, {"Successful": good, "Failed": bad}


@pytest.fixture
def sqs(aws: fake_aws.FakeAws, monkeypatch: pytest.MonkeyPatch, calls_of_its_own: None) -> Sqs:  # noqa: ARG001
    """SQS as a server that can be told to refuse, and this process as a function that sends to it."""
    server = Sqs()
    aws.answer = server  # type: ignore[method-assign]
    variables = {
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
        "LAMBDA_TASKS_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/q",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return server


def numbers(count: int) -> Iterator[dict[str, int]]:
    return ({"number": number} for number in range(count))


def bodies(queue: Queue) -> list[int]:
    return [json.loads(message["Body"])["kwargs"]["number"] for message in queue.receive(1000)]


def test_many_messages_arrive_each_with_its_id(default_queue: Queue) -> None:
    """Every entry becomes one message, and the result names them in the order in which they were given."""
    enqueued = tasks.add.enqueue_many(numbers(57))

    received = {message["MessageId"]: message["Body"] for message in default_queue.receive(100)}
    assert [json.loads(received[str(entry.message_id)])["kwargs"]["number"] for entry in enqueued] == list(range(57))
    assert (len(enqueued), enqueued.sent, enqueued.failed) == (57, 57, 0)
    assert enqueued.raise_for_errors() is enqueued


def test_a_list_as_a_statement_is_sent(default_queue: Queue) -> None:
    """Nobody needs to look at the result for the messages to be sent."""
    tasks.add.enqueue_many([{"number": 1}, {"number": 2}])
    assert sorted(bodies(default_queue)) == [1, 2]


def test_nothing_is_nothing(default_queue: Queue) -> None:
    """An empty iterable sends nothing and is no error."""
    assert list(tasks.add.enqueue_many([])) == []
    assert default_queue.depth() == 0


def test_a_fifo_queue_keeps_the_order(producer: object, make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a FIFO queue the messages of a group arrive in the order in which they were given."""
    assert producer is not None
    queue = make_queue(FifoQueue="true", ContentBasedDeduplication="true")
    monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL", queue.url)
    tasks.add.options(group="a").enqueue_many(numbers(35))
    found = []
    while messages := queue.receive():
        found += [json.loads(message["Body"])["kwargs"]["number"] for message in messages]
        queue.delete(messages)
    assert found == list(range(35))


def test_entries_that_do_not_fit_are_errors_of_their_own(
    default_queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    """Bad kwargs and too large ones keep no other entry from being sent; one log line tells of them."""
    wrong: list[Any] = [{"text": "1"}, {"text": 2}, ["text"], {"text": "x" * MAX_MESSAGE_BYTES}, {"text": "5"}]

    with caplog.at_level(logging.ERROR, "lambda_tasks"):
        enqueued = tasks.note.enqueue_many(wrong)

    assert [type(entry.error) for entry in enqueued] == [
        type(None),
        InvalidKwargs,
        InvalidKwargs,
        MessageTooLarge,
        type(None),
    ]
    assert [entry.message_id is None for entry in enqueued] == [False, True, True, True, False]
    assert default_queue.depth() == 2
    assert [record.getMessage() for record in caplog.records] == [
        "3 of 5 messages of catalogue.tasks.note were not enqueued, the first is entry 1: the kwargs do not fit: "
        "Expected `str`, got `int` - at `$.text` (task catalogue.tasks.note): send what the task's annotations say"
    ]
    with pytest.raises(EnqueueFailed, match="3 of 5 messages were not enqueued, the first is entry 1: the kwargs"):
        enqueued.raise_for_errors()


def test_refused_entries_are_sent_again(sqs: Sqs) -> None:
    """An entry that SQS could not take for the moment is sent once more, alone; every message is accepted once."""
    sqs.refuse = lambda number, call: {"SenderFault": False} if number % 3 == 0 and call <= 4 else None

    enqueued = tasks.add.enqueue_many(numbers(40))

    assert enqueued.sent == 40
    assert sorted(sqs.accepted) == list(range(40))
    assert [entry.message_id for entry in enqueued] == [f"00000000-0000-4000-8000-{number:012}" for number in range(40)]


def test_entries_that_are_refused_for_good_are_errors(sqs: Sqs) -> None:
    """An entry that SQS blames on its sender is not sent again, and one that it never takes is given up."""
    refusals: dict[int, dict[str, Any]] = {
        2: {"SenderFault": True, "Code": "InvalidMessageContents"},
        5: {"SenderFault": False},
    }
    sqs.refuse = lambda number, _: refusals.get(number)

    enqueued = tasks.add.enqueue_many(numbers(10))

    assert sorted(sqs.accepted) == [0, 1, 3, 4, 6, 7, 8, 9]
    assert {index: str(error).partition(" (")[0] for index, error in enqueued.failures()} == {
        2: "SQS refused the message: InvalidMessageContents",
        5: "SQS refused the message: InternalError",
    }
    assert sqs.calls == many._ATTEMPTS


@pytest.mark.usefixtures("sqs")
def test_a_queue_that_is_not_there_fails_every_entry_soon(
    aws: fake_aws.FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no call succeeds any more the rest is not tried, and every entry has an error."""
    asked: list[fake_aws.Request] = []

    def refuse(request: fake_aws.Request) -> fake_aws.Answer:
        asked.append(request)
        return 400, {"__type": "com.amazonaws.sqs#QueueDoesNotExist"}

    monkeypatch.setattr(aws, "answer", refuse)
    enqueued = tasks.add.enqueue_many(numbers(500))
    assert (enqueued.sent, enqueued.failed, len(enqueued)) == (0, 500, 500)
    assert "answered 400 QueueDoesNotExist" in str(enqueued[0].error)
    assert "not sent, after 3 calls in a row had failed" in str(enqueued[-1].error)
    assert len(asked) < 10


def test_an_iterable_that_breaks_loses_nothing_before(sqs: Sqs) -> None:
    """Messages before an error of the iterable itself are sent, and the error is the caller's."""

    def breaking() -> Iterator[dict[str, int]]:
        yield from numbers(25)
        raise RuntimeError("the cursor is closed")

    with pytest.raises(RuntimeError, match="the cursor is closed"):
        tasks.add.enqueue_many(breaking())
    assert set(range(20)) <= set(sqs.accepted)


def test_an_iterable_is_consumed_as_it_is_sent(sqs: Sqs) -> None:
    """No more is taken from the iterable than a few batches beyond what was accepted."""
    ahead: list[int] = []

    def watching() -> Iterator[dict[str, int]]:
        for number in range(2000):
            ahead.append(number - len(sqs.accepted))
            yield {"number": number}

    tasks.add.enqueue_many(watching())
    assert max(ahead) <= 10 * (many._WAITING_BATCHES + 3)


def test_memory_does_not_grow_with_the_iterable(sqs: Sqs) -> None:
    """Ten times as many messages hold no more memory, although each one's id is kept."""
    sqs.refuse = lambda number, _: {"SenderFault": True} if number == 7 else None
    held = {}
    tasks.add.enqueue_many(numbers(300))
    for count in (300, 3000):
        sqs.accepted.clear()
        tracemalloc.start()
        enqueued = tasks.add.enqueue_many(numbers(count))
        sqs.accepted.clear()
        gc.collect()
        held[count] = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert (enqueued.sent, enqueued.failed) == (count - 1, 1)
    assert held[3000] < held[300] + 3000 * 40  # 17 bytes an entry, and some noise


@pytest.mark.usefixtures("calls_of_its_own")
def test_one_deduplication_id_for_many_is_an_error() -> None:
    """A FIFO queue would keep the first of them alone."""
    with pytest.raises(InvalidTask, match="many messages have one deduplication ID"):
        tasks.add.options(group="a", deduplication_id="1").enqueue_many([{"number": 1}])


@pytest.mark.usefixtures("calls_of_its_own")
def test_options_that_suit_no_message_are_raised_before_any_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of all messages is the call's, and not each entry's."""
    monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com/1/q.fifo")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(InvalidTask, match="a FIFO queue needs a group"):
        tasks.add.enqueue_many(numbers(1))


SIZES = st.lists(st.integers(1, 400) | st.integers(MAX_MESSAGE_BYTES // 3, MAX_MESSAGE_BYTES), max_size=60)


@given(SIZES)
def test_batches_hold_what_sqs_takes(sizes: list[int]) -> None:
    """Batches keep the order, lose nothing, have at most ten entries and 1 MiB, and none could take the next one too."""
    messages = [Numbered(number, Outgoing("t", "q", "x" * size)) for number, size in enumerate(sizes)]
    made = list(in_batches_of_sqs(iter(messages)))
    assert [one for batch in made for one in batch] == messages
    totals = [sum(one.message.size_bytes for one in batch) for batch in made]
    assert all(0 < len(batch) <= 10 for batch in made)
    assert all(total <= MAX_MESSAGE_BYTES for total in totals)
    for batch, total, following in zip(made, totals, made[1:], strict=False):
        assert len(batch) == 10 or total + following[0].message.size_bytes > MAX_MESSAGE_BYTES


RESULTS = st.uuids().map(str) | st.text(max_size=5) | st.text(max_size=5).map(EnqueueFailed)


@given(st.lists(RESULTS, max_size=20), st.randoms())
def test_a_result_holds_what_was_recorded(results: list[str | LambdaTasksError], random: Any) -> None:
    """Each entry has its own id, for ids of any form and in any order."""
    enqueued = Enqueued()
    order = list(enumerate(results))
    random.shuffle(order)
    for index, result in order:
        enqueued.record(index, result)
    found = [entry.message_id if entry.error is None else str(entry.error) for entry in enqueued]
    assert found == [str(result) for result in results]
    assert enqueued[:] == list(enqueued)
    assert (enqueued.sent, enqueued.failed) == (
        sum(isinstance(one, str) for one in results),
        sum(isinstance(one, LambdaTasksError) for one in results),
    )


def test_a_result_is_a_sequence() -> None:
    """Ids that are no UUIDs are kept as they are; entries are counted from either end."""
    enqueued = Enqueued()
    for index in range(10):
        enqueued.record(index, f"id-{index}")
    assert [entry.message_id for entry in enqueued] == [f"id-{index}" for index in range(10)]
    assert enqueued[-1] == Entry(MessageId("id-9"))
    assert repr(enqueued) == "<Enqueued: 10 sent, 0 failed>"
    with pytest.raises(IndexError):
        _ = enqueued[10]


def test_an_entry_that_was_never_recorded_is_an_error() -> None:
    """A gap, which an interrupted run leaves, reads as not sent."""
    enqueued = Enqueued()
    enqueued.record(1, "id")
    assert isinstance(enqueued[0].error, EnqueueFailed)
