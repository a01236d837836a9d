"""The store of leases and records: one suite for the one in memory and the one in DynamoDB."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

import stores
from lambda_tasks.definition.definition import singleton_key
from lambda_tasks.errors import LeaseLost
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.state.history import MAX_MESSAGE_BYTES
from lambda_tasks.state.protocol import (
    LETTER_SECONDS,
    AlreadyEnded,
    AlreadySucceeded,
    Attempt,
    Busy,
    Kept,
    KeyLease,
    Queued,
    Started,
    State,
)
from lambda_tasks.state.record import (
    MAX_ERROR_MESSAGE_BYTES,
    MAX_RESULT_BYTES,
    MAX_TRACEBACK_BYTES,
    Ending,
    PastAttempt,
    Status,
    StoredRecord,
)
from lambda_tasks.state.steps import KeptStep
from memory_state import MemoryState
from stores import DAY, Clock, create_table, dynamodb_state, soon

TASK = "shop.tasks.send"
SUCCESS = Ending.of(Status.SUCCEEDED, value={"sent": 1})


@pytest.fixture(scope="session")
def table(embedded_aws: EmbeddedAws) -> str:
    return create_table(embedded_aws)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "dynamodb"])
def state(request: pytest.FixtureRequest, clock: Clock) -> Iterator[State]:
    """Each store there is; tests tell their messages and tasks apart by name."""
    if request.param == "memory":
        yield MemoryState(clock=clock, record_ttl_seconds=14 * DAY)
        return
    aws: EmbeddedAws = request.getfixturevalue("embedded_aws")
    with stores.transport(aws.environ()) as transport:
        yield dynamodb_state(transport, request.getfixturevalue("table"), clock)


def attempt(message_id: str | None = None, *, task: str = TASK, **options: Any) -> Attempt:
    return Attempt(message_id or str(uuid.uuid4()), task, **{"lease_seconds": 60, **options})


def started(state: State, one: Attempt) -> object:
    """Return the answer to a start, without the history."""
    answer = state.start(one, deadline=soon())
    return msgspec.structs.replace(answer, history=()) if isinstance(answer, Started) else answer


def again(earlier: Attempt) -> Attempt:
    """Return another attempt at the same message."""
    return attempt(earlier.message_id)


def raised(error: Exception) -> Exception:
    """Return `error` with a traceback."""
    try:
        raise error
    except type(error) as caught:
        return caught


def test_a_message_starts_once(state: State, clock: Clock) -> None:
    """While an attempt has the lease, another one is told until when."""
    first = attempt()
    assert started(state, first) == Started(1)
    assert state.start(again(first), deadline=soon()) == Busy(clock.now + 60)


def test_of_many_at_once_one_starts(state: State) -> None:
    """Attempts that start at the same moment, in threads, get one lease between them."""
    together = threading.Barrier(8)

    def start(one: Attempt) -> bool:
        together.wait()
        return isinstance(state.start(one, deadline=soon()), Started)

    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            first = attempt()
            assert sum(pool.map(start, [again(first) for _ in range(8)])) == 1


def test_a_success_never_starts_again(state: State, clock: Clock) -> None:
    """A duplicate of a message that succeeded is told so, also long after the lease."""
    first = attempt()
    state.start(first, deadline=soon())
    clock.advance(5)
    state.finish(first, SUCCESS, deadline=soon())
    finished_at = clock.now
    clock.advance(13 * DAY)
    assert state.start(again(first), deadline=soon()) == AlreadySucceeded(finished_at)


@pytest.mark.parametrize("status", [Status.RETRYING, Status.DEFERRED, Status.FAILED])
def test_a_released_message_starts_again_at_once(state: State, status: Status) -> None:
    """A message that gave its lease back without a success runs again at the next delivery; attempts are counted."""
    first = attempt()
    state.start(first, deadline=soon())
    state.release(first, Ending(status), deadline=soon())
    assert started(state, again(first)) == Started(2)


@pytest.mark.parametrize("status", [Status.FAILED, Status.REJECTED, Status.SKIPPED])
def test_a_message_that_ended_for_good_never_runs_again(state: State, clock: Clock, status: Status) -> None:
    """A duplicate is told how the message ended, and whether its dead letter was sent."""
    first = attempt()
    state.start(first, deadline=soon())
    state.finish(first, Ending.of(status, error=ValueError("no")), deadline=soon())
    ended = AlreadyEnded(status, clock.now, error_type="ValueError", error_message="no")
    assert state.start(again(first), deadline=soon()) == ended
    assert "no" not in repr(ended).split(", ")
    state.letter(first, was_sent=True, deadline=soon())
    clock.advance(13 * DAY)
    assert state.start(again(first), deadline=soon()) == msgspec.structs.replace(ended, has_letter=True)


def test_one_attempt_at_a_time_sends_the_letter(state: State, clock: Clock) -> None:
    """While a letter is sent, a duplicate waits; where that fails, or its sender dies, the next one sends it."""
    first = attempt()
    state.start(first, deadline=soon())
    state.finish(first, Ending(Status.FAILED), sends_letter=True, deadline=soon())
    assert state.start(again(first), deadline=soon()) == Busy(clock.now + LETTER_SECONDS)
    state.letter(first, was_sent=False, deadline=soon())
    assert state.start(again(first), deadline=soon()) == AlreadyEnded(Status.FAILED, clock.now)
    assert isinstance(state.start(again(first), deadline=soon()), Busy)
    clock.advance(LETTER_SECONDS)
    assert isinstance(state.start(again(first), deadline=soon()), AlreadyEnded)
    state.letter(first, was_sent=True, deadline=soon())
    assert state.start(again(first), deadline=soon()) == AlreadyEnded(
        Status.FAILED, clock.now - LETTER_SECONDS, has_letter=True
    )


def test_a_message_that_was_sent_after_it_ended_is_another_one(state: State, clock: Clock) -> None:
    """A redrive that keeps the message's id runs; a duplicate was sent before the message ended."""
    for ending in (SUCCESS, Ending(Status.FAILED)):
        first = attempt(sent_at=clock.now)
        state.start(first, deadline=soon())
        clock.advance(5)
        state.finish(first, ending, deadline=soon())
        assert not isinstance(state.start(attempt(first.message_id, sent_at=clock.now - 5), deadline=soon()), Started)
        assert started(state, attempt(first.message_id, sent_at=clock.now + 1)) == Started(2)


