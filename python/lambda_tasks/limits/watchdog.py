"""Watch the calls of an invocation, and have it rescued where a task is stuck.

No limit can be raised in C code that does not return. The watchdog runs in the timer's thread, so it needs C code that
lets other threads run; where C code keeps the interpreter's lock, nothing of this process runs until Lambda kills it.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_tasks.limits.timer import Alarm, Timer

C = TypeVar("C")


class Watchdog(Generic[C]):
    """The watchdog of one invocation, which it rescues when all calls that are left are stuck, or time is up.

    Only one of the watchdog and the handler answers. A call is under way from before its leases are taken until its
    messages are settled, and can be stuck only while its task runs: the process must not end between an effect and its
    record. Without a `timer` there is no rescue.
    """

    def __init__(self, timer: Timer | None, ends_at: float, rescue: Callable[[], object]) -> None:
        self.stands_back = False  # while the stuck are left behind, and others take their place
        self._timer = timer
        self._ends_at = ends_at
        self._rescue: Callable[[], object] | None = rescue
        self._scheduled_at = math.inf if timer is not None else -math.inf
        self._alarms: list[Alarm] = []
        self._calls: dict[C, tuple[float, int]] = {}
        self._is_rescuing = False
        self._lock = threading.Lock()
        self._schedule()

    def enter(self, call: C) -> None:
        """Expect `call`, which is about to be prepared. Its task is not to run where this does not return."""
        if self._timer is not None or self.stands_back:
            self._note(call, math.inf)

    def started(self, call: C, stuck_at: float) -> None:
        """Count the call as stuck if its task still runs at `stuck_at`. It is not to run where this does not return."""
        if self._timer is not None or self.stands_back:
            self._note(call, stuck_at)

    def returned(self, call: C) -> None:
        """Count the call as stuck no more: its task is over, and its messages are about to be settled."""
        if call in self._calls:
            self._note(call, math.inf)

    def leave(self, call: C) -> None:
        """Forget the call: its messages are settled."""
        if call in self._calls:
            with self._lock:
                self._calls.pop(call, None)
                if self._calls:
                    self._schedule()

    def overdue(self) -> dict[C, int]:
        """Return the calls that count as stuck, with the thread that each of them runs in."""
        now = time.monotonic()
        with self._lock:
            return {call: thread_id for call, (stuck_at, thread_id) in self._calls.items() if stuck_at <= now}

    def dismiss(self) -> None:
        """Stop watching: the handler answers. Where the watchdog is about to, wait for the end of the process."""
        with self._lock:
            if not self._is_rescuing:
                self._rescue = None
                for alarm in self._alarms:
                    alarm.cancel()  # a timer that holds them would hold the invocation's messages
                return
        _wait_for_the_end()

    def _note(self, call: C, stuck_at: float) -> None:
        with self._lock:
            if not self._is_rescuing:
                self._calls[call] = stuck_at, threading.get_ident()
                if stuck_at < self._scheduled_at:
                    self._schedule()
                return
        _wait_for_the_end()

    def _schedule(self) -> None:
        due = self._due
        if self._timer is not None and self._rescue is not None and due < self._scheduled_at:
            self._scheduled_at = due
            self._alarms.append(self._timer.at(due, self._check))

    @property
    def _due(self) -> float:
        if self.stands_back or not self._calls:
            return self._ends_at
        return min(max(stuck_at for stuck_at, _ in self._calls.values()), self._ends_at)

    def _check(self) -> None:
        with self._lock:
            if self._rescue is None:
                return
            if time.monotonic() < self._due:
                self._scheduled_at = math.inf
                self._schedule()
                return
            rescue, self._rescue, self._is_rescuing = self._rescue, None, True
        rescue()


def _wait_for_the_end() -> NoReturn:
    """Wait until the watchdog, which answers in another thread, ends this process."""
    while True:
        signal.pause() if threading.current_thread() is threading.main_thread() else time.sleep(1)
