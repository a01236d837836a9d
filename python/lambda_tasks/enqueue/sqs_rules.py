"""The rules by which SQS takes messages, without an SQS: for tests.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from lambda_tasks import settings
from lambda_tasks.aws import calls
from lambda_tasks.enqueue import offloading
from lambda_tasks.enqueue.schedule import MAX_INPUT_BYTES
from lambda_tasks.errors import EnqueueFailed
from lambda_tasks.messages.payload import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from typing import Protocol

    from lambda_tasks.aws.queue_address import QueueAddress
    from lambda_tasks.enqueue.outgoing import Outgoing

    class Record(Protocol):
        """The taking of a message, which returns its id."""

        def __call__(self, message: Outgoing, /, *, is_fifo: bool) -> str: ...


class SqsRules:
    """The rules of the queues that this process's environment names, and what their FIFO queues have had.

    Unless each queue `must_be_named`, an environment that names none at all has any queue, of any kind.
    """

    def __init__(self, *, must_be_named: bool) -> None:
        self._must_be_named = must_be_named
        self._taken: dict[tuple[str, str], str] = {}

    def queue_of(self, name: str) -> QueueAddress | None:
        """Return the queue that tasks call `name`; None where its kind is not known.

        Raises:
            InvalidSetting: the queue's URL is not set.

        """
        current = settings.current()
        if not current.queue_urls and not self._must_be_named:
            return None
        return calls.queue_at(current.queue_url(name))

    def take(self, message: Outgoing, record: Record) -> str:
        """Have a message recorded that its queue would take, and return its id, or that of the one that it repeats.

        Raises:
            InvalidSetting: as `queue_of`.
            InvalidTask: the queue is FIFO, and the message has no group, or a delay.
            EnqueueFailed: the queue is not FIFO, and the message has a deduplication ID.
            MessageTooLarge: it is, and there is no bucket for payloads.

        """
        queue = self.queue_of(message.queue)
        _check(message, queue)
        deduplication_id = _deduplication_id(message, queue)
        if deduplication_id is None:
            return record(message, is_fifo=False)
        key = message.queue, deduplication_id
        if key not in self._taken:
            self._taken[key] = record(message, is_fifo=True)
        return self._taken[key]

    def forget(self) -> None:
        """Forget what the queues have had."""
        self._taken.clear()


def _check(message: Outgoing, queue: QueueAddress | None) -> None:
    is_scheduled = False
    if queue is not None:
        due = message.due(queue)
        is_scheduled = due is None
        (due or message).request(queue)
        if message.deduplication_id is not None and not queue.is_fifo:
            remedy = "leave deduplication_id out, or use a FIFO queue"
            problem = "a queue that is not FIFO takes no deduplication ID"
            raise EnqueueFailed(problem, source=f"task {message.task_name}, queue {queue.url}", remedy=remedy)
    offloading.check(message, MAX_INPUT_BYTES // 2 if is_scheduled else MAX_MESSAGE_BYTES, settings.current())


def _deduplication_id(message: Outgoing, queue: QueueAddress | None) -> str | None:
    """Return the id that all but the first of equal messages are dropped by; None where a queue delivers each.

    A FIFO queue is taken to have content-based deduplication: without that, it refuses what has no id.
    """
    if message.deduplication_id is not None or queue is None or not queue.is_fifo:
        return message.deduplication_id
    return hashlib.sha256(message.body.encode()).hexdigest()
