"""Which messages go into one SendMessageBatch: at most ten, and at most 1 MiB of them together."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lambda_tasks.tasks.outgoing import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lambda_tasks.tasks.outgoing import Outgoing

MAX_ENTRIES = 10


class Numbered(NamedTuple):
    """A message, and which of all of them it is."""

    number: int
    message: Outgoing


def batches(messages: Iterable[Numbered]) -> Iterator[list[Numbered]]:
    """Yield the messages in batches, in order, each as soon as nothing more fits into it."""
    batch: list[Numbered] = []
    batch_bytes = 0
    for one in messages:
        size_bytes = one.message.size_bytes
        if batch and batch_bytes + size_bytes > MAX_MESSAGE_BYTES:
            yield batch
            batch, batch_bytes = [], 0
        batch.append(one)
        batch_bytes += size_bytes
        if len(batch) == MAX_ENTRIES:
            yield batch
            batch, batch_bytes = [], 0
    if batch:
        yield batch
