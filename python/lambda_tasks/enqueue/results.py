"""The results of one ``enqueue_many``: a message id or an error for each message, in 17 bytes, and its text."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, overload

from lambda_tasks.enqueue.message_id import MessageId
from lambda_tasks.errors import EnqueueFailed, LambdaTasksError

if TYPE_CHECKING:
    from typing import TypeAlias

    # An error's class and its parts but the problem: few are different.
    Kind: TypeAlias = tuple[type[LambdaTasksError], str | None, str | None, str | None]

_RECORD_BYTES = 17  # a kind, and the 16 bytes of a UUID, or of the place of a text
_UNKNOWN, _UUID, _TEXT, _ERROR = range(4)
_PLACE_BYTES = (4, 4, 8)  # number of the error's kind, size and start of the text
_MOST_CHARACTERS = 200
_MOST_REMEMBERED = 256


class Entry(NamedTuple):
    """The result of one message: its message id, or the error that kept it from being enqueued."""

    message_id: MessageId | None
    error: LambdaTasksError | None = None


class Enqueued(Sequence[Entry]):
    """The results of one ``enqueue_many``, an `Entry` for each of the kwargs that were taken, in order.

    `sent` and `failed` count them. Errors are kept as their texts, without tracebacks and causes.
    """

    def __init__(self) -> None:
        self.sent = 0
        self._lock = threading.Lock()
        self._records = bytearray()
        self._texts = bytearray()
        self._kinds: dict[Kind, int] = {}
        self._places: dict[tuple[int, bytes], bytes] = {}  # of texts that may come again
        self._shown: dict[bytes, LambdaTasksError] = {}

    @property
    def failed(self) -> int:
        """The number of messages that were not enqueued, or not for certain."""
        return len(self) - self.sent

    def expect(self, index: int) -> None:
        """Note that there is a message at `index`. It counts as failed until its result is recorded."""
        with self._lock:
            self._records.extend(bytes(max(0, (index + 1) * _RECORD_BYTES - len(self._records))))

    def record(self, index: int, result: str | LambdaTasksError) -> None:
        """Note the message id, or the error, of the entry at `index`. Usable from several threads."""
        self.expect(index)
        start = index * _RECORD_BYTES
        with self._lock:
            self.sent -= self._records[start] in (_UUID, _TEXT)
            kind, value = self._packed_id(result) if isinstance(result, str) else (_ERROR, self._packed_error(result))
            self.sent += kind != _ERROR
            self._records[start : start + _RECORD_BYTES] = bytes([kind]) + value

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

    def _packed_id(self, message_id: str) -> tuple[int, bytes]:
        try:
            value = uuid.UUID(message_id)
        except ValueError:
            value = None
        if value is not None and str(value) == message_id:
            return _UUID, value.bytes
        return _TEXT, self._kept(0, message_id.encode("utf-8", "surrogatepass"))

    def _packed_error(self, error: LambdaTasksError) -> bytes:
        kind: Kind = type(error), error.variable, error.source, error.remedy and _short(error.remedy)
        number = self._kinds.setdefault(kind, len(self._kinds))
        text = _short(error.problem).encode("utf-8", "replace")
        if (number, text) not in self._places:
            if len(self._places) >= _MOST_REMEMBERED:
                self._places.clear()
            self._places[number, text] = self._kept(number, text)
        return self._places[number, text]

    def _kept(self, number: int, text: bytes) -> bytes:
        place = number, len(text), len(self._texts)
        self._texts += text
        return b"".join(value.to_bytes(size, "big") for value, size in zip(place, _PLACE_BYTES, strict=True))

    def _unpacked(self, record: bytes) -> Entry:
        kind, value = record[0], record[1:]
        if kind == _UUID:
            return Entry(MessageId(uuid.UUID(bytes=value)))
        if kind == _TEXT:
            return Entry(MessageId(self._text_at(value).decode("utf-8", "surrogatepass")))
        if record not in self._shown:  # the same object for equal errors
            if len(self._shown) >= _MOST_REMEMBERED:
                self._shown.clear()
            self._shown[record] = self._error_at(value) if kind == _ERROR else _unknown()
        return Entry(None, self._shown[record])

    def _text_at(self, place: bytes) -> bytes:
        size, start = int.from_bytes(place[4:8], "big"), int.from_bytes(place[8:], "big")
        return bytes(self._texts[start : start + size])

    def _error_at(self, place: bytes) -> LambdaTasksError:
        number = int.from_bytes(place[:4], "big")
        error_type, variable, source, remedy = next(itertools.islice(self._kinds, number, None))
        error = error_type.__new__(error_type)
        problem = self._text_at(place).decode()
        LambdaTasksError.__init__(error, problem, variable=variable, source=source, remedy=remedy)
        return error


def _short(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "…"


def _unknown() -> EnqueueFailed:
    return EnqueueFailed("the call ended before SQS said that it took the message")
