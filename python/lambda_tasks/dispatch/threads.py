"""Run lanes in several threads, and leave a thread behind whose task cannot be stopped.

Where fewer threads can be started than are asked for, these run all lanes, and without any the calling one does.

The modules that the threads need are imported here, and shared objects are made before they start: otherwise they would
do both at the same time.
"""

from __future__ import annotations

import logging
import math
import threading
from typing import TYPE_CHECKING

from lambda_tasks.definition import batch
from lambda_tasks.dispatch import lanes, leases, source_queue
from lambda_tasks.limits.thread_interrupter import ThreadInterrupter
from lambda_tasks.limits.watchdog import Watchdog
from lambda_tasks.messages import dead_letter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambda_tasks.dispatch.invocation import Invocation
    from lambda_tasks.dispatch.plan import Lane

__all__ = ["batch", "dead_letter", "leases", "run_lanes", "source_queue"]

logger = logging.getLogger("lambda_tasks")

_CHECK_SECONDS = 0.1


def run_lanes(every: Sequence[Lane], invocation: Invocation, size: int) -> None:
    """Run all lanes, in up to `size` threads at a time; return when each message has an outcome."""
    invocation.worker.prepare_for_threads()
    if not invocation.worker.timer.start():  # without it no thread could be interrupted
        lanes.run_all(every, invocation)
        return
    left = _Pool(every, invocation).run(size)
    if left:
        lanes.run_all(left, invocation)


class _Pool:
    """The threads of one invocation, with the lane that each runs, and the lanes that none has taken yet."""

    def __init__(self, every: Sequence[Lane], invocation: Invocation) -> None:
        self._invocation = invocation
        if invocation.watchdog is None:
            invocation.watchdog = Watchdog(None, math.inf, lambda: None)
        self._watchdog = invocation.watchdog
        self._waiting = list(reversed(every))
        self._changed = threading.Condition()
        self._working: dict[threading.Thread, Lane] = {}

    def run(self, size: int) -> list[Lane]:
        """Run the lanes, and return those that are left because there was no thread for them."""
        self._watchdog.stands_back = True
        for _ in range(min(size, len(self._waiting))):
            if not self._start_thread():
                break
        with self._changed:
            while self._working:
                self._changed.wait(_CHECK_SECONDS)
                self._leave_stuck_ones_behind()
        self._watchdog.stands_back = False
        return list(reversed(self._waiting))

    def _start_thread(self) -> bool:
        thread = threading.Thread(target=self._work, name="lambda-tasks", daemon=True)
        with self._changed:
            self._working[thread] = []
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            with self._changed:
                del self._working[thread]
            logger.warning("no more threads can be started: those that there are run all messages")
            return False
        return True

    def _work(self) -> None:
        interrupter = ThreadInterrupter(self._invocation.worker.timer)
        this = threading.current_thread()
        while (lane := self._next_lane(this)) is not None:
            lanes.run_lane(lane, self._invocation, interrupter)
        application = self._invocation.worker.application
        if application is not None:
            application.close_connections()
        with self._changed:
            self._working.pop(this, None)
            self._changed.notify()

    def _next_lane(self, thread: threading.Thread) -> Lane | None:
        with self._changed:
            if not self._waiting or thread not in self._working:
                return None
            lane = self._working[thread] = self._waiting.pop()
            return lane

    def _leave_stuck_ones_behind(self) -> None:
        for call, thread_id in self._watchdog.overdue().items():
            self._invocation.has_stuck_calls = True
            call.abandon()
            lane = next((self._working.pop(thread) for thread in list(self._working) if thread.ident == thread_id), [])
            self._invocation.settlement.defer(lane)
            if self._waiting:
                self._start_thread()
