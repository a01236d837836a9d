"""The consumer of one process: which messages it takes, keeps, deletes and gives back."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from catalogue import tasks
from consumed_sqs import ConsumedSqs
from events import message_body
from lambda_tasks import context, task
from lambda_tasks.aws.calls import SignedCalls
from lambda_tasks.aws.queue_address import QueueAddress
from lambda_tasks.aws.transport import CallFailed
from lambda_tasks.containers.consumer import Consumer
from lambda_tasks.containers.held import Held
from lambda_tasks.containers.pace import Pace
from lambda_tasks.containers.source import Received, Source
from lambda_tasks.containers.worker import HoldingWorker
from lambda_tasks.settings import Settings
from wrapper import base_environ

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs"

began, may_end = threading.Event(), threading.Event()
order: list[tuple[str, int]] = []
remaining: list[int] = []


@task
def wait_long(*, number: int = 0) -> None:  # noqa: ARG001
    """Wait until the test lets it end."""
    remaining.append(context.remaining_time_ms)
    began.set()
    may_end.wait(30)


@task
def note_order(*, group: str, number: int) -> None:
    order.append((group, number))


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    began.clear()
    may_end.clear()
    order.clear()
    yield
    may_end.set()


def source_of(sqs: ConsumedSqs, url: str = URL, visibility_seconds: int = 60) -> Source:
    environ = base_environ()
    queue = QueueAddress.of_url(url, environ)
    return Source(SignedCalls(sqs, environ), queue, visibility_seconds=visibility_seconds, wait_seconds=20)


class Consumed:
    """A consumer of `sqs` in a thread of its own, which notes how it would have ended its process."""

    def __init__(self, sqs: ConsumedSqs, *, url: str = URL, concurrency: int = 1, grace_seconds: float = 30) -> None:
        self.ended: list[int] = []
        self.consumer = Consumer(
            source_of(sqs, url),
            lambda held: self._worker(sqs, held),
            concurrency=concurrency,
            batch_size=10,
            grace_seconds=grace_seconds,
            end=self.ended.append,
        )
        self.thread = threading.Thread(target=self.consumer.run, daemon=True)

    def _worker(self, sqs: ConsumedSqs, held: Held) -> HoldingWorker:
        worker = HoldingWorker(Settings(), base_environ(), transport=sqs, jitter=lambda: 0.5)
        worker.held = held
        return worker


@contextlib.contextmanager
def consuming(sqs: ConsumedSqs, **options: Any) -> Iterator[Consumed]:
    """Consume until the block ends, and then drain."""
    consumed = Consumed(sqs, **options)
    consumed.thread.start()
    try:
        yield consumed
    finally:
        consumed.consumer.stop()
        sqs.close()
        consumed.consumer.drain()
        may_end.set()
        consumed.thread.join(30)
        assert not consumed.thread.is_alive()


@pytest.mark.parametrize("concurrency", [1, 3])
def test_done_messages_are_deleted_and_the_others_stay(concurrency: int) -> None:
    """A message that succeeded is deleted, one that failed stays, and one to be retried is visible after its backoff."""
    bodies = [message_body(tasks.add, number=number) for number in range(30)]
    sqs = ConsumedSqs([*bodies, message_body(tasks.fail), message_body(tasks.unreliable), "nonsense"])
    with consuming(sqs, concurrency=concurrency):
        sqs.wait_for(30)
    assert sorted(map(int, sqs.deleted)) == list(range(30))
    assert sqs.visibilities == [("31", 5)]


def test_what_cannot_be_deleted_is_tried_again() -> None:
    """A deletion that SQS refuses through no fault of ours is made again."""
    sqs = ConsumedSqs([message_body(tasks.add, number=1)], refusals=2)
    with consuming(sqs):
        sqs.wait_for(1)
    assert sqs.deleted == ["0"]


def test_a_group_keeps_its_order() -> None:
    """The messages of a FIFO group run in their order, however they are divided."""
    groups = [f"group-{number % 3}" for number in range(60)]
    bodies = [message_body(note_order, group=group, number=number) for number, group in enumerate(groups)]
    sqs = ConsumedSqs(bodies, groups=groups)
    with consuming(sqs, url=f"{URL}.fifo", concurrency=1):
        sqs.wait_for(60)
    for group in set(groups):
        numbers = [number for one, number in order if one == group]
        assert numbers == sorted(numbers)


def test_the_drain_waits_for_what_runs() -> None:
    """A task that ends within the time of grace is done with, and nothing more is received."""
    sqs = ConsumedSqs([message_body(wait_long)])
    with consuming(sqs) as consumed:
        assert began.wait(30)
        consumed.consumer.stop()
        sqs.waiting.append({})  # nobody is to ask for it
        may_end.set()
        sqs.wait_for(1)
    assert (sqs.deleted, sqs.given_back, consumed.ended) == (["0"], [], [])


def test_the_drain_gives_back_what_does_not_end() -> None:
    """After the time of grace a running message, and those that wait behind it, are visible at once, and the process ends."""
    sqs = ConsumedSqs([message_body(tasks.add, number=1), *[message_body(wait_long)] * 3])
    with consuming(sqs, grace_seconds=0) as consumed:
        assert began.wait(30)
        draining = threading.Thread(target=consumed.consumer.drain)
        draining.start()
        draining.join(0.05)
        assert sqs.given_back == [] or not consumed.consumer._is_receiving  # its own poll would receive them again
        sqs.close()
        draining.join(30)
        assert consumed.ended == [0]
        assert sqs.deleted == ["0"]
        # Two units at most: one that runs, and one that was received in advance.
        given_back = set(sqs.given_back)
        assert "1" in given_back
        assert given_back | {"0"} | {one["ReceiptHandle"] for one in sqs.waiting} == {"0", "1", "2", "3"}


def test_what_comes_too_late_is_given_back() -> None:
    """The answer of a long poll that was under way at the end is visible again at once."""
    sqs = ConsumedSqs([])
    with consuming(sqs) as consumed:
        assert sqs.is_polled.wait(30)
        consumed.consumer.stop()
        with sqs.changed:
            sqs.waiting.append(ConsumedSqs([message_body(tasks.add, number=1)]).waiting[0])
            sqs.changed.notify_all()
        sqs.wait_for(1)
    assert (sqs.deleted, sqs.given_back) == ([], ["0"])


def test_a_task_has_the_time_that_sqs_gives() -> None:
    """A task may run for as long as its message can stay invisible: 12 hours, without the last visibility timeout."""
    remaining.clear()
    sqs = ConsumedSqs([message_body(wait_long)])
    with consuming(sqs):
        assert began.wait(30)
        may_end.set()
        sqs.wait_for(1)
    assert 11.9 * 3600_000 < remaining[0] < 12 * 3600_000


def test_an_outage_of_the_queue_passes(caplog: pytest.LogCaptureFixture) -> None:
    """A queue that does not answer is asked again, and the log says so once."""
    sqs = ConsumedSqs([message_body(tasks.add, number=1)])
    receive: Callable[[Any], dict[str, Any]] = sqs._ReceiveMessage
    failures = iter([CallFailed("nobody is there")])

    class Broken(ConsumedSqs):
        def _ReceiveMessage(self, request: Any) -> dict[str, Any]:  # noqa: N802
            for error in failures:
                raise error
            return receive(request)

    sqs.__class__ = Broken
    with consuming(sqs):
        sqs.wait_for(1)
    assert [one.levelname for one in caplog.records if "no messages can be received" in one.message] == ["WARNING"]


class Clock:
    """A clock that stands still."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_messages_are_kept_invisible_until_they_are_let_go() -> None:
    """Visibility is renewed when half of it is over, and no more once somebody else decides about it."""
    sqs, clock = ConsumedSqs([]), Clock()
    held = Held(source_of(sqs, visibility_seconds=60), lambda: None, clock=clock)
    held.add(["a", "b"], clock.now)
    held.renew()
    assert sqs.visibilities == []
    clock.now += 31
    held.renew()
    assert sorted(sqs.visibilities) == [("a", 60), ("b", 60)]
    held.let_go(["a"])
    clock.now += 31
    held.renew()
    assert sqs.visibilities[2:] == [("b", 60)]
    assert held.forget(["b"])
    assert not held.forget(["b"])


