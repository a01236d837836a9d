"""The pool of processes that run messages on this machine: one for an application, and for all that it leads to.

The application's process keeps the messages. What its workers enqueue while they run a message, and what its forked
copies enqueue, is handed over to it (`handover`), so that there are never more processes than the pool has places. What
is still waiting when the application ends is run before it does; what cannot be run any more is told.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import os
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from lambda_tasks import after_fork
from lambda_tasks.errors import EnqueueFailed
from lambda_tasks.limits import forks
from lambda_tasks.limits.timer import Timer
from lambda_tasks.local.workers import handover
from lambda_tasks.local.workers.worker import LocalMessage, LocalWorker

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_tasks.messages.sqs_event import Record

logger = logging.getLogger("lambda_tasks")

# Further tries are part of what is due when the application ends, as far as they do not keep it for long.
_RETRIES_AT_THE_END_SECONDS = 10.0
_DEFERRAL_SECONDS = 30.0  # in place of a queue's visibility timeout
_MOST_STARTS = 3  # of a worker, for one message


def submit(record: Record, delay_seconds: float) -> None:
    """Have the message in `record` run after a delay, by the pool of this process or of the one that it belongs to.

    Raises:
        EnqueueFailed: there is no such pool any more, or none can be started.

    """
    if _own.is_over:
        raise EnqueueFailed("the application has ended", source="local mode", remedy="enqueue before it does")
    pool = _own.pool
    if pool is None or not pool.is_of_this_process:
        address = pool.address if pool is not None else handover.address()
        if address and handover.hand_over(address, record, delay_seconds):
            return
        if handover.is_worker:
            remedy = "it takes what its workers enqueue: keep it running"
            raise EnqueueFailed("the application of this local worker has ended", source="local mode", remedy=remedy)
        pool = _own.started()
    message = LocalMessage(record)
    pool.add(message, delay_seconds)
    if forks.number and not delay_seconds:
        message.was_taken.wait()  # a copy may end without what is to be done at the end of a process


def serve(is_over: threading.Event) -> None:
    """Run what other processes of this project enqueue, until `is_over`, and then what is due."""
    pool = _own.started()
    with handover.announced(pool.address):
        logger.info("%d local workers take what this project's processes enqueue", pool.count)
        is_over.wait()
    wait()


def wait() -> None:
    """Wait until everything that is due has run, and end the workers; the next message starts new ones."""
    pool = _own.pool
    if pool is not None and pool.is_of_this_process:
        pool.close()
        _own.pool = None


class _Own:
    """The pool of this process, from its first message on, or, in a copy of a process, that of the original."""

    def __init__(self) -> None:
        self.pool: Pool | None = None
        self.is_over = False
        self._starting = threading.Lock()
        after_fork.register(self)

    def started(self) -> Pool:
        """Return the pool of this process, and wait for what it has at the end."""
        with self._starting:
            if self.pool is None or not self.pool.is_of_this_process:
                self.pool = Pool(max(2, os.cpu_count() or 1))
                atexit.unregister(self._end)
                atexit.register(self._end)
                _call_with_multiprocessing(self._end)
            return self.pool

    def let_go_after_fork(self) -> None:
        """Let go of what keeps the original's workers waiting for more."""
        self._starting = threading.Lock()
        if self.pool is not None:
            self.pool.forget()

    def _end(self) -> None:
        """Wait, and take no more: nothing that is started now would be waited for."""
        wait()
        self.is_over = True


_own = _Own()
_timer = Timer()


def _call_with_multiprocessing(end: Callable[[], None]) -> None:
    """Call `end` at the end of a process of `multiprocessing` too, which does nothing of `atexit`."""
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        from multiprocessing.util import Finalize  # noqa: PLC0415

        Finalize(None, end, exitpriority=0)


