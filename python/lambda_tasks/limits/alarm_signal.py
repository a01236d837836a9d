"""The alarm signal of a process, ``SIGALRM`` with its timer, which several may want at a time.

There is one of it. A task that is enqueued within another one, and runs there at once, has limits of its own within
those of the other; and a task may have set an alarm itself.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # it is what `signal` is made of, in every CPython
import math
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

SOON_SECONDS = 0.001
_NEVER = math.inf

# What ``signal.signal`` calls: that itself makes enumerations of its arguments, which takes as long as half a message.
_handle, _ALARM = _signal.signal, int(signal.SIGALRM)
_get_timer, _set_timer, _REAL = signal.getitimer, signal.setitimer, signal.ITIMER_REAL


class AlarmSignal:
    """The signal on loan: `handler` is called when it rings for this borrower. Only the main thread can borrow it.

    Meanwhile it rings for whoever had it before as well, by their own handler and when they had set it to. It
    `is_taken` until it is given back.
    """

    def __init__(self, handler: Callable[[FrameType | None], object]) -> None:
        self._handler = handler
        self._at = self._theirs_at = math.inf
        self._every = 0.0
        self.is_taken = False

    def take(self) -> None:
        """Borrow the signal."""
        self._note_theirs()
        self._theirs = _handle(_ALARM, self._ring)
        self.is_taken = True
        if self._theirs_at < math.inf:
            self._set()

    def give_back(self) -> None:
        """Give the signal back, with what is left until it rings for them."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.is_taken = False
        _handle(_ALARM, self._theirs)
        if self._theirs_at < math.inf:
            left = self._theirs_at - time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, max(left, SOON_SECONDS), self._their_every)

    def ring_at(self, at: float, *, every: float = 0.0) -> None:
        """Ring at `at`, a reading of ``time.monotonic``, and from then on `every` so many seconds unless that is 0."""
        self._at, self._every = at, every
        self._set()

    def ring_in(self, seconds: float, now: float) -> None:
        """Ring once, `seconds` after `now`, which is what ``time.monotonic`` says.

        A timer that is set already, for a call before, is left as it is where it rings no later than `SOON_SECONDS`
        after that: it is set anew then. To look costs a third of setting it.
        """
        self._at, self._every = now + seconds, 0.0
        if self._theirs_at != _NEVER:
            self._set()
        elif not 0.0 < _get_timer(_REAL)[0] <= seconds + SOON_SECONDS:
            _set_timer(_REAL, max(SOON_SECONDS, seconds))

    @property
    def rings_at(self) -> float:
        """When it rings next for this borrower; infinite for never."""
        return self._at

    def _set(self) -> None:
        at = min(self._at, self._theirs_at)
        seconds = max(at - time.monotonic(), SOON_SECONDS) if at < math.inf else 0
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def _ring(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic() + SOON_SECONDS / 2
        if now >= self._theirs_at:
            self._pass_on(number, frame)
        if now >= self._at:
            self._at = now + self._every if self._every else math.inf
            self._set()
            self._handler(frame)
        else:
            self._set()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """Let it ring for them. Their handler may raise, and may set the timer anew."""
        signal.setitimer(signal.ITIMER_REAL, self._their_every, self._their_every)
        try:
            if callable(self._theirs):
                self._theirs(number, frame)
        finally:
            self._note_theirs()
            self._set()

    def _note_theirs(self) -> None:
        seconds, self._their_every = signal.setitimer(signal.ITIMER_REAL, 0)
        self._theirs_at = time.monotonic() + seconds if seconds else math.inf


def is_of_limits(frame: FrameType | None) -> bool:
    """Tell whether the code that a signal interrupts is that which surrounds a task, and not the task's own."""
    return frame is not None and frame.f_globals.get("__package__") == __package__
