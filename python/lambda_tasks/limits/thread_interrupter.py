"""The interrupter of any thread, which raises the time limits inside a running task by asynchronous exception.

The exception is raised when the thread next runs Python code: not in a system call, nor in C code that does not return.
"""

from __future__ import annotations

import ctypes
import functools
import math
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from lambda_tasks.errors import HardTimeLimitExceeded, SoftTimeLimitExceeded
from lambda_tasks.limits import forks
from lambda_tasks.limits.signal_interrupter import NONE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lambda_tasks.limits.timeouts import Limits
    from lambda_tasks.limits.timer import Timer

T = TypeVar("T")

# The turns that a thread takes before an exception that was set in it has certainly arrived.
_TURNS = 3


class ThreadInterrupter:
    """An interrupter of any thread, by an asynchronous exception that the timer's thread sets."""

    def __init__(self, timer: Timer) -> None:
        self._timer = timer

    def run(self, limits: Limits, call: Callable[..., T], kwargs: Mapping[str, Any] = NONE) -> T:
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
                return forks.run(
                    functools.partial(call, **kwargs)
                )  # a copy has no timer's thread, and its lock may never be released there
            finally:
                target.leave_for_certain()
        finally:
            target.leave_for_certain()  # again, where an error arrived on the way to the first one
            for alarm in alarms:
                alarm.cancel()

    def close(self) -> None:
        """See `Interrupter.close`. The timer is the process's."""


class _Target:
    """The thread that runs a task, for as long as it does."""

    def __init__(self) -> None:
        self._thread_id = threading.get_ident()
        self._lock = threading.Lock()
        self._is_running = True
        self._was_interrupted = False

    def interrupt(self, error: type[BaseException]) -> None:
        """Raise `error` in the thread when it next runs Python code.

        Source: https://docs.python.org/3/c-api/threads.html#c.PyThreadState_SetAsyncExc
        """
        with self._lock:
            if self._is_running:
                self._was_interrupted = True
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread_id), ctypes.py_object(error))

    def leave_for_certain(self) -> None:
        """Be interrupted no more. An error that is still on its way arrives in here: it is too late to matter.

        If it were taken back, Python 3.11 would look for it at every turn, and never find that there is none.
        """
        while True:
            try:
                with self._lock:
                    self._is_running = False
                if self._was_interrupted:
                    for _ in range(_TURNS):
                        time.sleep(0)
            except (SoftTimeLimitExceeded, HardTimeLimitExceeded):
                continue
            return
