"""A timer, which calls back at set times, in one thread that sleeps in between."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from typing import TYPE_CHECKING

from lambda_tasks import after_fork

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("lambda_tasks")

_numbers = itertools.count()


class Alarm:
    """One callback to come. Alarms compare by when they are due."""

    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback: Callable[[], None] | None = callback
        self._number = next(_numbers)

    def __lt__(self, other: Alarm) -> bool:
        return (self.due, self._number) < (other.due, other._number)

    def cancel(self) -> None:
        """Prevent the callback, unless it runs right now."""
        self.callback = None


class Timer:
    """Alarms of this process. `due` is a reading of ``time.monotonic``; callbacks must be short and must not raise.

    Where no thread can be started, nothing rings until one can: the next alarm tries again.
    """

    _FEW = 64

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._alarms: list[Alarm] = []
        self._most = self._FEW
        self._wakes_at = 0.0
        self._is_started = False
        after_fork.register(self)

    def let_go_after_fork(self) -> None:
        """Forget the alarms and the thread, which are the parent's."""
        self._changed, self._alarms = threading.Condition(), []
        self._wakes_at, self._is_started = 0.0, False

    def at(self, due: float, callback: Callable[[], None]) -> Alarm:
        """Call `callback` in the timer's thread when it is `due`."""
        alarm = Alarm(due, callback)
        self.start()
        with self._changed:
            if len(self._alarms) >= self._most:
                self._alarms = [one for one in self._alarms if one.callback is not None]
                heapq.heapify(self._alarms)
                self._most = max(self._FEW, 2 * len(self._alarms))
            heapq.heappush(self._alarms, alarm)
            if due < self._wakes_at:
                self._changed.notify()
        return alarm

    def start(self) -> bool:
        """Start the timer's thread unless there is one, and tell whether there is."""
        if not self._is_started:
            try:
                threading.Thread(target=self._run, name="lambda-tasks-timer", daemon=True).start()
                self._is_started = True
            except (RuntimeError, MemoryError):
                logger.warning("no thread can be started for the timer: limits that need it are not kept")
        return self._is_started

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                if not self._alarms or self._alarms[0].due > now:
                    self._wakes_at = self._alarms[0].due if self._alarms else float("inf")
                    self._changed.wait(self._wakes_at - now if self._alarms else None)
                    continue
                callback = heapq.heappop(self._alarms).callback
            if callback is not None:
                callback()