def test_a_message_that_was_sent_after_it_ended_runs_once_too(state: State, clock: Clock) -> None:
    """While the redriven message runs, another delivery of it is told until when."""
    first = attempt()
    state.start(first, deadline=soon())
    state.finish(first, Ending.of(Status.FAILED), deadline=soon())
    clock.advance(10)
    redriven = attempt(first.message_id, sent_at=clock.now - 1)
    state.start(redriven, deadline=soon())

    assert state.start(attempt(first.message_id, sent_at=clock.now - 1), deadline=soon()) == Busy(clock.now + 60)


@pytest.mark.parametrize("end", ["finish", "release"])
def test_an_attempt_that_did_not_run_does_not_count(state: State, end: str) -> None:
    """Attempts are executions that started."""
    first = attempt()
    state.start(first, deadline=soon())
    getattr(state, end)(first, Ending(Status.DEFERRED), has_run=False, deadline=soon())
    record = state.record(first.message_id, deadline=soon())
    assert record is not None
    assert record.attempts == 0


def test_the_lease_of_a_crash_expires(state: State, clock: Clock) -> None:
    """A lease that nobody gives back ends by itself, to the moment, and the message runs again."""
    crashed = attempt()
    state.start(crashed, deadline=soon())
    clock.advance(59.999)
    assert isinstance(state.start(again(crashed), deadline=soon()), Busy)
    clock.advance(0.001)
    assert started(state, again(crashed)) == Started(2)


@pytest.mark.parametrize("end", ["finish", "release"])
def test_a_lost_lease_is_noticed_before_the_outcome_is_written(state: State, clock: Clock, end: str) -> None:
    """An attempt whose lease was taken over, or whose message has succeeded since, cannot write its outcome."""
    slow = attempt()
    state.start(slow, deadline=soon())
    clock.advance(60)
    fast = again(slow)
    state.start(fast, deadline=soon())
    with pytest.raises(LeaseLost, match=f"the lease expired .* \\(message {slow.message_id}\\): shorten the task"):
        getattr(state, end)(slow, Ending(Status.RETRYING), deadline=soon())
    state.finish(fast, SUCCESS, deadline=soon())
    with pytest.raises(LeaseLost):
        getattr(state, end)(slow, Ending(Status.RETRYING), deadline=soon())
    record = state.record(slow.message_id, deadline=soon())
    assert record is not None
    assert record.status is Status.SUCCEEDED


