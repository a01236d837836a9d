"""The order of a FIFO queue's message groups, across everything that polls it.

SQS hides a group while one of its messages is in flight. It shows the group again when the visibility timeout ends,
also where the function still runs: so the pollers of this machine wait for each other.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lambda_tasks.local.queue import Message


class MessageGroups:
    """The message groups that are in hand: an invocation has messages of theirs. Usable from several threads."""

    def __init__(self) -> None:
        self._in_hand: set[str] = set()
        self._finished: set[str] = set()
        self._changed = threading.Condition()

    @contextmanager
    def in_hand(self, messages: Sequence[Message]) -> Iterator[list[Message]]:
        """Wait until none of the messages' groups is in hand, then have them in hand within the ``with`` block.

        It gives the messages that were not finished meanwhile. Messages without a group wait for nobody.
        """
        groups = {group for message in messages if (group := _group(message))}
        with self._changed:
            self._changed.wait_for(lambda: not groups & self._in_hand)
            self._in_hand |= groups
            # One that was shown again while its batch was gathered is in it twice; the last receipt counts.
            left = {one["MessageId"]: one for one in messages if one["MessageId"] not in self._finished}
        try:
            yield list(left.values())
        finally:
            with self._changed:
                self._in_hand -= groups
                self._changed.notify_all()

    def finish(self, messages: Sequence[Message]) -> None:
        """Note that messages are done with: another delivery of theirs is not to run."""
        with self._changed:
            self._finished.update(message["MessageId"] for message in messages if _group(message))


def _group(message: Message) -> str | None:
    """Return a message's group on a FIFO queue; those of fair queues, which give no order, have no sequence number."""
    attributes = message.get("Attributes", {})
    group: str | None = attributes.get("MessageGroupId") if "SequenceNumber" in attributes else None
    return group
