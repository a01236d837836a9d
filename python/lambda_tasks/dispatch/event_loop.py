"""Run async tasks together in one event loop, each within its limits.

A limit is raised inside the coroutine: its asyncio task is cancelled, and the `CancelledError` becomes the limit's
error on its way in. The errors are cancellations too, so that task groups and timeouts in a task treat them as such.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import signal
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from lambda_tasks import errors
from lambda_tasks.dispatch import dead_letter, leases, source_queue
from lambda_tasks.dispatch.call import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
    from types import FrameType

    from lambda_tasks.dispatch.invocation import Invocation
    from lambda_tasks.dispatch.job import Job
    from lambda_tasks.dispatch.plan import Lane
    from lambda_tasks.dispatch.worker import Worker
    from lambda_tasks.limits.timeouts import Limits

# The executor's threads need these modules, and would import them at the same time.
__all__ = ["close", "dead_letter", "leases", "run_lanes", "source_queue"]

logger = logging.getLogger("lambda_tasks")

# How late a limit has to be before the signal raises it: later than the loop does, where that is not blocked.
_LATE_SECONDS = 0.1
_CANCELLATIONS = 10


class SoftCancellation(errors.SoftTimeLimitExceeded, asyncio.CancelledError):
    """The soft limit, as a cancellation."""


class HardCancellation(errors.HardTimeLimitExceeded, asyncio.CancelledError):
    """The hard limit, as a cancellation."""


# Dead letters and records tell an error by its type's name: it is the same limit for every kind of task.
for _limit in (SoftCancellation, HardCancellation):
    _limit.__name__ = _limit.__qualname__ = _limit.__bases__[0].__name__


def run_lanes(every: Sequence[Lane], invocation: Invocation) -> None:
    """Run all lanes at the same time; return when each message has an outcome."""
    if threading.current_thread() is threading.main_thread():
        invocation.worker.prepare_for_threads()
        loop = _loop_of(invocation.worker)
        with _signals_for_blocked_loops():
            loop.run_until_complete(_run_lanes(every, invocation))
        return
    loop = asyncio.new_event_loop()  # a thread cannot share the one of the main thread
    try:
        loop.run_until_complete(_run_lanes(every, invocation))
    finally:
        close(loop)


def close(loop: asyncio.AbstractEventLoop) -> None:
    """Close a loop, after cancelling what still runs in it, as often as it takes within reason."""
    for _ in range(_CANCELLATIONS):
        pending = asyncio.all_tasks(loop)
        if not pending:
            break
        for task in pending:
            task.cancel()
        loop.run_until_complete(asyncio.wait(pending, timeout=_LATE_SECONDS))
    loop.close()


def _loop_of(worker: Worker) -> asyncio.AbstractEventLoop:
    """Return the event loop of the execution environment: one for all invocations, so that clients can be kept."""
    if worker.loop is None or worker.loop.is_closed():
        loop = worker.loop = asyncio.new_event_loop()
        worker.at_close(lambda: close(loop))
    return worker.loop


async def _run_lanes(every: Sequence[Lane], invocation: Invocation) -> None:
    await asyncio.gather(*(_run_lane(lane, invocation) for lane in every))


async def _run_lane(lane: Lane, invocation: Invocation) -> None:
    try:
        for number, jobs in enumerate(lane):
            if not await _run_call(jobs, invocation):
                await _aside(functools.partial(invocation.settlement.defer, lane[number + 1 :]))
                return
    except BaseException:  # as in `lanes.run_lane`
        logger.exception("a message could not be dispatched, and stays in the queue")


async def _run_call(jobs: Sequence[Job], invocation: Invocation) -> bool:
    """Run a call of an async task, in the order of `lambda_tasks.dispatch.call.run`."""
    if invocation.is_exhausted:
        invocation.settlement.defer([list(jobs)])
        return False
    call = Call(jobs, invocation)
    watchdog, waits_for_state = invocation.watchdog, invocation.worker.state is not None
    if watchdog is not None:
        watchdog.enter(call)
    try:
        if await _aside(call.prepare) if waits_for_state else call.prepare():
            if watchdog is not None:
                watchdog.started(call, call.stuck_at)
            if not await _run_limited(call, invocation.time.grace_seconds):
                invocation.has_stuck_calls = True
        if watchdog is not None:
            watchdog.returned(call)
        waits = waits_for_state or any(job.result is not None and job.result.outcome.is_dead for job in jobs)
        return await _aside(call.settle) if waits else call.settle()
    finally:
        if watchdog is not None:
            watchdog.leave(call)


async def _aside(function: Callable[[], bool | None]) -> bool:
    """Call what may wait for AWS in a thread, so that the other tasks go on meanwhile."""
    return bool(await asyncio.get_running_loop().run_in_executor(None, function))


async def _run_limited(call: Call, grace_seconds: float) -> bool:
    """Run a call's coroutine as a task of its own, and tell whether it ended: it may go on when it is stopped."""
    task = asyncio.ensure_future(_perform(call))
    longest = call.limits.hard + grace_seconds
    done, _ = await asyncio.wait({task}, timeout=longest if longest < math.inf else None)
    if not done:
        call.raised(errors.HardTimeLimitExceeded("the hard timeout passed, and the task did not end"))
    return bool(done)


