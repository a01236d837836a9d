"""Raise the time limits inside a running task: by signal in the main thread, by asynchronous exception in others.

A signal also wakes a task that waits in a system call, such as ``time.sleep`` or ``recv``. An asynchronous exception
is raised when the thread next runs Python code. Neither ends C code that does not return: the watchdog is for that.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from typing import TYPE_CHECKING, Protocol, TypeVar

from lambda_tasks.errors import HardTimeLimitExceeded, SoftTimeLimitExceeded

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from lambda_tasks.tasks.timeouts import Limits
    from lambda_tasks.tasks.timer import Timer

T = TypeVar("T")

_SOON_SECONDS = 0.001


class Interrupter(Protocol):
    """Run something within limits."""

    def run(self, limits: Limits, call: Callable[[], T]) -> T:
        """Return what `call` returns, or raise what it raises: when time is up, the limit's error.

        Raises:
            SoftTimeLimitExceeded: inside of `call`, which may catch it.
            HardTimeLimitExceeded: inside of `call`, after the hard limit.

        """
        ...


class SignalInterrupter:
    """In the main thread, by ``SIGALRM``, for as long as the ``with`` block lasts. It restores the handler after that.

    The hard limit is raised again after half of `grace_seconds`, because Python drops what is raised in a finalizer.
    """

    def __init__(self, grace_seconds: float) -> None:
        self._repeat_seconds = max(grace_seconds / 2, _SOON_SECONDS)
        self._soft_at = self._hard_at = math.inf
        self._armed = False
        self._is_installed = False

    def __enter__(self) -> SignalInterrupter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_installed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._previous)

    def run(self, limits: Limits, call: Callable[[], T]) -> T:
        """See `Interrupter.run`."""
        seconds = min(limits)
        if seconds == math.inf:
            return call()
        if not self._is_installed:
            self._previous = signal.signal(signal.SIGALRM, self._alarm)
            self._is_installed = True
        now = time.monotonic()
        self._soft_at, self._hard_at = now + limits.soft, now + limits.hard
        self._armed = True
        signal.setitimer(signal.ITIMER_REAL, max(seconds, _SOON_SECONDS))
        try:
            return call()
        finally:
            self._armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _alarm(self, _number: int, frame: FrameType | None) -> None:
        if not self._armed:
            return
        if frame is not None and frame.f_code.co_filename == __file__:
            signal.setitimer(signal.ITIMER_REAL, _SOON_SECONDS)  # the task is not entered yet, or left already
            return
        now = time.monotonic() + _SOON_SECONDS / 2
        if now >= self._hard_at:
            signal.setitimer(signal.ITIMER_REAL, self._repeat_seconds)
            raise HardTimeLimitExceeded
        if now >= self._soft_at:
            self._soft_at = math.inf
            signal.setitimer(signal.ITIMER_REAL, max(self._hard_at - now, _SOON_SECONDS))
            raise SoftTimeLimitExceeded
        signal.setitimer(signal.ITIMER_REAL, max(min(self._soft_at, self._hard_at) - now, _SOON_SECONDS))


class ThreadInterrupter:
    """In any thread, by an asynchronous exception that the timer's thread sets."""

    def __init__(self, timer: Timer) -> None:
        self._timer = timer

    def run(self, limits: Limits, call: Callable[[], T]) -> T:
        """See `Interrupter.run`."""
        now = time.monotonic()
        target = _Target()
        errors: tuple[tuple[float, type[BaseException]], ...] = (
            (limits.soft, SoftTimeLimitExceeded),
            (limits.hard, HardTimeLimitExceeded),
        )
        alarms = [
            self._timer.at(now + seconds, lambda error=error: target.interrupt(error))  # type: ignore[misc]
            for seconds, error in errors
            if seconds < math.inf
        ]
        try:
            try:
                return call()
            finally:
                target.leave_for_certain()
        finally:
            target.leave_for_certain()  # again, where an error arrived on the way to the first one
            for alarm in alarms:
                alarm.cancel()


class _Left(BaseException):
    """Raised in place of a limit that the thread has not seen yet, once the task is over."""


class _Target:
    """The thread that runs a task, for as long as it does."""

    def __init__(self) -> None:
        self._thread_id = threading.get_ident()
        self._lock = threading.Lock()
        self._is_running = True
        self._was_interrupted = False

    def interrupt(self, error: type[BaseException]) -> None:
        with self._lock:
            if self._is_running:
                self._was_interrupted = True
                _set_asynchronous_exception(self._thread_id, error)

    def leave_for_certain(self) -> None:
        """Be interrupted no more; an error that arrives right now is too late to matter.

        An error that may still be pending is replaced by one that is caught here. Taking it back instead (an exception
        of NULL) would leave CPython up to 3.12 looking for it for ever: slowly, and under a tracer without an end.
        """
        while self._is_running or self._was_interrupted:
            try:
                with self._lock:
                    self._is_running = False
                if self._was_interrupted:
                    _set_asynchronous_exception(self._thread_id, _Left)
                    while True:  # it is raised at one of the next instructions
                        pass
            except (SoftTimeLimitExceeded, HardTimeLimitExceeded):
                continue
            except _Left:
                self._was_interrupted = False


def _set_asynchronous_exception(thread_id: int, error: type[BaseException]) -> None:
    """Raise `error` in a thread when it next runs Python code, in place of one that was not raised yet.

    Source: https://docs.python.org/3/c-api/threads.html#c.PyThreadState_SetAsyncExc
    """
    import ctypes  # noqa: PLC0415 - only where tasks run in threads

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(error))
