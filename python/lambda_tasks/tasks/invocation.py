"""One invocation for several messages: what its threads share, and how each call and each message is accounted for."""

from __future__ import annotations

import json
import logging
import math
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, NoReturn

from lambda_tasks.errors import HardTimeLimitExceeded
from lambda_tasks.tasks import telemetry, tracing
from lambda_tasks.tasks.execution import Call
from lambda_tasks.tasks.outcome import Outcome, Result
from lambda_tasks.tasks.timeouts import UNLIMITED
from lambda_tasks.tasks.watchdog import Watchdog, answer_and_restart, can_answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambda_tasks.tasks.event import PartialBatchResponse, Record
    from lambda_tasks.tasks.interrupt import Interrupter
    from lambda_tasks.tasks.job import Job
    from lambda_tasks.tasks.plan import Lane
    from lambda_tasks.tasks.settlement import Settlement
    from lambda_tasks.tasks.timeouts import InvocationTime
    from lambda_tasks.tasks.worker import Worker

logger = logging.getLogger("lambda_tasks")


class Invocation:
    """The calls of one invocation. `has_stuck_calls` tells that a task's code could not be stopped."""

    def __init__(
        self, worker: Worker, clock: InvocationTime, settlement: Settlement, records: Sequence[Record]
    ) -> None:
        self.worker = worker
        self.time = clock
        self.settlement = settlement
        self.jobs: list[Job] = []
        self.has_stuck_calls = False
        self._records = records
        timer = worker.timer if clock.ends_at < math.inf and can_answer(worker.environ) else None
        self.watchdog: Watchdog[Call] = Watchdog(timer, clock.tasks_end_at + clock.grace_seconds, self._give_up)
        self._has_called = self._has_started = self._is_observed = False

    def run_lane(self, lane: Lane, interrupter: Interrupter) -> None:
        """Run the calls of a lane one after the other, up to the first whose messages are not all done with.

        What goes wrong in here, and not in a task, is logged: its messages have no outcome, so SQS keeps them.
        """
        try:
            for number, jobs in enumerate(lane):
                if not self._run_call(jobs, interrupter):
                    self.defer(lane[number + 1 :])
                    return
        except BaseException:  # also a time limit that arrived late
            logger.exception("a message could not be dispatched, and stays in the queue")

    @property
    def is_exhausted(self) -> bool:
        """Whether memory ran out for good, so that this process is to end with the invocation, and another to begin."""
        guard = self.worker.memory_guard
        return guard is not None and guard.is_exhausted and can_answer(self.worker.environ)

    def call(self, jobs: Sequence[Job]) -> Call:
        """Return the call for `jobs`; the first one of an invocation that can run always starts."""
        if not self._has_called:  # by now the tasks' modules are imported, and with them hooks and instrumentations
            self._has_called = True
            self._is_observed = telemetry.start_is_awaited() or tracing.is_active()
        call = Call(jobs, self.worker, self.time, is_first=not self._has_started, is_observed=self._is_observed)
        self.watchdog.enter(call)
        return call

    def started(self, call: Call) -> None:
        """Note that a task is about to be called, and when it will count as stuck."""
        self._has_started = True
        if call.limits is not UNLIMITED:
            self.watchdog.started(call, time.monotonic() + call.limits.hard + self.time.grace_seconds)

    def ended(self, call: Call) -> bool:
        """Settle the messages of a call that is over; tell whether all of them are done with."""
        self.watchdog.returned(call)
        return self._settle(call)

    def abandon(self, call: Call) -> None:
        """Settle the messages of a call that does not end, unless it just has."""
        if not call.is_over:
            call.raised(HardTimeLimitExceeded("the hard timeout passed, and the task could not be stopped"))
        self._settle(call)
        self.watchdog.leave(call)

    def defer(self, lane: Lane) -> None:
        """Defer the calls of a lane behind one that did not finish."""
        for jobs in lane:
            for job in jobs:
                self.settlement.settle(job, Result(Outcome.DEFERRED, job.task_name, visible_after_seconds=0))

    def answer(self) -> PartialBatchResponse:
        """Return the answer of the invocation, for the handler to return."""
        self.watchdog.dismiss()
        if self.is_exhausted and self.worker.memory_guard is not None:
            self.worker.memory_guard.give_up()  # again: a task of another thread may have set its limit
            logger.error("a task ran out of memory, which stays used: the runtime is started anew")
            self._answer_and_restart()
        if self.has_stuck_calls and can_answer(self.worker.environ):
            self._answer_and_restart()
        return self.settlement.response(self._records, self.jobs)

    def _settle(self, call: Call) -> bool:
        done = True
        for job in call.jobs:
            done = job.result is not None and self.settlement.settle(job, job.result) and done
        return done

    def _give_up(self) -> None:
        """Answer while a call is stuck in the main thread: that call by its timeout, the rest as deferred."""
        try:
            logger.error("a task is stuck and is ended with the runtime, at\n%s", _stack_of_main_thread())
            for call in self.watchdog.overdue():
                self.abandon(call)
            for job in self.jobs:
                result = job.result  # of a call that is over, and whose messages are on their way to be settled
                if result is None or not result.outcome.deletes_message:
                    result = Result(Outcome.DEFERRED, job.task_name, visible_after_seconds=0)
                self.settlement.settle(job, result)
            self.settlement.finish()
        finally:
            self._answer_and_restart()

    def _answer_and_restart(self) -> NoReturn:
        answer = json.dumps(self.settlement.response(self._records, self.jobs)).encode()
        deadline = self.time.deadline(time.monotonic())
        answer_and_restart(self.settlement.request_id, answer, self.worker.environ, deadline)

    def _run_call(self, jobs: Sequence[Job], interrupter: Interrupter) -> bool:
        first = jobs[0]
        if first.is_settled:
            return False  # this thread was stuck, and what it was to run next was deferred
        if first.task is not None and first.task.is_async:
            return self._run_async_call(jobs)
        if self.worker.memory_guard is not None and self.is_exhausted:
            self.defer([list(jobs)])
            return False
        call = self.call(jobs)
        try:
            if call.begin():
                self.started(call)
                call.run(interrupter)
            return self.ended(call)
        finally:
            self.watchdog.leave(call)

    def _run_async_call(self, jobs: Sequence[Job]) -> bool:
        """Run an async task among ordinary ones of its FIFO group."""
        from lambda_tasks.tasks import event_loop  # noqa: PLC0415 - asyncio, for functions with async tasks

        event_loop.run_lanes(self, [[list(jobs)]])
        return all(job.is_done_with for job in jobs)


def _stack_of_main_thread() -> str:
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    return "".join(traceback.format_stack(frame)) if frame is not None else "an unknown place"