class Pool:
    """A pool is a few threads, each with a process from its first message on, and the messages that wait for them."""

    def __init__(self, count: int) -> None:
        self._process_id = os.getpid()
        self._changed = threading.Condition()
        self._due: deque[LocalMessage | None] = deque()
        self._later: dict[int, LocalMessage] = {}
        self._numbers = itertools.count()
        self._unfinished = 0  # due, or running
        self._ends_at: float | None = None  # a reading of ``time.monotonic``
        self._listener = handover.Listener(lambda record, delay: self.add(LocalMessage(record), delay))
        self._workers = [LocalWorker(self._listener.address) for _ in range(count)]
        self._is_closed = False
        # All threads now: at the end of an interpreter none can be started.
        _timer.start()
        self._listener.start()
        for worker in self._workers:
            threading.Thread(target=self._run, args=[worker], name="lambda-tasks-local", daemon=True).start()

    @property
    def is_of_this_process(self) -> bool:
        """Whether this process has made the pool, and is no copy of the one that did."""
        return self._process_id == os.getpid()

    @property
    def count(self) -> int:
        """The number of workers."""
        return len(self._workers)

    @property
    def address(self) -> str:
        """The address at which the pool takes messages of other processes."""
        return self._listener.address

    def add(self, message: LocalMessage, delay_seconds: float) -> None:
        """Have `message` run after a delay, unless the application ends before.

        Raises:
            EnqueueFailed: the pool is closed.

        """
        with self._changed:
            if self._is_closed:
                raise EnqueueFailed("the local workers have ended", source=str(message), remedy="enqueue it again")
            if delay_seconds <= 0:
                self._due.append(message)
                self._unfinished += 1
            elif self._is_too_late(message, delay_seconds):
                _tell_dropped([message])
            else:
                number = next(self._numbers)
                self._later[number] = message
                _timer.at(time.monotonic() + delay_seconds, lambda: self._become_due(number))
            self._changed.notify_all()

    def close(self) -> None:
        """Wait for what is due, and end the processes."""
        with self._changed:
            self._ends_at = time.monotonic() + _RETRIES_AT_THE_END_SECONDS
            self._drop([number for number, message in self._later.items() if not message.is_retry])
            try:
                while self._unfinished or (self._later and time.monotonic() < self._ends_at):
                    self._changed.wait(None if self._unfinished else self._ends_at - time.monotonic())
            finally:  # also where the waiting is interrupted
                self._is_closed = True
                self._drop(list(self._later))
                _tell_dropped([message for message in self._due if message is not None])
                self._due = deque([None] * len(self._workers))
                self._changed.notify_all()
        self._listener.close()
        for worker in self._workers:
            worker.has_ended.wait()

    def forget(self) -> None:
        """Close this copy's ends of what leads to the workers of the original, and let nothing wait for them here."""
        self._listener.forget()
        for worker in self._workers:
            worker.forget()

    def _become_due(self, number: int) -> None:
        with self._changed:
            message = self._later.pop(number, None)
            if message is not None:
                self._due.append(message)
                self._unfinished += 1
            self._changed.notify_all()

    def _is_too_late(self, message: LocalMessage, delay_seconds: float) -> bool:
        if self._ends_at is None:
            return False
        return not message.is_retry or time.monotonic() + delay_seconds > self._ends_at

    def _drop(self, numbers: list[int]) -> None:
        _tell_dropped([self._later.pop(number) for number in numbers])

    def _run(self, worker: LocalWorker) -> None:
        """Run messages one after the other in the worker's process."""
        while True:
            with self._changed:
                while not self._due:
                    self._changed.wait()
                message = self._due.popleft()
            if message is None:
                break
            try:
                self._run_one(worker, message)
            except Exception:
                logger.exception("%s is dropped: its local worker cannot be used", message)
            with self._changed:
                self._unfinished -= 1
                self._changed.notify_all()
        worker.end()

    def _run_one(self, worker: LocalWorker, message: LocalMessage) -> None:
        for _ in range(_MOST_STARTS):
            answer = worker.run(message)
            if answer is not None:
                break
            if message.was_taken.is_set():
                logger.error("a local worker ended while it ran a message, which is dropped: %s", message)
                return
        else:
            logger.error("%s is dropped: %d local workers ended before they took it", message, _MOST_STARTS)
            message.was_taken.set()
            return
        if answer["outcome"] in ("retrying", "deferred"):
            seconds = answer["seconds"]
            self.add(message.again(), _DEFERRAL_SECONDS if seconds is None else seconds)


def _tell_dropped(messages: list[LocalMessage]) -> None:
    delayed = [message for message in messages if not message.is_retry]
    retries = [message for message in messages if message.is_retry]
    with contextlib.suppress(ValueError):  # of a log that is closed by now
        if delayed:
            logger.warning("%d delayed messages are dropped: the application ends before they are due", len(delayed))
        for message in retries:
            logger.warning("%s is dropped: the application ends before its next try", message)