def test_an_expired_lease_that_nobody_took_still_counts(state: State, clock: Clock) -> None:
    """An attempt that took too long, and was alone, may write its outcome."""
    slow = attempt()
    state.start(slow, deadline=soon())
    clock.advance(3600)
    state.finish(slow, SUCCESS, deadline=soon())
    assert isinstance(state.start(again(slow), deadline=soon()), AlreadySucceeded)


def test_a_message_that_never_started_cannot_finish(state: State) -> None:
    """An outcome without a lease is not written."""
    with pytest.raises(LeaseLost):
        state.finish(attempt(), SUCCESS, deadline=soon())


def test_what_is_done_twice_counts_once(state: State) -> None:
    """Each call can be repeated, since its answer may have been lost: the same attempt has the same lease."""
    first = attempt()
    assert started(state, first) == started(state, first) == Started(1)
    state.finish(first, SUCCESS, deadline=soon())
    state.finish(first, SUCCESS, deadline=soon())
    record = state.record(first.message_id, deadline=soon())
    assert record is not None
    assert (record.status, record.attempts) == (Status.SUCCEEDED, 1)


def test_a_record_holds_what_became_of_a_message(state: State, clock: Clock) -> None:
    """The record has status, attempts, times and error, and in the end the result alone."""
    received, began = clock.now - 10.5, clock.now
    first = attempt(first_received_at=received)
    state.start(first, deadline=soon())
    running = state.record(first.message_id, deadline=soon())
    entry = PastAttempt(began)
    assert running == StoredRecord(first.message_id, TASK, Status.RUNNING, 1, received, began, history=(entry,))
    clock.advance(2)
    failure = Ending.of(Status.RETRYING, error=raised(ConnectionError("the other side is down")))
    state.release(first, failure, deadline=soon())
    retrying = state.record(first.message_id, deadline=soon())
    assert retrying is not None
    assert (retrying.status, retrying.error_type) == (Status.RETRYING, "ConnectionError")
    assert (retrying.error_message, retrying.finished_at) == ("the other side is down", began + 2)
    assert str(retrying.traceback).startswith("Traceback (most recent call last):\n")
    assert "raise error" in str(retrying.traceback)
    clock.advance(3)
    second = Attempt(first.message_id, TASK, 60, first_received_at=clock.now)
    assert started(state, second) == Started(2, first_failed_at=began + 2)
    state.finish(second, SUCCESS, deadline=soon())
    assert state.record(first.message_id, deadline=soon()) == StoredRecord(
        first.message_id,
        TASK,
        Status.SUCCEEDED,
        2,
        received,
        began + 5,
        finished_at=began + 5,
        first_failed_at=began + 2,
        result='{"sent":1}',
        history=(entry, PastAttempt(began + 5)),
    )


def test_each_execution_of_a_message_is_kept_up_to_ten(state: State, clock: Clock) -> None:
    """The history has start, end, outcome and error of the last ten executions, also of those that crashed."""
    first = attempt(details={"request_id": "r-0"})
    state.start(first, deadline=soon())
    clock.advance(100)  # it crashed
    for number in range(1, 14):
        one = attempt(first.message_id, details={"request_id": f"r-{number}"})
        begun = state.start(one, deadline=soon())
        assert isinstance(begun, Started)
        clock.advance(1)
        error = raised(ConnectionError(f"down {number}: " + "é" * 300))
        ending = Ending.of(Status.RETRYING, error=error, history=begun.history)
        state.release(one, ending, has_run=number != 12, deadline=soon())
        record = state.record(first.message_id, deadline=soon())
        assert record is not None
        if number == 1:
            crashed, failed = record.history
            assert crashed == PastAttempt(clock.now - 101, "r-0")
            assert (failed.started_at, failed.ended_at) == (clock.now - 1, clock.now)
            assert (failed.outcome, failed.error_type) == ("retrying", "ConnectionError")
            assert str(failed.error_message).startswith("down 1: é")
            assert str(failed.error_message).endswith("é…")
            assert len(str(failed.error_message).encode()) <= MAX_MESSAGE_BYTES
            assert "down" not in repr(record)
    assert record is not None
    assert [past.request_id for past in record.history] == [f"r-{number}" for number in (*range(3, 12), 13)]
    assert record.attempts == 13


