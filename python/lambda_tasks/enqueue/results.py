"""The results of one ``enqueue_many``: a message id or an error for each message, in 17 bytes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, overload

from lambda_tasks.enqueue.message_id import MessageId
from lambda_tasks.errors import EnqueueFailed

if TYPE_CHECKING:
    from lambda_tasks.errors import LambdaTasksError

_RECORD_BYTES = 17  # a kind, and the 16 bytes of a UUID or the number of a text or an error
_UNKNOWN, _UUID, _TEXT, _ERROR = range(4)


class Entry(NamedTuple):
    """The result of one message: its message id, or the error that kept it from being enqueued."""

    message_id: MessageId | None
    error: LambdaTasksError | None = None


class Enqueued(Sequence[Entry]):
    """The results of one ``enqueue_many``, an `Entry` for each of the kwargs, in order.

    `sent` and `failed` count them.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.failed = 0
        self._errors: list[LambdaTasksError] = []
        self._error_numbers: dict[tuple[type, str], int] = {}
        self._texts: list[str] = []
        self._records = bytearray()

    def record(self, index: int, result: str | LambdaTasksError) -> None:
        """Note the message id, or the error, of the entry at `index`."""
        if isinstance(result, str):
            self.sent += 1
            self._write(index, *self._packed_id(result))
        else:
            self.failed += 1
            self._write(index, _ERROR, self._number(result))

    def raise_for_errors(self) -> Enqueued:
        """Return this object, where every message was enqueued.

        Raises:
            EnqueueFailed: some were not. The first one's error is its cause.

        """
        for index, error in self.failures():
            problem = f"{self.failed} of {len(self)} messages were not enqueued, the first is entry {index}: {error}"
            raise EnqueueFailed(problem) from error
        return self

    def failures(self) -> Iterator[tuple[int, LambdaTasksError]]:
        """Yield index and error of each entry that was not enqueued."""
        if self.failed:
            for index, entry in enumerate(self):
                if entry.error is not None:
                    yield index, entry.error

    def __len__(self) -> int:
        return len(self._records) // _RECORD_BYTES

    @overload
    def __getitem__(self, index: int) -> Entry: ...

    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...

    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError("there is no such entry")
        start = position * _RECORD_BYTES
        return self._unpacked(bytes(self._records[start : start + _RECORD_BYTES]))

    def __repr__(self) -> str:
        return f"<Enqueued: {self.sent} sent, {self.failed} failed>"

    def _write(self, index: int, kind: int, value: bytes) -> None:
        start = index * _RECORD_BYTES
        self._records.extend(bytes(max(0, start + _RECORD_BYTES - len(self._records))))
        self._records[start : start + _RECORD_BYTES] = bytes([kind]) + value

    def _packed_id(self, message_id: str) -> tuple[int, bytes]:
        try:
            value = uuid.UUID(message_id)
        except ValueError:
            value = None
        if value is not None and str(value) == message_id:
            return _UUID, value.bytes
        self._texts.append(message_id)
        return _TEXT, (len(self._texts) - 1).to_bytes(16, "big")

    def _number(self, error: LambdaTasksError) -> bytes:
        key = type(error), str(error)
        if key not in self._error_numbers:  # the same number for equal errors
            self._error_numbers[key] = len(self._errors)
            self._errors.append(error)
        return self._error_numbers[key].to_bytes(16, "big")

    def _unpacked(self, record: bytes) -> Entry:
        kind, value = record[0], record[1:]
        if kind == _UUID:
            return Entry(MessageId(uuid.UUID(bytes=value)))
        if kind == _TEXT:
            return Entry(MessageId(self._texts[int.from_bytes(value, "big")]))
        if kind == _ERROR:
            return Entry(None, self._errors[int.from_bytes(value, "big")])
        return Entry(None, EnqueueFailed("the message was not sent"))
