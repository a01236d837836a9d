"""Leases that are taken before the first task runs, and outcomes that are written while the next ones do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from catalogue import tasks
from events import message_body, sqs_record
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.errors import StateUnavailable
from lambda_tasks.messages.sqs_event import Record
from lambda_tasks.settings import Settings
from lambda_tasks.state.protocol import Attempt, KeyLease
from lambda_tasks.state.record import Ending, StoredRecord
from lambda_tasks.state.side_calls import SideCalls
from memory_state import MemoryState
from workers import Dispatched, invocation_of, reports, worker

PATIENCE_SECONDS = 20
RAN = cast("list[Any]", tasks.ran)  # what the tasks and the store below did, in order


class Observed(MemoryState):
    """A store that notes its calls in `RAN`, among what the tasks note there."""

    def __init__(self, meets: int = 0) -> None:
        super().__init__()
        self.barrier = threading.Barrier(meets) if meets else None
        self.before_finish: Callable[[str], object] = lambda _message_id: None

    def start(self, attempt: Attempt, **options: Any) -> Any:
        if self.barrier is not None:
            self.barrier.wait(PATIENCE_SECONDS)
        answer = super().start(attempt, **options)
        RAN.append(("starts", attempt.message_id))
        return answer

    def finish(self, attempt: Attempt, ending: Ending, **options: Any) -> None:
        self.before_finish(attempt.message_id)
        super().finish(attempt, ending, **options)
        RAN.append(("ends", attempt.message_id))

    def release(self, attempt: Attempt, ending: Ending, **options: Any) -> None:
        super().release(attempt, ending, **options)
        RAN.append(("released", attempt.message_id))

    def acquire(self, lease: KeyLease, **options: Any) -> Any:
        answer = super().acquire(lease, **options)
        RAN.append(("alone", lease.message_id))
        return answer

    def surrender(self, lease: KeyLease, **options: Any) -> None:
        super().surrender(lease, **options)
        RAN.append(("not alone", lease.message_id))

    def peek(self, message_id: str) -> StoredRecord | None:
        return self.record(message_id, deadline=time.monotonic() + 1)


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


def numbered(number: int, name: str = "hold_time", **attributes: str) -> Record:
    kwargs = {"seconds": 0} if name == "hold_time" else {}
    return sqs_record(
        message_body(f"catalogue.tasks.{name}", number=number, **kwargs), message_id=f"{number}", **attributes
    )


@pytest.mark.parametrize("name", ["hold_time", "meet"])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_leases_are_taken_together_before_the_first_task_runs(name: str, concurrency: int) -> None:
    """The leases of a batch are asked for at the same time, and the first task runs when all are there."""
    kwargs: dict[str, Any] = {"of": 1} if name == "meet" else {"seconds": 0}
    bodies = [message_body(f"catalogue.tasks.{name}", number=number, **kwargs) for number in range(5)]

    made = worker(Settings(concurrency=concurrency), state=Observed(meets=5))
    dispatched = Dispatched(made, *[sqs_record(body, message_id=f"m{n}") for n, body in enumerate(bodies)])

    assert dispatched.outcomes == ["succeeded"] * 5
    assert {one for one in RAN[:5] if isinstance(one, tuple)} == {("starts", f"m{n}") for n in range(5)}


def test_an_outcome_is_written_while_the_next_task_runs() -> None:
    """A task does not wait for the record of the one before; the answer waits for all of them."""
    state = Observed()
    both = tasks.barriers["both"] = threading.Barrier(2)
    state.before_finish = lambda message_id: both.wait(PATIENCE_SECONDS) if message_id == "1" else None
    second = sqs_record(message_body("catalogue.tasks.meet_in_threads", barrier="both"), message_id="2")

    dispatched = Dispatched(worker(state=state), numbered(1), second)

    assert dispatched.kept == []
    assert [record and record.status.value for record in map(state.peek, "12")] == ["succeeded"] * 2


def test_a_message_of_a_group_waits_for_the_outcome_before() -> None:
    """Within a FIFO group the next message has no lease before the outcome of the one before is written."""
    first, second, other = (
        numbered(number, MessageGroupId=group, SequenceNumber="1") for number, group in ((1, "a"), (2, "a"), (3, "b"))
    )

    assert Dispatched(worker(state=Observed()), first, second, other).outcomes == ["succeeded"] * 3
    of_group = [one for one in RAN if one in (1, 2) or (isinstance(one, tuple) and one[1] != "3")]
    assert of_group == [("starts", "1"), 1, ("ends", "1"), ("starts", "2"), 2, ("ends", "2")]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_messages_of_a_singleton_wait_for_each_other(concurrency: int) -> None:
    """One singleton's messages run one after the other, each once the one before has given its lease back."""
    made = worker(Settings(concurrency=concurrency), state=Observed())

    assert Dispatched(made, *[numbered(n, "alone") for n in (1, 2)], numbered(3)).outcomes == ["succeeded"] * 3
    singletons = [one for one in RAN if isinstance(one, tuple) and one[0] in ("alone", "not alone")]
    assert singletons == [("alone", "1"), ("not alone", "1"), ("alone", "2"), ("not alone", "2")]