def test_a_record_tells_where_a_message_ran(state: State) -> None:
    """The details of an attempt are the record's; the reason why nothing ran is gone when it has run."""
    details = {"queue": "mail", "request_id": "r-1", "function_version": "7", "log_stream": "s", "python": "3.13.1"}
    first = attempt(details={**details, "context": '{"tenant":"acme"}', "kwargs": '{"card":1}', "kwargs_note": "cut"})
    assert "acme" not in repr(first)
    state.start(first, deadline=soon())
    state.release(first, Ending.of(Status.DEFERRED, reason="busy"), deadline=soon())
    record = state.record(first.message_id, deadline=soon())
    assert record is not None
    assert (record.queue, record.request_id, record.function_version) == ("mail", "r-1", "7")
    assert (record.log_stream, record.python, record.reason) == ("s", "3.13.1", "busy")
    assert (record.context, record.kwargs, record.kwargs_note) == ('{"tenant":"acme"}', '{"card":1}', "cut")
    assert "acme" not in repr(record)
    state.start(again(first), deadline=soon())
    record = state.record(first.message_id, deadline=soon())
    assert record is not None
    assert record.reason is None


def test_a_message_is_queued_until_it_is_received(state: State, clock: Clock) -> None:
    """What was sent has a record, which a message that was received meanwhile keeps; the record is found by status."""
    clock.advance(40 * DAY)  # so that what other tests left has expired
    early, late = attempt(), attempt(first_received_at=clock.now + 5)
    state.start(early, deadline=soon())
    sent = [Queued(one.message_id, TASK, "mail", clock.now, replay_of="m-0") for one in (early, late)]
    for _ in range(2):
        state.queued(sent, deadline=soon())
    assert [one.message_id for one in state.records_with_status(Status.QUEUED)] == [late.message_id]
    assert late.message_id in {one.message_id for one in state.records_of_task(TASK)}
    running, queued = (state.record(one.message_id, deadline=soon()) for one in (early, late))
    assert running is not None
    assert queued is not None
    assert (running.status, running.attempts, running.queued_at) == (Status.RUNNING, 1, None)
    assert (queued.status, queued.attempts, queued.queued_at, queued.queue) == (Status.QUEUED, 0, clock.now, "mail")
    assert (queued.replay_of, queued.has_ended, queued.listed_at) == ("m-0", False, clock.now)
    assert started(state, late) == Started(1)
    record = state.record(late.message_id, deadline=soon())
    assert record is not None
    assert (record.status, record.first_received_at) == (Status.RUNNING, clock.now + 5)
    assert (record.queued_at, record.listed_at, record.replay_of) == (clock.now, clock.now, "m-0")
    assert list(state.records_with_status(Status.QUEUED)) == []


def test_a_request_lives_with_the_record_of_its_message(state: State, clock: Clock) -> None:
    """What a sender asks to be kept is there from the beginning to the end, and as long as the message may come."""
    message_id, due_at = str(uuid.uuid4()), clock.now + 30 * DAY
    message = Queued(message_id, TASK, "tasks", clock.now, request='{"private": 1}', due_at=due_at)
    state.queued([message], deadline=soon())
    assert "private" not in repr(message)
    clock.advance(29 * DAY)
    record = state.record(message_id, deadline=soon())
    assert record is not None
    assert (record.status, record.attempts, record.request) == (Status.QUEUED, 0, '{"private": 1}')
    running = attempt(message_id)
    state.start(running, deadline=soon())
    state.finish(running, Ending.of(Status.FAILED, error=raised(LeaseLost("x"))), deadline=soon())
    record = state.record(message_id, deadline=soon())
    assert record is not None
    assert (record.request, record.error_class) == ('{"private": 1}', "lambda_tasks.errors.LeaseLost")
    assert "private" not in repr(record)


def test_an_unknown_message_has_no_record(state: State) -> None:
    """A message that was never received is not an error."""
    assert state.record(str(uuid.uuid4()), deadline=soon()) is None


