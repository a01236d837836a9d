"""Raise the time limits inside a running task: in the main thread by signal.

A signal also wakes a task that waits in a system call, such as ``time.sleep`` or ``recv``. It does not end C code that
does not return: the watchdog is for that.
"""

from __future__ import annotations

import math
import signal
import time
from typing import TYPE_CHECKING, Protocol, TypeVar

from lambda_tasks.errors import HardTimeLimitExceeded, SoftTimeLimitExceeded

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from lambda_tasks.limits.timeouts import Limits

T = TypeVar("T")

_SOON_SECONDS = 0.001


class Interrupter(Protocol):
    """A way to raise the limits' errors inside of a running task."""

    def run(self, limits: Limits, call: Callable[[], T]) -> T:
        """Return what `call` returns, or raise what it raises: when time is up, the limit's error.

        Raises:
            SoftTimeLimitExceeded: inside of `call`, which may catch it.
            HardTimeLimitExceeded: inside of `call`, after the hard limit.

        """
        ...


class SignalInterrupter:
    """An interrupter of the main thread, by ``SIGALRM``. The handler of the signal `is_installed` with the first limit.

    The hard limit is raised again after half of `grace_seconds`, because Python drops what is raised in a finalizer.
    """

    def __init__(self, grace_seconds: float) -> None:
        self._repeat_seconds = max(grace_seconds / 2, _SOON_SECONDS)
        self._soft_at = self._hard_at = math.inf
        self._armed = False
        self.is_installed = False

    def close(self) -> None:
        """Stop the timer, and restore the signal's handler."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._previous)
        self.is_installed = False

    def run(self, limits: Limits, call: Callable[[], T]) -> T:
        """See `Interrupter.run`."""
        seconds = min(limits.soft, limits.hard)
        if seconds == math.inf:
            return call()
        if not self.is_installed:
            self._previous = signal.signal(signal.SIGALRM, self._alarm)
            self.is_installed = True
        now = time.monotonic()
        self._soft_at, self._hard_at = now + limits.soft, now + limits.hard
        self._armed = True
        _ring_in(seconds)
        try:
            return call()
        finally:
            self._armed = False  # the timer may ring once more, to no effect: another system call would stop it

    def _alarm(self, _number: int, frame: FrameType | None) -> None:
        if not self._armed:
            return
        if frame is not None and frame.f_code.co_filename == __file__:
            _ring_in(_SOON_SECONDS)  # the task is not entered yet, or left already
            return
        now = time.monotonic() + _SOON_SECONDS / 2
        if now >= self._hard_at:
            _ring_in(self._repeat_seconds)
            raise HardTimeLimitExceeded
        if now >= self._soft_at:
            self._soft_at = math.inf
            _ring_in(self._hard_at - now)
            raise SoftTimeLimitExceeded
        _ring_in(min(self._soft_at, self._hard_at) - now)


def _ring_in(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, max(seconds, _SOON_SECONDS) if seconds < math.inf else 0)
