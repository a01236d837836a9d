"""The records of messages that were sent, for as long as nobody has received them.

They tell a message that waits from one that is unknown. A message counts as sent without one: what the table does not
take is missing there, and no more. After a failure the table is left alone for a while.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from lambda_tasks import after_fork
from lambda_tasks.errors import LambdaTasksError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import ThreadPoolExecutor

    from typing_extensions import Self

    from lambda_tasks.aws.queue_address import QueueAddress
    from lambda_tasks.settings import Settings
    from lambda_tasks.state.protocol import Queued

logger = logging.getLogger("lambda_tasks")

_TIMEOUT_SECONDS = 2.0
_PAUSE_SECONDS = 60.0
_PER_CALL = 25
_THREADS = 2
_WAITING_CALLS = 2 * _THREADS

_pauses_until = 0.0


def are_recorded(settings: Settings) -> bool:
    """Tell whether messages that are sent now are to be recorded."""
    return settings.table is not None and settings.record_enqueued and time.monotonic() >= _pauses_until


def record(message_ids: Sequence[str], task: str, queue: QueueAddress) -> None:
    """Record messages of `task` that `queue` took just now, where the table takes them."""
    from lambda_tasks.state import opening  # noqa: PLC0415 - for producers with a table
    from lambda_tasks.state.protocol import Queued  # noqa: PLC0415

    global _pauses_until
    now, name = time.time(), queue.url.rpartition("/")[2]
    messages: list[Queued] = [Queued(message_id, task, name, now) for message_id in message_ids]
    try:
        opening.of_process().queued(messages, deadline=time.monotonic() + _TIMEOUT_SECONDS)
    except LambdaTasksError as error:
        _pauses_until = time.monotonic() + _PAUSE_SECONDS
        logger.warning("what is sent in the next %d s has no record until it is received: %s", _PAUSE_SECONDS, error)


class Recording:
    """The recording of many messages of one task, in batches, beside their sending. Usable from several threads."""

    def __init__(self, task: str, queue: QueueAddress, settings: Settings) -> None:
        self._task = task
        self._queue = queue
        self._settings = settings
        # Of a database each thread would have a connection of its own; and one statement takes many rows.
        self._has_database = settings.record_database is not None
        self._waiting: list[str] = []
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(_WAITING_CALLS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._has_database:
            if self._waiting and are_recorded(self._settings):
                record(self._waiting, self._task, self._queue)
            return
        self._give(self._waiting)
        if self._pool is not None:
            self._pool.shutdown()

    def add(self, message_id: str) -> None:
        """Take a message that was sent. It is recorded before the end of the ``with`` block."""
        with self._lock:
            self._waiting.append(message_id)
            if len(self._waiting) < _PER_CALL or self._has_database:
                return
            message_ids, self._waiting = self._waiting, []
        self._give(message_ids)

    def _give(self, message_ids: list[str]) -> None:
        if not message_ids or not are_recorded(self._settings):
            return
        self._room.acquire()
        with self._lock:
            future = self._threads().submit(record, message_ids, self._task, self._queue)
        future.add_done_callback(lambda _: self._room.release())

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - for many messages

            self._pool = ThreadPoolExecutor(_THREADS, "lambda-tasks-queued", after_fork.note_thread)
        return self._pool