def test_a_record_ends_whether_it_is_deleted_or_not(state: State, clock: Clock) -> None:
    """Past its time to live a record counts no more, though the store may not have deleted it yet."""
    first = attempt()
    state.start(first, deadline=soon())
    state.finish(first, SUCCESS, deadline=soon())
    clock.advance(14 * DAY)
    assert state.record(first.message_id, deadline=soon()) is None
    assert isinstance(state.start(again(first), deadline=soon()), Started)


def test_records_are_found_by_task_and_by_status(state: State, clock: Clock) -> None:
    """The readers give the latest first, over pages and partitions, and each record as it is now."""
    task = f"shop.tasks.t{uuid.uuid4().hex}"
    clock.advance(15 * DAY)  # so that what other tests left has expired
    attempts = [attempt(task=task) for _ in range(60)]
    for number, one in enumerate(attempts):
        clock.advance(1)
        state.start(one, deadline=soon())
        ending = Ending.of(Status.REJECTED, error=ValueError("no")) if number % 3 else SUCCESS
        state.finish(one, ending, deadline=soon())
    ids = [one.message_id for one in reversed(attempts)]
    assert [record.message_id for record in state.records_of_task(task)] == ids
    rejected = [record.message_id for record in state.records_with_status(Status.REJECTED)]
    assert rejected == [message_id for number, message_id in enumerate(reversed(ids)) if number % 3][::-1]
    clock.advance(14 * DAY)
    assert list(state.records_of_task(task)) == []


def lease(key: str, **options: Any) -> KeyLease:
    values = {"owner": uuid.uuid4().hex, "lease_seconds": 60.0, "message_id": str(uuid.uuid4())}
    return KeyLease(key, **{**values, **options})


def test_a_singleton_runs_alone(state: State, clock: Clock) -> None:
    """One message at a time has the lease of a singleton; another key is another lease."""
    first, second = lease(key := uuid.uuid4().hex), lease(key)
    assert state.acquire(first, deadline=soon()) is None
    assert state.acquire(second, deadline=soon()) == Busy(clock.now + 60, turn_at=clock.now + 30)
    assert state.acquire(lease(uuid.uuid4().hex), deadline=soon()) is None
    assert state.acquire(first, deadline=soon()) is None
    state.surrender(first, deadline=soon())
    state.surrender(first, deadline=soon())
    assert state.acquire(second, deadline=soon()) is None


def test_those_that_wait_for_a_singleton_have_turns(state: State, clock: Clock) -> None:
    """Each that waits is given a turn behind the one before, as far apart as the singleton takes."""
    first = lease(key := uuid.uuid4().hex)
    state.acquire(first, deadline=soon())
    turns = [state.acquire(lease(key), deadline=soon()) for _ in range(3)]
    assert [isinstance(busy, Busy) and busy.turn_at for busy in turns] == [
        clock.now + 30,
        clock.now + 60,
        clock.now + 90,
    ]
    state.surrender(first, seconds=10, deadline=soon())
    clock.advance(1000)
    state.acquire(lease(key), deadline=soon())
    turns = [state.acquire(lease(key), deadline=soon()) for _ in range(2)]
    assert [isinstance(busy, Busy) and busy.turn_at for busy in turns] == [clock.now + 12, clock.now + 24]


def test_the_singleton_of_a_crash_is_that_messages_own(state: State, clock: Clock) -> None:
    """A redelivery takes over the singleton that its own dead attempt left behind, and no other message does."""
    crashed = lease(key := uuid.uuid4().hex, message_id="m", held_since=clock.now)
    assert state.acquire(crashed, deadline=soon()) is None
    clock.advance(1)
    assert isinstance(state.acquire(lease(key, message_id="other", held_since=clock.now), deadline=soon()), Busy)
    assert isinstance(state.acquire(lease(key, message_id="m", held_since=clock.now - 1), deadline=soon()), Busy)
    assert state.acquire(lease(key, message_id="m", held_since=clock.now), deadline=soon()) is None


def test_the_singleton_of_a_crash_expires(state: State, clock: Clock) -> None:
    """A singleton's lease that nobody gives back ends by itself; its first holder then learns that it lost it."""
    crashed, next_one = lease(key := uuid.uuid4().hex), lease(key)
    state.acquire(crashed, deadline=soon())
    clock.advance(60)
    assert state.acquire(next_one, deadline=soon()) is None
    with pytest.raises(LeaseLost, match="the singleton's lease expired"):
        state.surrender(crashed, deadline=soon())
    assert isinstance(state.acquire(lease(key), deadline=soon()), Busy)


