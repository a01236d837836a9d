"""Messages that run where they are enqueued: within an event loop, and within the limits of another task."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from catalogue import raising, tasks
from events import message_body, sqs_record
from lambda_tasks.errors import HardTimeLimitExceeded
from lambda_tasks.limits.alarm_signal import AlarmSignal
from lambda_tasks.messages.sqs_event import Record
from lambda_tasks.settings import Settings
from lambda_tasks.testing import TaskQueue
from workers import Dispatched, worker


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LAMBDA_TASKS_MODE", "eager")
    raising.seen.clear()
    tasks.ran.clear()
    yield
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def record_of(task_name: str, /, **kwargs: object) -> Record:
    return sqs_record(message_body(f"catalogue.raising.{task_name}", **kwargs))


def test_eager_works_within_a_running_loop() -> None:
    """Async code enqueues, and the task runs at once, whether it is async or not."""

    async def main() -> None:
        raising.note.enqueue(number=1)
        raising.note_async.enqueue(number=2)
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match="failed"):
            raising.leave_behind.enqueue(seconds=0.01, fails=True)

    asyncio.run(main())
    assert raising.seen == [1, 2, "left behind"]


def test_a_task_queue_runs_within_a_running_loop() -> None:
    """An async test may run what was enqueued, and the tasks see its context variables."""

    async def main() -> list[str]:
        raising.variable.set("of the test")
        with TaskQueue() as queue:
            raising.set_variable.enqueue(value="x")
            raising.set_variable_async.enqueue(value="y")
            ran = queue.run()
        assert raising.variable.get() == "of the test"
        return [one.outcome for one in ran]

    assert contextvars.copy_context().run(asyncio.run, main()) == ["succeeded", "succeeded"]
    assert raising.seen == ["of the test", "of the test"]


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("task", ["enqueue_within", "enqueue_within_async"])
@pytest.mark.parametrize("inner", ["quick", "quick_async", "slow", "slow_async"])
def test_a_task_within_another_leaves_its_limits_armed(inner: str, task: str, concurrency: int) -> None:
    """A limit of the outer task is raised while the inner one runs, and after it."""
    if concurrency == 2 and task == "enqueue_within" and inner == "slow_async":
        pytest.skip("a thread that waits for its own event loop cannot be interrupted")
    made = worker(Settings(concurrency=concurrency))
    dispatched = Dispatched(made, record_of(task, task_name=inner), record_of("note", number=1))
    assert dispatched.outcomes == ["failed", "succeeded"]
    assert isinstance(dispatched.errors[0], HardTimeLimitExceeded)
    assert "slept" not in raising.seen


def _pause_for_ever() -> NoReturn:
    while True:
        signal.pause()


@contextlib.contextmanager
def alarm_of_somebody(seconds: float, every: float = 0) -> Iterator[list[float]]:
    """Have an alarm set, as an application may, and yield when it rang."""
    rang: list[float] = []
    previous = signal.signal(signal.SIGALRM, lambda *_: rang.append(time.monotonic()))
    signal.setitimer(signal.ITIMER_REAL, seconds, every)
    try:
        yield rang
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@pytest.mark.parametrize("task", ["quick", "quick_async"])
def test_an_alarm_that_was_set_before_rings_after(task: str) -> None:
    """What is left of somebody else's timer is left after an invocation."""
    with alarm_of_somebody(30, 40):
        handler = signal.getsignal(signal.SIGALRM)
        assert Dispatched(worker(), record_of(task)).outcomes == ["succeeded"]
        left, every = signal.getitimer(signal.ITIMER_REAL)
        assert 0 < left <= 30
        assert every == 40
        assert signal.getsignal(signal.SIGALRM) is handler


def test_an_alarm_of_somebody_rings_meanwhile() -> None:
    """While the signal is borrowed it rings for both, each at its time."""
    own: list[float] = []
    with alarm_of_somebody(0.02, 0.02) as theirs:
        borrowed = AlarmSignal(lambda _: own.append(time.monotonic()))
        borrowed.take()
        borrowed.ring_at(time.monotonic() + 0.05)
        while len(theirs) < 5 or not own:
            signal.pause()
        borrowed.give_back()
        assert borrowed.rings_at == math.inf
        while len(theirs) < 7:
            signal.pause()
    assert len(own) == 1


def test_a_borrower_within_another_lets_it_ring() -> None:
    """Two borrowers, one within the other, and a handler that raises: each has its time, and the signal is given back."""

    def expired(_: Any) -> None:
        raise TimeoutError

    before = signal.getsignal(signal.SIGALRM)
    rang: list[str] = []
    outer = AlarmSignal(expired)
    outer.take()
    outer.ring_at(time.monotonic() + 0.03)
    inner = AlarmSignal(lambda _: rang.append("inner"))
    inner.take()
    inner.ring_at(time.monotonic() + 0.01, every=0.01)
    with pytest.raises(TimeoutError):
        _pause_for_ever()
    count = len(rang)
    while len(rang) < count + 2:
        signal.pause()
    inner.give_back()
    outer.give_back()
    assert signal.getsignal(signal.SIGALRM) is before


def test_an_eager_task_in_a_thread_with_a_loop_has_a_loop_of_its_own() -> None:
    """A loop that runs in another thread is not disturbed."""
    outcomes: list[int] = []

    async def main() -> None:
        raising.note_async.enqueue(number=3)
        await asyncio.sleep(0)
        outcomes.append(len(asyncio.all_tasks()))

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join()
    assert outcomes == [1]
    assert raising.seen == [3]
