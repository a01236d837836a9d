"""Raise the time limits inside a coroutine.

Its asyncio task is cancelled, and the `CancelledError` becomes the limit's error on its way in. The errors are
cancellations too, so that task groups and timeouts in a task treat them as such.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any

from lambda_tasks import errors
from lambda_tasks.limits import forks
from lambda_tasks.limits.alarm_signal import AlarmSignal, is_of_limits

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator, Iterator
    from types import FrameType

    from lambda_tasks.limits.timeouts import Limits

# How late a limit has to be before the signal raises it: later than the loop does, where that is not blocked.
_LATE_SECONDS = 0.1


class SoftCancellation(errors.SoftTimeLimitExceeded, asyncio.CancelledError):
    """The soft limit, as a cancellation."""


class HardCancellation(errors.HardTimeLimitExceeded, asyncio.CancelledError):
    """The hard limit, as a cancellation."""


# Dead letters and records tell an error by its type's name: it is the same limit for every kind of task.
for _limit in (SoftCancellation, HardCancellation):
    _limit.__name__ = _limit.__qualname__ = _limit.__bases__[0].__name__


class Limited:
    """A coroutine with limits, which are raised inside of it while it is awaited.

    The asyncio tasks that it starts, and that these start, are in `children` for as long as they run.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], limits: Limits, children: set[asyncio.Task[Any]]) -> None:
        self.children = children
        self._coroutine = coroutine
        self._forks = forks.number
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
        """When the next limit passes, a reading of ``time.monotonic``."""
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
            forks.end_if_copied(self._forks)  # by another coroutine of the loop
            try:
                awaited = step(argument)
            except StopIteration as stop:
                forks.end_if_copied(self._forks)
                return stop.value
            except BaseException as error:
                forks.end_if_copied(self._forks, error)
                raise
            forks.end_if_copied(self._forks)  # nothing that is awaited in a copy would come: the loop is the original's
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


_limited_here: ContextVar[Limited | None] = ContextVar("lambda_tasks_limited", default=None)
_signals: list[AlarmSignal] = []


def context_without_limits() -> Context:
    """Return a copy of the current context, for a loop whose coroutines are none of those of the current one."""
    context = copy_context()
    context.run(_limited_here.set, None)
    return context


def start_task(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    **options: Any,  # noqa: ANN401 - whatever a Python's asyncio has
) -> asyncio.Task[Any]:
    """Make an asyncio task, as the factory of a loop, and note it with the limited coroutine that it comes from."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    limited = _limited_here.get()
    if limited is not None:
        limited.children.add(task)
        task.add_done_callback(limited.children.discard)
    return task


@contextlib.contextmanager
def signals_for_blocked_loops() -> Iterator[None]:
    """While a task blocks the main thread's loop, with what should have been awaited, raise its limits by signal."""
    borrowed = AlarmSignal(_alarm)
    borrowed.take()
    _signals.append(borrowed)
    try:
        yield
    finally:
        _signals.remove(borrowed)
        borrowed.give_back()


def _expect_signal(limited: Limited) -> None:
    if not _signals or limited.next_at == math.inf or threading.current_thread() is not threading.main_thread():
        return
    at = limited.next_at + _LATE_SECONDS
    if at < _signals[-1].rings_at:
        _signals[-1].ring_at(at, every=_LATE_SECONDS)


def _alarm(frame: FrameType | None) -> None:
    """Raise in the code that runs right now, where that belongs to a task that is late."""
    limited = _limited_here.get()
    if limited is not None and not is_of_limits(frame):
        limited.raise_if_late()
