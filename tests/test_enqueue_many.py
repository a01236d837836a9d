"""Many messages at once: batches, refusals, results, and how much of an iterable is held."""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fake_aws
from catalogue import raising, tasks
from fault_server import answer, serve
from lambda_tasks.aws.queue_address import QueueAddress
from lambda_tasks.enqueue import many
from lambda_tasks.enqueue.giving_up import GivingUp
from lambda_tasks.enqueue.many import in_batches_of_sqs
from lambda_tasks.enqueue.message_id import MessageId
from lambda_tasks.enqueue.outgoing import Outgoing
from lambda_tasks.enqueue.results import Enqueued, Entry
from lambda_tasks.enqueue.sender import Numbered, Sender
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
        self.entries: list[dict[str, Any]] = []
        self.fail: Callable[[int], fake_aws.Answer | None] = lambda _: None
        self.refuse: Callable[[int, int], dict[str, Any] | None] = lambda *_: None

    def __call__(self, request: fake_aws.Request) -> fake_aws.Answer:
        with self.lock:
            self.calls += 1
            call = self.calls
        failure = self.fail(call)
        if failure is not None:
            return failure
        with self.lock:
            good, bad = [], []
            self.entries += request.body["Entries"]
            for entry in request.body["Entries"]:
                kwargs = json.loads(entry["MessageBody"])["kwargs"]
                number = int(kwargs["number"] if "number" in kwargs else kwargs["text"])
                refusal = self.refuse(number, call)
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
        sqs.entries.clear()
        tracemalloc.start()
        enqueued = tasks.add.enqueue_many(numbers(count))
        sqs.accepted.clear()
        sqs.entries.clear()
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


FIFO_URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/q.fifo"


@pytest.fixture
def fifo(sqs: Sqs, monkeypatch: pytest.MonkeyPatch) -> Sqs:
    """The server, where the queue is FIFO."""
    monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL", FIFO_URL)
    return sqs


def test_nothing_overtakes_a_refused_message_of_its_group(fifo: Sqs) -> None:
    """A message that SQS cannot take for the moment is sent again, under the same id, before those that follow it."""
    fifo.refuse = lambda number, call: {"SenderFault": False} if number == 3 and call < 6 else None

    enqueued = tasks.add.options(group="a").enqueue_many(numbers(11))

    assert fifo.accepted == list(range(11))
    assert (enqueued.sent, enqueued.failed) == (11, 0)
    ids = [(json.loads(one["MessageBody"])["kwargs"]["number"], one["MessageDeduplicationId"]) for one in fifo.entries]
    assert len(ids) > 11
    assert len(set(ids)) == len({one for _, one in ids}) == 11


def test_equal_messages_to_a_fifo_queue_are_as_many_as_are_reported(fifo: Sqs) -> None:
    """Messages of one content have different deduplication IDs: a queue keeps each that counts as sent."""
    enqueued = tasks.add.options(group="a").enqueue_many([{"number": 1}] * 3)
    assert enqueued.sent == len({one["MessageDeduplicationId"] for one in fifo.entries}) == 3


REFUSED = 400, {"__type": "AccessDenied"}


@pytest.mark.parametrize("refusal", [{"SenderFault": True}, {"SenderFault": False}, None])
def test_a_group_stops_at_what_is_not_sent(fifo: Sqs, refusal: dict[str, Any] | None) -> None:
    """Behind a message that SQS does not take, none of the group is sent, and each of them says so."""
    fifo.refuse = lambda number, _: refusal if number == 3 else None
    fifo.fail = lambda call: REFUSED if call == 4 and refusal is None else None

    enqueued = tasks.add.options(group="a").enqueue_many([*numbers(8), {"number": "no"}])

    assert fifo.accepted == [0, 1, 2]
    assert (enqueued.sent, enqueued.failed) == (3, 6)
    assert all("not sent, since entry 3 was not: " in str(enqueued[index].error) for index in range(4, 8))
    assert isinstance(enqueued[8].error, InvalidKwargs)