def test_nothing_is_renewed_after_a_change() -> None:
    """Letting a message go waits for the renewal that is under way."""
    sqs, clock = ConsumedSqs([]), Clock()
    held = Held(source_of(sqs), lambda: None, clock=clock)
    held.add(["a"], clock.now - 60)
    with sqs.changed:  # SQS does not answer yet
        renewing = threading.Thread(target=held.renew)
        renewing.start()
        while not held._renewing.locked() or held._visible_at["a"] < clock.now:
            pass
        letting_go = threading.Thread(target=held.let_go, args=[["a"]])
        letting_go.start()
        letting_go.join(0.05)
        assert letting_go.is_alive()
    letting_go.join(30)
    renewing.join(30)
    assert sqs.visibilities == [("a", 60)]


def received(group: str | None = None) -> Received:
    return Received({"messageId": "id", "body": ""}, "handle", group)


def test_slow_messages_are_taken_one_at_a_time() -> None:
    """A thread takes as many messages as it runs in half a second, and one as long as nothing is known."""
    pace = Pace()
    assert (pace.at_a_time, pace.is_fast) == (1, False)
    pace.note(1, 0.001)
    assert (pace.at_a_time, pace.is_fast) == (10, True)
    pace.note(1, 60)
    assert (pace.at_a_time, pace.is_fast) == (1, False)
    assert [len(one) for one in pace.units([received()] * 3, is_fifo=False)] == [1, 1, 1]
    mixed = [received("a"), received("b"), received("a")]
    assert [[one.group for one in unit] for unit in pace.units(mixed, is_fifo=True)] == [["a", "a"], ["b"]]


def test_a_record_is_what_lambda_would_pass() -> None:
    """A message of SQS becomes a record with Lambda's spelling, queue and region."""
    sqs = ConsumedSqs([message_body(tasks.add, number=1)])
    (one,) = source_of(sqs).receive(1)
    assert one.record["eventSourceARN"] == "arn:aws:sqs:eu-west-1:123456789012:jobs"
    assert one.record["messageAttributes"] == {"LambdaTasks": {"dataType": "String", "stringValue": '{"n": 0}'}}
    assert json.loads(one.record["body"])["task_name"] == tasks.add.name
