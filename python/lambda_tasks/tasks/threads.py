"""Run lanes in several threads, and leave a thread behind whose task cannot be stopped.

What the threads are going to need is imported here, and made before they start: they would do both at the same time.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from lambda_tasks.tasks import batch, claims, dead_letter, sqs
from lambda_tasks.tasks.interrupt_thread import ThreadInterrupter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambda_tasks.tasks.invocation import Invocation
    from lambda_tasks.tasks.plan import Lane

__all__ = ["batch", "claims", "dead_letter", "run_lanes", "sqs"]

_CHECK_SECONDS = 0.1


def run_lanes(invocation: Invocation, lanes: Sequence[Lane], size: int) -> None:
    """Run all lanes, in up to `size` threads at a time; return when each message has an outcome."""
    invocation.worker.prepare_for_threads()
    _Pool(invocation, lanes).run(size)


class _Pool:
    """The threads of one invocation, with the lane that each runs, and the lanes that none has taken yet."""

    def __init__(self, invocation: Invocation, lanes: Sequence[Lane]) -> None:
        self._invocation = invocation
        self._waiting = list(reversed(lanes))
        self._changed = threading.Condition()
        self._working: dict[threading.Thread, Lane] = {}

    def run(self, size: int) -> None:
        self._invocation.watchdog.stands_back = True
        for _ in range(min(size, len(self._waiting))):
            self._start_thread()
        with self._changed:
            while self._working:
                self._changed.wait(_CHECK_SECONDS)
                self._leave_stuck_ones_behind()
        self._invocation.watchdog.stands_back = False

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name="lambda-tasks", daemon=True)
        self._working[thread] = []
        thread.start()

    def _work(self) -> None:
        interrupter = ThreadInterrupter(self._invocation.worker.timer)
        this = threading.current_thread()
        while True:
            with self._changed:
                if not self._waiting or this not in self._working:
                    self._working.pop(this, None)
                    self._changed.notify()
                    return
                lane = self._working[this] = self._waiting.pop()
            self._invocation.run_lane(lane, interrupter)

    def _leave_stuck_ones_behind(self) -> None:
        for call, thread_id in self._invocation.watchdog.overdue().items():
            self._invocation.has_stuck_calls = True
            self._invocation.abandon(call)
            lane = next((self._working.pop(thread) for thread in list(self._working) if thread.ident == thread_id), [])
            self._invocation.defer(lane)
            if self._waiting:
                self._start_thread()
