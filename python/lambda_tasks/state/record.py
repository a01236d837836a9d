"""The record that is kept of a message, and the ending that one attempt adds to it."""

from __future__ import annotations

import enum

import msgspec

from lambda_tasks.errors import text_of, traceback_of, type_name_of

MAX_RESULT_BYTES = 64 * 1024  # DynamoDB's items hold 400 KB, and each further KB is another write unit
MAX_ERROR_MESSAGE_BYTES = 2 * 1024
MAX_TRACEBACK_BYTES = 16 * 1024


class Status(str, enum.Enum):
    """The status of a message."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    RETRYING = "retrying"
    DEFERRED = "deferred"
    FAILED = "failed"
    REJECTED = "rejected"
    SKIPPED = "skipped"

    def __str__(self) -> str:
        return self.value


class Ending(msgspec.Struct, frozen=True):
    """The end of one attempt: its status and, where there are any, result (as JSON) and error, all of bounded size.

    ``repr`` shows neither the result nor the error's text.
    """

    status: Status
    result: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    traceback: str | None = None

    def __repr__(self) -> str:
        return _shown(self)

    @classmethod
    def of(cls, status: Status, *, value: object = None, error: BaseException | None = None) -> Ending:
        """Return the ending of an attempt that returned `value`, raised `error`, or did neither.

        A value that JSON cannot hold, or of more than `MAX_RESULT_BYTES`, is not kept; long errors are shortened.
        """
        result = _as_json(value)
        if error is None:
            return cls(status, result)
        return cls(
            status,
            result,
            error_type=type_name_of(error),
            error_message=_bounded(text_of(error), MAX_ERROR_MESSAGE_BYTES),
            traceback=_bounded_from_its_end(traceback_of(error), MAX_TRACEBACK_BYTES),
        )


class StoredRecord(msgspec.Struct, frozen=True):
    """The record of one message, as a store keeps it. Times are in epoch seconds; `result` is JSON.

    `task` is empty where the message names none. `attempts` counts the executions that started;
    `finished_at` is when the last one ended, and `result` and the error are what it ended with. ``repr`` shows neither
    the result nor the error's text.
    """

    message_id: str
    task: str
    status: Status
    attempts: int
    first_received_at: float
    started_at: float
    finished_at: float | None = None
    first_failed_at: float | None = None
    result: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    traceback: str | None = None

    def __repr__(self) -> str:
        return _shown(self)


def _shown(of: Ending | StoredRecord) -> str:
    """Return the repr of a record or an ending, without the fields that may hold private data."""
    fields = [name for name in of.__struct_fields__ if name not in ("result", "error_message", "traceback")]
    return f"{type(of).__name__}({', '.join(f'{name}={getattr(of, name)!r}' for name in fields)})"


def _as_json(value: object) -> str | None:
    if value is None:
        return None
    try:
        encoded = msgspec.json.encode(value)
    except Exception:  # noqa: BLE001 - a result that cannot be kept must not fail the task that returned it
        return None
    return encoded.decode() if len(encoded) <= MAX_RESULT_BYTES else None


def _bounded(text: str, max_bytes: int) -> str:
    return text.encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")


def _bounded_from_its_end(text: str, max_bytes: int) -> str:
    return text.encode("utf-8", "replace")[-max_bytes:].decode("utf-8", "ignore")