async def _perform(call: Call) -> None:
    with call.observed():
        try:
            value = await _Limited(call.function(), call.limits)
        except BaseException as error:  # noqa: BLE001 - a task that exits must not take the batch with it
            call.raised(error)
        else:
            call.returned(value)


class _Limited:
    """Await a coroutine, raising its limits inside of it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], limits: Limits) -> None:
        self._coroutine = coroutine
        now = time.monotonic()
        self._soft_at, self._hard_at = now + limits.soft, now + limits.hard
        self._arriving: BaseException | None = None

    def __await__(self) -> Generator[Any, Any, Any]:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - for mypy: a coroutine is awaited in a task
        now = time.monotonic()
        alarms = [
            loop.call_later(max(0.0, at - now), self._stop, task, error)
            for at, error in ((self._soft_at, SoftCancellation), (self._hard_at, HardCancellation))
            if at < math.inf
        ]
        _limited_here.set(self)
        _expect_signal(self)
        try:
            return (yield from self._drive(task))
        finally:
            _limited_here.set(None)
            for alarm in alarms:
                alarm.cancel()

    def raise_if_late(self) -> None:
        """Raise a limit that the loop, which is blocked, could not.

        Raises:
            SoftCancellation: the soft limit has passed.
            HardCancellation: the hard one has.

        """
        now = time.monotonic() - _LATE_SECONDS
        if now >= self._hard_at:
            self._hard_at = math.inf
            raise HardCancellation
        if now >= self._soft_at:
            self._soft_at = math.inf
            raise SoftCancellation

    @property
    def next_at(self) -> float:
        """When the next limit passes."""
        return min(self._soft_at, self._hard_at)

    def _stop(self, task: asyncio.Task[Any], error: type[BaseException]) -> None:
        if issubclass(error, SoftCancellation):
            self._soft_at = math.inf
        else:
            self._hard_at = math.inf
        self._arriving = error()
        task.cancel()

    def _drive(self, task: asyncio.Task[Any]) -> Generator[Any, Any, Any]:
        """Do as ``yield from`` does, but let a limit's error in for the cancellation that carries it."""
        step, argument = self._coroutine.send, None
        while True:
            try:
                awaited = step(argument)
            except StopIteration as stop:
                return stop.value
            try:
                argument = yield awaited
                step = self._coroutine.send
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001 - all of them are the coroutine's
                argument, step = self._translated(error, task), self._coroutine.throw

    def _translated(self, error: BaseException, task: asyncio.Task[Any]) -> BaseException:
        if self._arriving is None or not isinstance(error, asyncio.CancelledError):
            return error
        arriving, self._arriving = self._arriving, None
        if hasattr(task, "uncancel"):  # from Python 3.11 on
            task.uncancel()
        return arriving


_limited_here: ContextVar[_Limited | None] = ContextVar("lambda_tasks_limited", default=None)


@contextlib.contextmanager
def _signals_for_blocked_loops() -> Iterator[None]:
    """While a task blocks the loop, with what should have been awaited, raise its limits by signal."""
    signal.setitimer(signal.ITIMER_REAL, 0)  # an ordinary task before may have left it set
    previous = signal.signal(signal.SIGALRM, _alarm)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _expect_signal(limited: _Limited) -> None:
    if limited.next_at == math.inf or threading.current_thread() is not threading.main_thread():
        return
    seconds = max(limited.next_at - time.monotonic(), 0.0) + _LATE_SECONDS
    set_seconds, _ = signal.getitimer(signal.ITIMER_REAL)
    if not 0 < set_seconds <= seconds:
        signal.setitimer(signal.ITIMER_REAL, seconds, _LATE_SECONDS)


def _alarm(_number: int, frame: FrameType | None) -> None:
    """Raise in the code that runs right now, where that belongs to a task that is late."""
    limited = _limited_here.get()
    if limited is not None and (frame is None or frame.f_code.co_filename != __file__):
        limited.raise_if_late()