def test_a_singleton_and_a_message_are_different_things(state: State) -> None:
    """The lease of a singleton is no lease of a message, whatever their names, and has no record."""
    one = attempt()
    state.acquire(lease(one.message_id), deadline=soon())
    assert started(state, one) == Started(1)
    assert state.record(f"singleton#{one.message_id}", deadline=soon()) is None


def test_a_singleton_is_told_by_task_and_values() -> None:
    """Equal values of the chosen kwargs have one key, in whatever order; another task or value has another."""
    key = singleton_key(TASK, {"warehouse": 1, "shelf": {"b": 1, "a": 2}})
    assert key == singleton_key(TASK, {"shelf": {"a": 2, "b": 1}, "warehouse": 1})
    others = [
        singleton_key(TASK, {"warehouse": "1", "shelf": {"b": 1, "a": 2}}),
        singleton_key("shop.tasks.other", {"warehouse": 1, "shelf": {"b": 1, "a": 2}}),
        singleton_key(TASK, {}),
    ]
    assert len({key, *others}) == 4
    assert "warehouse" not in key


def test_what_is_recorded_is_of_bounded_size(state: State) -> None:
    """A result that is too large or that JSON cannot hold is left out; long errors are shortened, to whole characters."""
    assert Ending.of(Status.SUCCEEDED, value="x" * MAX_RESULT_BYTES).result is None
    assert Ending.of(Status.SUCCEEDED, value=object()).result is None
    error = raised(ValueError("é\ud800" * MAX_TRACEBACK_BYTES))
    ending = Ending.of(Status.FAILED, error=error)
    assert len(str(ending.error_message).encode()) <= MAX_ERROR_MESSAGE_BYTES
    assert len(str(ending.traceback).encode()) <= MAX_TRACEBACK_BYTES
    first = attempt()
    state.start(first, deadline=soon())
    state.finish(first, ending, deadline=soon())
    record = state.record(first.message_id, deadline=soon())
    assert record is not None
    assert (record.error_message, record.traceback) == (ending.error_message, ending.traceback)


