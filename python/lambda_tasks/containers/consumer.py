"""The consumer of one process: messages of a queue, by the dispatcher of functions, in the place of Lambda's poller.

One thread receives, one deletes, one keeps messages invisible, and the others run tasks: the first of these is the main
thread, whose tasks can be stopped in system calls too.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from lambda_tasks.aws.transport import CallFailed
from lambda_tasks.containers.deleting import Deleting
from lambda_tasks.containers.held import Held
from lambda_tasks.containers.pace import Pace
from lambda_tasks.dispatch import dispatcher, rescue
from lambda_tasks.dispatch.invocation import Invocation
from lambda_tasks.limits.watchdog import Watchdog
from lambda_tasks.messages.outcome import DRAINED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lambda_tasks.containers.source import Received, Source
    from lambda_tasks.containers.worker import HoldingWorker

logger = logging.getLogger("lambda_tasks")

# SQS keeps a message invisible for 12 h from its receipt, and no longer.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
LONGEST_SECONDS = 12 * 3600
_SETTLING_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 30.0
STUCK_STATUS = 1


class UnitContext:
    """The context object of one unit of messages, in the place of Lambda's: it may run as long as SQS keeps them."""

    def __init__(self, received_at: float, visibility_seconds: float) -> None:
        self._ends_at = received_at + LONGEST_SECONDS - visibility_seconds
        self.aws_request_id = str(uuid.uuid4())

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds that are left."""
        return max(0, int((self._ends_at - time.monotonic()) * 1000))


class Unit:
    """A unit is the messages that a thread runs as one invocation."""

    invocation: Invocation | None = None
    is_over = False

    def __init__(self, messages: Sequence[Received], received_at: float) -> None:
        self.messages = messages
        self.handles = [one.handle for one in messages]
        self.received_at = received_at


class Consumer:
    """A consumer of `source` with `concurrency` threads for tasks.

    `make_worker` gives each of them a worker of its own. `tick` is called about once a second while the consumer is
    well. `end` ends the process where a task does not end by itself.
    """

    def __init__(
        self,
        source: Source,
        make_worker: Callable[[Held], HoldingWorker],
        *,
        concurrency: int,
        batch_size: int,
        grace_seconds: float,
        end: Callable[[int], Any],
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._source = source
        self._make_worker = make_worker
        self._grace_seconds = grace_seconds
        self._end = end
        self._held = Held(source, tick)
        self._deleting = Deleting(source, self._held)
        self._pace = Pace(batch_size)
        self._changed = threading.Condition()
        self._stopping = False
        self._is_receiving = True
        self._wanted = self._threads = concurrency  # units that the threads could take now
        self._waiting: list[Unit] = []
        self._running: set[Unit] = set()

    def run(self) -> None:
        """Consume until `stop`, and return when all that was begun is settled."""
        self._held.start()
        self._deleting.start()
        first, *others = [self._make_worker(self._held) for _ in range(self._threads)]
        for other in others:
            other.notices = first.notices  # a flood is one of the process, and not of each thread
        threading.Thread(target=self._receive, name="lambda-tasks-receiving", daemon=True).start()
        for worker in others:
            threading.Thread(target=self._work, args=[worker], name="lambda-tasks-worker", daemon=True).start()
        self._work(first)
        with self._changed:
            self._changed.wait_for(lambda: self._is_idle)  # `drain` puts an end to it
        self._end_receiving()
        self._deleting.finish(_SETTLING_SECONDS)
        self._held.end()

    def stop(self) -> None:
        """Receive nothing more."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def drain(self, status: int = 0) -> None:
        """Stop, and give what runs the time of grace; then give back what it did not finish, and end the process."""
        self.stop()
        with self._changed:
            if self._changed.wait_for(lambda: self._is_idle, self._grace_seconds):
                return
        self._end_receiving()
        with self._changed:
            running = list(self._running)
        count = sum(len(one.handles) for one in running)
        logger.warning("%d messages did not finish in time, and are given back", count)
        self._give_back_waiting()
        for unit in running:
            self._put_off(unit)
        self._deleting.finish(_SETTLING_SECONDS)
        self._end(status)

    def _end_receiving(self) -> None:
        """Wait for the poll that is under way: what is given back before its end, it would receive again."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_receiving, self._source.poll_seconds)

    def _give_back_waiting(self) -> None:
        with self._changed:
            waiting, self._waiting = self._waiting, []
        for unit in waiting:
            self._held.let_go(unit.handles)
            self._source.give_back(unit.handles)

    @property
    def _is_idle(self) -> bool:
        return self._stopping and not self._running and not self._waiting

    def _receive(self) -> None:
        try:
            failures = 0
            while (limit := self._limit()) > 0:
                asked_at = time.monotonic()
                try:
                    messages = self._source.receive(limit)
                    failures = 0
                except Exception as error:
                    failures += 1
                    if failures == 1:
                        logger.warning(
                            "no messages can be received: %s", error, exc_info=not isinstance(error, CallFailed)
                        )
                    with self._changed:
                        pause = min(2.0 ** (failures - 1), _LONGEST_PAUSE_SECONDS)
                        self._changed.wait_for(lambda: self._stopping, pause)
                    continue
                if messages:
                    self._hand_over(messages, asked_at)
        finally:
            with self._changed:
                self._is_receiving = False
                self._changed.notify_all()

    def _limit(self) -> int:
        """Wait until a thread could take messages, and return how many to receive; 0 for no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._wanted > 0)
            return 0 if self._stopping else self._wanted * self._pace.at_a_time

    def _hand_over(self, messages: Sequence[Received], asked_at: float) -> None:
        self._held.add([one.handle for one in messages], asked_at)
        units = [Unit(one, asked_at) for one in self._pace.units(messages, is_fifo=self._source.is_fifo)]
        with self._changed:
            is_late = self._stopping
            if not is_late:
                self._wanted -= len(units)
                self._waiting += units
                self._changed.notify_all()
        if is_late:
            handles = [one.handle for one in messages]
            self._held.let_go(handles)
            self._source.give_back(handles)

    def _work(self, worker: HoldingWorker) -> None:
        try:
            while (unit := self._next()) is not None:
                self._run_unit(unit, worker)
        finally:
            worker.close()

    def _next(self) -> Unit | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            if not self._waiting:
                return None
            unit = self._waiting.pop(0)
            self._running.add(unit)
            if self._pace.is_fast:
                self._want(unit)
            return unit

    def _want(self, unit: Unit) -> None:
        """Have another unit received in the place of this one."""
        if not unit.is_over:
            unit.is_over = True
            self._wanted += 1
            self._changed.notify_all()

    def _run_unit(self, unit: Unit, worker: HoldingWorker) -> None:
        context = UnitContext(unit.received_at, self._source.visibility_seconds)
        invocation = unit.invocation = Invocation(worker, [one.record for one in unit.messages], context, rescue.rescue)
        clock = invocation.time
        invocation.watchdog = Watchdog(
            worker.timer, clock.tasks_end_at + clock.grace_seconds, functools.partial(self._end_stuck, unit)
        )
        started_at = time.monotonic()
        try:
            dispatcher.run(invocation)
        except BaseException:
            logger.exception("messages could not be dispatched, and stay in the queue")
        self._settled(unit)
        with self._changed:
            self._pace.note(len(unit.messages), time.monotonic() - started_at)
            self._running.discard(unit)
            self._want(unit)
            self._changed.notify_all()

    def _settled(self, unit: Unit) -> None:
        """Have the messages deleted that are done with, and hold none of the others."""
        jobs = unit.invocation.jobs if unit.invocation is not None else ()
        done = [job.receipt_handle for job in jobs if job.is_done_with and job.receipt_handle is not None]
        self._held.forget(set(unit.handles).difference(done))
        self._deleting.add(done)

    def _put_off(self, unit: Unit) -> None:
        try:
            if unit.invocation is not None:
                rescue.put_off(unit.invocation, DRAINED)
        except Exception:
            logger.exception("messages could not be given back, and are visible after the visibility timeout")
        self._settled(unit)

    def _end_stuck(self, unit: Unit) -> None:
        """End the process, since one of its tasks does not: its message by the timeout, the rest as they can."""
        logger.error("a task is stuck and is ended with its process")
        self.stop()
        watchdog = unit.invocation.watchdog if unit.invocation is not None else None
        for call in watchdog.overdue() if watchdog is not None else ():
            call.abandon()
        self._end_receiving()
        self._put_off(unit)
        self._give_back_waiting()
        with self._changed:
            self._running.discard(unit)
            self._changed.notify_all()
        self.drain(STUCK_STATUS)
        self._deleting.finish(_SETTLING_SECONDS)
        self._end(STUCK_STATUS)