def test_a_lease_without_a_start_is_given_back() -> None:
    """A message whose lease was taken and whose task does not run is deferred, and has not been started."""
    state = Observed()
    records = [numbered(1), sqs_record(message_body("catalogue.tasks.long_at_most", number=2), message_id="2")]
    records[0]["body"] = message_body("catalogue.tasks.hold_time", number=1, seconds=0.6)

    dispatched = Dispatched(worker(state=state), *records, seconds=5)

    assert dispatched.outcomes == ["succeeded", "deferred"]
    assert dispatched.kept == ["2"]
    assert ("starts", "2") in RAN
    deferred = state.peek("2")
    assert deferred is not None
    assert (deferred.status.value, deferred.attempts) == ("deferred", 0)


def test_a_broken_table_is_asked_twice_at_most_when_nothing_is_under_way() -> None:
    """Leases that cannot be had put their messages off, and no task runs without one."""

    class Broken(MemoryState):
        def start(self, attempt: Attempt, **_options: Any) -> Any:
            RAN.append(attempt.message_id)
            raise StateUnavailable("down")

    made = worker(state=Broken())
    assert Dispatched(made, *[numbered(number) for number in range(30)]).outcomes == ["deferred"] * 30
    assert len(RAN) <= 11  # as many as there are threads, and the one that waits


def test_hooks_run_where_the_tasks_do() -> None:
    """A hook is called in the thread of the tasks, though outcomes are written in others."""
    threads = []

    class Hook(list[Any]):
        def append(self, report: Any, /) -> None:
            threads.append(threading.current_thread())
            super().append(report)

    with reports(Hook()) as collected:
        dispatch({"Records": [numbered(number) for number in range(5)]}, None, worker(state=Observed()))
    assert set(threads) == {threading.current_thread()}
    assert len(collected) == 5


def test_what_cannot_be_settled_stays() -> None:
    """An error of the package's own while it writes an outcome costs nothing but another delivery."""
    state = Observed()

    def broken(message_id: str) -> None:
        if message_id == "1":
            raise RuntimeError("a fault")

    state.before_finish = broken
    answer = dispatch({"Records": [numbered(1), numbered(2)]}, None, worker(state=state))
    assert answer == {"batchItemFailures": [{"itemIdentifier": "1"}]}


@pytest.mark.parametrize("most_threads", [0, 1, 3])
def test_each_call_is_made_once(most_threads: int) -> None:
    """With any number of threads each call is made once, and its result or error is whose who waits."""
    calls, made = SideCalls(most_threads), list[int]()

    def call(number: int) -> int:
        made.append(number)
        if number == 3:
            raise ValueError(number)
        return number

    begun = [calls.begin(lambda number=number: call(number)) for number in range(6)]  # type: ignore[misc]
    with pytest.raises(ValueError, match="3"):
        begun[3].result()
    assert [one.result() for one in begun if one is not begun[3]] == [0, 1, 2, 4, 5]
    assert sorted(made) == list(range(6))
    calls.close()


def test_an_invocation_of_one_message_needs_no_thread() -> None:
    """A lone message's lease is taken, and its outcome written, where the task runs."""
    made = worker(state=Observed())
    before = set(threading.enumerate())
    assert Dispatched(made, numbered(1)).outcomes == ["succeeded"]
    assert set(threading.enumerate()) <= before  # those of other tests may end meanwhile
    assert invocation_of(made).jobs == []