def test_an_error_that_cannot_be_shown_is_recorded() -> None:
    """An error whose own text raises, or anything that it is asked for, does not fail what records it."""

    class Wordless(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    class Hostile(Exception):
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError

    ending = Ending.of(Status.FAILED, error=raised(Wordless()))
    assert (ending.error_type, ending.error_message) == (Wordless.__qualname__, "(its __str__ raised RuntimeError)")
    assert "Wordless" in str(ending.traceback)
    ending = Ending.of(Status.FAILED, error=raised(Hostile()))
    assert (ending.error_type, ending.traceback) == (Hostile.__qualname__, "(formatting it raised RuntimeError)")


def test_records_do_not_show_what_they_hold() -> None:
    """The repr of an ending and of a record has neither result nor error text."""
    ending = Ending.of(Status.FAILED, value="canary", error=raised(ValueError("canary")))
    record = StoredRecord("m", TASK, Status.FAILED, 1, 0, 0, result=ending.result, traceback=ending.traceback)
    assert "canary" not in f"{ending!r}{record!r}"


def test_a_key_is_kept_after_a_success_for_its_time(state: State, clock: Clock) -> None:
    """Whoever asks for a key learns of its success; after a failure, and after its time, it is free."""
    key, kept = uuid.uuid4().hex, Kept("first", '{"a":1}', "check")
    first, second, third = (lease(key, message_id=name, kept_seconds=50.0, check="check") for name in ("f", "s", "t"))
    assert state.acquire(first, deadline=soon()) is None
    assert state.acquire(second, deadline=soon()) == Busy(clock.now + first.lease_seconds)
    state.surrender(first, deadline=soon())
    assert state.acquire(second, deadline=soon()) is None
    for _ in range(2):  # one whose answer was lost is sent again
        state.surrender(second, kept=msgspec.structs.replace(kept, message_id="s"), deadline=soon())
    assert state.acquire(third, deadline=soon()) == msgspec.structs.replace(kept, message_id="s")
    clock.advance(51)
    assert state.acquire(third, deadline=soon()) is None
    state.surrender(third, kept=Kept("t"), deadline=soon())
    assert state.acquire(first, deadline=soon()) == Kept("t")


def test_a_key_that_another_message_took_over_is_not_kept(state: State, clock: Clock) -> None:
    """A message whose lease of a key expired keeps nothing, and learns of it."""
    first, second = (lease(key, message_id=name, kept_seconds=50.0) for key in [uuid.uuid4().hex] for name in "ab")
    state.acquire(first, deadline=soon())
    clock.advance(first.lease_seconds + 1)
    assert state.acquire(second, deadline=soon()) is None
    with pytest.raises(LeaseLost):
        state.surrender(first, kept=Kept("a"), deadline=soon())
    assert isinstance(state.acquire(first, deadline=soon()), Busy)


def test_a_step_is_kept_for_whoever_runs_its_message_next(state: State, clock: Clock) -> None:
    """What a delivery keeps, and how far it came, is there for the next one, and in the record."""
    first = attempt()
    state.start(first, deadline=soon())

    assert state.kept_step(first.message_id, "count", deadline=soon()) is None
    state.keep_step(first.message_id, first.owner, "one", KeptStep("count", "7"), deadline=soon())
    state.keep_step(first.message_id, first.owner, "two", deadline=soon())
    state.release(first, Ending.of(Status.DEFERRED), deadline=soon())
    second = again(first)

    started = state.start(second, deadline=soon())
    assert isinstance(started, Started)
    assert started.steps == "two"
    assert state.kept_step(first.message_id, "count", deadline=soon()) == "7"
    assert state.kept_step(first.message_id, "other", deadline=soon()) is None
    state.finish(second, msgspec.structs.replace(SUCCESS, steps="three"), deadline=soon())
    record = state.record(first.message_id, deadline=soon())
    assert record is not None
    assert record.steps == "three"
    clock.advance(15 * DAY)
    assert state.kept_step(first.message_id, "count", deadline=soon()) is None


def test_a_lost_lease_keeps_no_step(state: State, clock: Clock) -> None:
    """A delivery whose lease another one took, or that gave it back, neither keeps a step nor says how far it came."""
    first = attempt(lease_seconds=10)
    state.start(first, deadline=soon())
    state.keep_step(first.message_id, first.owner, "one", KeptStep("count", "1"), deadline=soon())
    clock.advance(11)
    second = again(first)
    state.start(second, deadline=soon())

    for kept in (KeptStep("count", "2"), KeptStep("more", "2"), None):
        with pytest.raises(LeaseLost, match="lease expired"):
            state.keep_step(first.message_id, first.owner, "two", kept, deadline=soon())
    assert state.kept_step(first.message_id, "count", deadline=soon()) == "1"
    assert state.kept_step(first.message_id, "more", deadline=soon()) is None
    state.release(second, Ending.of(Status.RETRYING), deadline=soon())
    with pytest.raises(LeaseLost):
        state.keep_step(second.message_id, second.owner, "two", KeptStep("count", "2"), deadline=soon())
    record = state.record(first.message_id, deadline=soon())
    assert record is not None
    assert record.steps == "one"


def test_a_step_of_the_largest_size_and_any_name_is_kept(state: State) -> None:
    """Names may hold anything, and a content has room for a result of the largest size, and a little."""
    first, content = attempt(), "ü" * (33 * 1024)
    state.start(first, deadline=soon())
    for name in ("", "a#b", "ü" * 1000):
        state.keep_step(first.message_id, first.owner, "", KeptStep(name, content), deadline=soon())
        assert state.kept_step(first.message_id, name, deadline=soon()) == content
    assert "ü" not in repr(KeptStep("a", content))


def test_steps_that_are_kept_at_the_same_time_are_all_kept(state: State) -> None:
    """Several threads of a task may keep their steps at once."""
    first = attempt()
    state.start(first, deadline=soon())

    def keep(number: int) -> None:
        state.keep_step(first.message_id, first.owner, "", KeptStep(f"{number}", f"{number}"), deadline=soon())

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(keep, range(12)))
    assert [state.kept_step(first.message_id, f"{one}", deadline=soon()) for one in range(12)] == [
        f"{one}" for one in range(12)
    ]