def test_a_group_stops_at_a_payload_that_is_not_uploaded(fifo: Sqs, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows a message whose payload S3 did not take is not sent. What can never be a message stops nothing."""
    texts = ["0", "1" + " " * MAX_MESSAGE_BYTES, "2"]
    enqueued = tasks.note.options(group="a").enqueue_many([{"text": text} for text in texts])
    assert fifo.accepted == [0, 2]
    assert isinstance(enqueued[1].error, MessageTooLarge)

    monkeypatch.setenv("LAMBDA_TASKS_PAYLOAD_BUCKET", "payloads")
    with serve(answer(b"<Code>AccessDenied</Code>", status="403 Forbidden")) as s3:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.url)
        enqueued = tasks.note.options(group="a").enqueue_many([{"text": text} for text in texts])
    assert fifo.accepted == [0, 2, 0]
    assert [entry.message_id is None for entry in enqueued] == [False, True, True]


def test_uploads_are_given_up_as_calls_are(sqs: Sqs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where S3 takes no payload any more the rest of the large messages is not tried; the others are sent."""
    monkeypatch.setenv("LAMBDA_TASKS_PAYLOAD_BUCKET", "payloads")
    padding = " " * MAX_MESSAGE_BYTES
    texts = [f"{number}{padding if number % 2 else ''}" for number in range(14)]
    with serve(answer(b"<Code>AccessDenied</Code>", status="403 Forbidden")) as s3:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.url)
        enqueued = tasks.note.enqueue_many([{"text": text} for text in texts])
    assert len(s3.heads) == 3
    assert sorted(sqs.accepted) == list(range(0, 14, 2))
    assert (enqueued.sent, enqueued.failed) == (7, 7)
    assert "not sent, after 3 uploads in a row had failed, the last one with: " in str(enqueued[13].error)


def test_calls_that_fail_together_count_as_one() -> None:
    """A blip that meets all calls that are under way is no reason to give up the rest; three in a row are."""
    pauses: list[float] = []
    giving_up = GivingUp("calls", sleep=pauses.append)
    together = threading.Barrier(4)

    def fail() -> str:
        raise EnqueueFailed("no answer")

    def fail_together() -> str:
        together.wait(60)
        return fail()

    with ThreadPoolExecutor(4) as pool:
        failed = [pool.submit(giving_up.run, fail_together) for _ in range(4)]
    assert [type(one.exception()) for one in failed] == [EnqueueFailed] * 4
    assert giving_up.run(lambda: "sent") == "sent"
    for _ in range(3):
        assert not giving_up.is_over
        with pytest.raises(EnqueueFailed, match=r"^no answer$"):
            giving_up.run(fail)
    with pytest.raises(
        EnqueueFailed, match="not sent, after 3 calls in a row had failed, the last one with: no answer"
    ):
        giving_up.run(lambda: "sent")
    assert pauses == [0.5, 0.5, 1.0]


ANSWERS: st.SearchStrategy[Any] = st.none() | st.lists(
    st.none()
    | st.fixed_dictionaries(
        {},
        optional={
            "Id": st.sampled_from(["0", "1", "7", "-1", "x", 0, None]),
            "MessageId": st.sampled_from(["id", "", None, 5]),
            "Code": st.just("InvalidMessageContents"),
            "SenderFault": st.just(value=True),
        },
    ),
    max_size=4,
)


