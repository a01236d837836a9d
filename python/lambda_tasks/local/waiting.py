"""Messages that failed and stay in their queue, until SQS shows them again or the function's code is mended."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from lambda_tasks.local.mapping.event_source_mapping import Batch
from lambda_tasks.local.queue import Message, Queue


class WaitingMessages:
    """The failed messages of one function. Usable from several threads.

    They are hidden for their visibility timeout, or for the backoff that the function chose. On AWS that protects the
    services that a task calls. On this machine a change of code ends the wait.
    """

    def __init__(self) -> None:
        self._messages: dict[str, tuple[Queue, Message]] = {}
        self._changes = 0
        self._lock = threading.Lock()

    @property
    def changes(self) -> int:
        """How often the code has changed."""
        with self._lock:
            return self._changes

    @property
    def message_ids(self) -> frozenset[str]:
        """The ids of those that wait now."""
        with self._lock:
            return frozenset(self._messages)

    def begin(self, message_ids: Iterable[str]) -> None:
        """Note that messages are run again."""
        with self._lock:
            for message_id in message_ids:
                self._messages.pop(message_id, None)

    def note(self, queue: Queue, batch: Batch, changes: int) -> None:
        """Note which messages of a batch failed. `changes` is the number of changes when its poll began."""
        with self._lock:
            failed = [(queue, message) for message in batch.messages if message["MessageId"] in batch.failed]
            is_mended = changes != self._changes
            if not is_mended:
                self._messages.update((one[1]["MessageId"], one) for one in failed)
        if is_mended:  # the code that they failed with is gone
            _show(failed)

    def release(self) -> int:
        """Show all of them at once, since the code has changed; return how many there were."""
        with self._lock:
            self._changes += 1
            released, self._messages = list(self._messages.values()), {}
        _show(released)
        return len(released)


def _show(messages: Iterable[tuple[Queue, Message]]) -> None:
    for queue, message in messages:
        queue.show(message)
