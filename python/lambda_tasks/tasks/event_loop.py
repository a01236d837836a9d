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
from lambda_tasks.tasks import claims, dead_letter, sqs

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
    from types import FrameType

    from lambda_tasks.tasks.execution import Call
    from lambda_tasks.tasks.invocation import Invocation
    from lambda_tasks.tasks.job import Job
    from lambda_tasks.tasks.plan import Lane
    from lambda_tasks.tasks.timeouts import Limits

# What the executor's threads are going to need: they would import it at the same time.
__all__ = ["claims", "close", "dead_letter", "run_lanes", "sqs"]

logger = logging.getLogger("lambda_tasks")

# How late a limit has to be before the signal raises it: later than the loop does, where that is not blocked.
_LATE_SECONDS = 0.1
_CANCELLATIONS = 10


class SoftTimeLimitExceeded(errors.SoftTimeLimitExceeded, asyncio.CancelledError):
    """The soft limit, as a cancellation."""


class HardTimeLimitExceeded(errors.HardTimeLimitExceeded, asyncio.CancelledError):
    """The hard limit, as a cancellation."""


def run_lanes(invocation: Invocation, lanes: Sequence[Lane]) -> None:
    """Run all lanes at the same time; return when each message has an outcome."""
    if threading.current_thread() is threading.main_thread():
        invocation.worker.prepare_for_threads()
        loop = invocation.worker.loop
        with _signals_for_blocked_loops():
            loop.run_until_complete(_run_lanes(invocation, lanes))
        return
    loop = asyncio.new_event_loop()  # a thread cannot share the one of the main thread
    try:
        loop.run_until_complete(_run_lanes(invocation, lanes))
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


async def _run_lanes(invocation: Invocation, lanes: Sequence[Lane]) -> None:
    await asyncio.gather(*(_run_lane(invocation, lane) for lane in lanes))


async def _run_lane(invocation: Invocation, lane: Lane) -> None:
    try:
        for number, jobs in enumerate(lane):
            if not await _run_call(invocation, jobs):
                await _aside(functools.partial(invocation.defer, lane[number + 1 :]))
                return
    except BaseException:  # as in Invocation.run_lane
        logger.exception("a message could not be dispatched, and stays in the queue")


async def _run_call(invocation: Invocation, jobs: Sequence[Job]) -> bool:
    if invocation.is_exhausted:
        invocation.defer([list(jobs)])
        return False
    call = invocation.call(jobs)
    try:
        waits_for_state = invocation.worker.state is not None
        if await _aside(call.begin) if waits_for_state else call.begin():
            invocation.started(call)
            if not await _run_limited(call, invocation.time.grace_seconds):
                invocation.has_stuck_calls = True
        ended = functools.partial(invocation.ended, call)
        waits = waits_for_state or any(job.result is not None and job.result.outcome.is_dead for job in call.jobs)
        return await _aside(ended) if waits else ended()
    finally:
        invocation.watchdog.leave(call)


async def _aside(function: Callable[[], bool | None]) -> bool:
    """Call what may wait for AWS in a thread, so that the other tasks go on meanwhile."""
    return bool(await asyncio.get_running_loop().run_in_executor(None, function))


async def _run_limited(call: Call, grace_seconds: float) -> bool:
    """Run a call's coroutine as a task of its own, and tell whether it ended: it may go on when it is stopped."""
    task = asyncio.ensure_future(_run_in_surroundings(call))
    longest = call.limits.hard + grace_seconds
    done, _ = await asyncio.wait({task}, timeout=longest if longest < math.inf else None)
    if not done:
        call.raised(errors.HardTimeLimitExceeded("the hard timeout passed, and the task did not end"))
    return bool(done)


async def _run_in_surroundings(call: Call) -> None:
    guard = call.worker.memory_guard
    with call.surroundings():
        limited = _Limited(call.function(), call.limits)
        try:
            value = await limited
        except BaseException as error:  # noqa: BLE001 - a task that exits must not take the batch with it
            if guard is not None:
                guard.make_room()
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
            for at, error in ((self._soft_at, SoftTimeLimitExceeded), (self._hard_at, HardTimeLimitExceeded))
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
            SoftTimeLimitExceeded: the soft limit has passed.
            HardTimeLimitExceeded: the hard one has.

        """
        now = time.monotonic() - _LATE_SECONDS
        if now >= self._hard_at:
            self._hard_at = math.inf
            raise HardTimeLimitExceeded
        if now >= self._soft_at:
            self._soft_at = math.inf
            raise SoftTimeLimitExceeded

    @property
    def next_at(self) -> float:
        """When the next limit passes."""
        return min(self._soft_at, self._hard_at)

    def _stop(self, task: asyncio.Task[Any], error: type[BaseException]) -> None:
        if issubclass(error, SoftTimeLimitExceeded):
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
