"""The interrupter of the main thread, which raises the time limits inside a running task by signal.

A signal also wakes a task that waits in a system call, such as ``time.sleep`` or ``recv``. It does not end C code that
does not return: the watchdog is for that.
"""

from __future__ import annotations

import math
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lambda_tasks.errors import HardTimeLimitExceeded, SoftTimeLimitExceeded
from lambda_tasks.limits.alarm_signal import SOON_SECONDS, AlarmSignal, is_of_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from lambda_tasks.limits.timeouts import Limits

T = TypeVar("T")

_NEVER = math.inf

NONE: Mapping[str, Any] = MappingProxyType({})


class Interrupter(Protocol):
    """A way to raise the limits' errors inside of a running task."""

    def run(self, limits: Limits, call: Callable[..., T], kwargs: Mapping[str, Any] = NONE) -> T:
        """Return what `call` returns with `kwargs`, or raise what it raises: when time is up, the limit's error.

        Raises:
            SoftTimeLimitExceeded: inside of `call`, which may catch it.
            HardTimeLimitExceeded: inside of `call`, after the hard limit.

        """
        ...

    def close(self) -> None:
        """Give back what was borrowed to raise the limits."""
        ...


class SignalInterrupter:
    """An interrupter of the main thread, by ``SIGALRM``, which it borrows with the first limit until it is closed.

    The hard limit is raised again after half of `grace_seconds`, because Python drops what is raised in a finalizer.
    """

    def __init__(self, grace_seconds: float) -> None:
        self._repeat_seconds = max(grace_seconds / 2, SOON_SECONDS)
        self._soft_at = self._hard_at = math.inf
        self._armed = False
        self._signal = AlarmSignal(self._alarm)

    def close(self) -> None:
        """See `Interrupter.close`. Without a limit nothing was borrowed."""
        if self._signal.is_taken:
            self._signal.give_back()

    def run(self, limits: Limits, call: Callable[..., T], kwargs: Mapping[str, Any] = NONE) -> T:
        """See `Interrupter.run`."""
        soft, hard = limits.soft, limits.hard
        seconds = soft if soft < hard else hard  # noqa: FURB136 - half the price, for every message
        if seconds == _NEVER:
            return call(**kwargs)
        alarm = self._signal
        if not alarm.is_taken:
            alarm.take()
        now = time.monotonic()
        self._soft_at, self._hard_at = now + soft, now + hard
        self._armed = True
        alarm.ring_in(seconds, now)  # for each call, whatever a task before did to the timer
        try:
            return call(**kwargs)
        finally:
            self._armed = False  # the timer may ring once more, to no effect: another system call would stop it

    def _alarm(self, frame: FrameType | None) -> None:
        if not self._armed:
            return
        now = time.monotonic()
        if is_of_limits(frame):
            self._signal.ring_at(now + SOON_SECONDS)  # the task is not entered yet, or left already
            return
        now += SOON_SECONDS / 2
        if now >= self._hard_at:
            self._signal.ring_at(now + self._repeat_seconds)
            raise HardTimeLimitExceeded
        if now >= self._soft_at:
            self._soft_at = math.inf
            self._signal.ring_at(self._hard_at)
            raise SoftTimeLimitExceeded
        self._signal.ring_at(min(self._soft_at, self._hard_at))
