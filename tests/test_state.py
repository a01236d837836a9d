"""The store of leases and records: one suite for the one in memory and the one in DynamoDB."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import stores
from lambda_tasks.definition.definition import singleton_key
from lambda_tasks.errors import LeaseLost
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.state.protocol import AlreadySucceeded, Attempt, Busy, SingletonLease, Started, State
from lambda_tasks.state.record import (
    MAX_ERROR_MESSAGE_BYTES,
    MAX_RESULT_BYTES,
    MAX_TRACEBACK_BYTES,
    Ending,
    Status,
    StoredRecord,
)
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
    assert state.start(first, deadline=soon()) == Started(1)
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
    """What gave its lease back without a success runs again at the next delivery, and attempts are counted."""
    first = attempt()
    state.start(first, deadline=soon())
    state.release(first, Ending(status), deadline=soon())
    assert state.start(again(first), deadline=soon()) == Started(2)


def test_a_message_that_failed_for_good_may_run_again(state: State) -> None:
    """Only a success keeps a message from running: one that is redriven by hand runs."""
    first = attempt()
    state.start(first, deadline=soon())
    state.finish(first, Ending.of(Status.FAILED, error=ValueError("no")), deadline=soon())
    assert isinstance(state.start(again(first), deadline=soon()), Started)


def test_the_lease_of_a_crash_expires(state: State, clock: Clock) -> None:
    """A lease that nobody gives back ends by itself, to the moment, and the message runs again."""
    crashed = attempt()
    state.start(crashed, deadline=soon())
    clock.advance(59.999)
    assert isinstance(state.start(again(crashed), deadline=soon()), Busy)
    clock.advance(0.001)
    assert state.start(again(crashed), deadline=soon()) == Started(2)


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
    assert state.start(first, deadline=soon()) == state.start(first, deadline=soon()) == Started(1)
    state.finish(first, SUCCESS, deadline=soon())
    state.finish(first, SUCCESS, deadline=soon())
    record = state.record(first.message_id, deadline=soon())
    assert record is not None
    assert (record.status, record.attempts) == (Status.SUCCEEDED, 1)


def test_a_record_holds_what_became_of_a_message(state: State, clock: Clock) -> None:
    """The record has status, attempts, times and error, and in the end the result alone."""
    received, started = clock.now - 10.5, clock.now
    first = attempt(first_received_at=received)
    state.start(first, deadline=soon())
    running = state.record(first.message_id, deadline=soon())
    assert running == StoredRecord(first.message_id, TASK, Status.RUNNING, 1, received, started)
    clock.advance(2)
    failure = Ending.of(Status.RETRYING, error=raised(ConnectionError("the other side is down")))
    state.release(first, failure, deadline=soon())
    retrying = state.record(first.message_id, deadline=soon())
    assert retrying is not None
    assert (retrying.status, retrying.error_type) == (Status.RETRYING, "ConnectionError")
    assert (retrying.error_message, retrying.finished_at) == ("the other side is down", started + 2)
    assert str(retrying.traceback).startswith("Traceback (most recent call last):\n")
    assert "raise error" in str(retrying.traceback)
    clock.advance(3)
    second = Attempt(first.message_id, TASK, 60, first_received_at=clock.now)
    assert state.start(second, deadline=soon()) == Started(2, first_failed_at=started + 2)
    state.finish(second, SUCCESS, deadline=soon())
    assert state.record(first.message_id, deadline=soon()) == StoredRecord(
        first.message_id,
        TASK,
        Status.SUCCEEDED,
        2,
        received,
        started + 5,
        finished_at=started + 5,
        first_failed_at=started + 2,
        result='{"sent":1}',
    )


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


def lease(key: str, **options: Any) -> SingletonLease:
    values = {"owner": uuid.uuid4().hex, "lease_seconds": 60.0, "message_id": str(uuid.uuid4())}
    return SingletonLease(key, **{**values, **options})


def test_a_singleton_runs_alone(state: State, clock: Clock) -> None:
    """One message at a time has the lease of a singleton; another key is another lease."""
    first, second = lease(key := uuid.uuid4().hex), lease(key)
    assert state.acquire(first, deadline=soon()) is None
    assert state.acquire(second, deadline=soon()) == Busy(clock.now + 60)
    assert state.acquire(lease(uuid.uuid4().hex), deadline=soon()) is None
    assert state.acquire(first, deadline=soon()) is None
    state.surrender(first, deadline=soon())
    state.surrender(first, deadline=soon())
    assert state.acquire(second, deadline=soon()) is None


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
    assert state.start(one, deadline=soon()) == Started(1)
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