@given(st.lists(st.tuples(ANSWERS, ANSWERS), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_every_answer_gives_a_whole_account(answers: list[tuple[Any, Any]]) -> None:
    """Whatever SQS answers, each message is either sent, with the id of an answer, or failed."""
    enqueued = Enqueued()
    queue = QueueAddress.of_url(FIFO_URL.removesuffix(".fifo"), {})
    for number, (good, bad) in enumerate(answers):
        batch = [Numbered(2 * number + one, Outgoing("t", "q", "{}")) for one in range(2)]
        sender = Sender(queue, enqueued, attempts=1, sqs=lambda *_, said={"Successful": good, "Failed": bad}: said)
        sender.send(batch)
    assert enqueued.sent + enqueued.failed == len(enqueued) == 2 * len(answers)
    assert {entry.message_id for entry in enqueued if entry.error is None} <= {"id"}


@pytest.mark.parametrize("way", ["boto3", "signed"])
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"Successful": [{"Id": "0", "MessageId": "a"}], "Failed": []}, ["a", None]),
        ({"Successful": None, "Failed": None}, [None, None]),
        ({"Successful": [{"Id": "1", "MessageId": "b"}, {"Id": "9", "MessageId": "c"}]}, [None, "b"]),
        ({"Successful": [{"Id": "0", "MessageId": "a"}], "Failed": [{"Id": "0"}]}, [None, None]),
    ],
)
def test_what_an_answer_leaves_out_has_failed(
    sqs: Sqs, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], expected: list[str | None], way: str
) -> None:
    """An entry that is in neither list, or in both, counts as not sent; ids that were not asked about are nobody's."""
    if way == "boto3":
        monkeypatch.delenv("AWS_LAMBDA_RUNTIME_API")
    sqs.fail = lambda _: (200, said)
    enqueued = tasks.add.enqueue_many(numbers(2))
    assert [entry.message_id for entry in enqueued] == expected
    assert enqueued.failed == expected.count(None)


@dataclasses.dataclass(frozen=True)
class Sealed(Exception):
    """An error that lets no attribute be set."""

    reason: str


@pytest.mark.parametrize("error", [RuntimeError("broken"), Sealed("broken")])
@pytest.mark.parametrize("url", ["https://sqs.eu-west-1.amazonaws.com/1/q", FIFO_URL])
def test_an_iterable_that_raises_gets_its_account(
    sqs: Sqs, monkeypatch: pytest.MonkeyPatch, error: Exception, url: str
) -> None:
    """All that came before is sent, and the error carries the message ids."""
    monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL", url)

    def breaking() -> Iterator[dict[str, int]]:
        yield from numbers(25)
        raise error

    with pytest.raises(type(error)) as caught:
        tasks.add.options(group="a").enqueue_many(breaking())
    assert sorted(sqs.accepted) == list(range(25))
    enqueued = vars(caught.value)["enqueued"]
    assert (enqueued.sent, enqueued.failed) == (25, 0)
    assert enqueued[24].message_id == "00000000-0000-4000-8000-000000000024"


def test_what_interrupts_the_call_carries_the_account(sqs: Sqs) -> None:
    """Where Ctrl-C comes, no more is sent than what is under way, and ``error.enqueued`` counts exactly that."""

    def interrupted() -> Iterator[dict[str, int]]:
        yield from numbers(45)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        tasks.add.enqueue_many(interrupted())
    enqueued = vars(caught.value)["enqueued"]
    sent = [index for index, entry in enumerate(enqueued) if entry.error is None]
    assert sent == sorted(sqs.accepted)
    assert (enqueued.sent, enqueued.failed, len(enqueued)) == (len(sent), 45 - len(sent), 45)
    assert {str(enqueued[index].error) for index in range(40, 45)} == {
        "the call ended before SQS said that it took the message"
    }


def test_modes_without_sqs_give_the_account_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where messages run at once, the error of one of them carries what was done before it."""
    monkeypatch.setenv("LAMBDA_TASKS_MODE", "eager")
    with pytest.raises(RuntimeError) as caught:
        raising.raise_at.enqueue_many([{"number": 1}, {"number": 2}, {"number": 3}])
    enqueued = vars(caught.value)["enqueued"]
    assert (enqueued.sent, enqueued.failed) == (1, 1)


def test_errors_are_kept_as_short_texts() -> None:
    """Different errors cost little more than their texts; neither tracebacks nor causes are kept."""
    enqueued = Enqueued()

    def failed(number: int) -> EnqueueFailed:
        error = EnqueueFailed(f"{number} " + "x" * 2000, source="queue q", remedy="check it")
        try:
            raise error from OSError()
        except EnqueueFailed:
            return error

    tracemalloc.start()
    for number in range(3000):
        enqueued.record(number, failed(number))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 3000 * 600  # whole, they would be seven times as much
    error = enqueued[2999].error
    assert isinstance(error, EnqueueFailed)
    assert str(error).startswith("2999 xxx")
    assert str(error).endswith("x… (queue q): check it")
    assert (error.__cause__, error.__traceback__) == (None, None)
    assert enqueued[2999].error is error


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
