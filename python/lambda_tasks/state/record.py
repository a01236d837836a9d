"""What became of a message: the record that is kept of it, and what one attempt adds to it."""

from __future__ import annotations

import enum
import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambda_tasks.state.protocol import State

MAX_RESULT_BYTES = 64 * 1024  # DynamoDB's items hold 400 KB, and each further KB is another write unit
MAX_ERROR_MESSAGE_BYTES = 2 * 1024
MAX_TRACEBACK_BYTES = 16 * 1024

_READ_TIMEOUT_SECONDS = 10.0


class Status(str, enum.Enum):
    """Where a message stands. Only one that succeeded never runs again."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    RETRYING = "retrying"
    DEFERRED = "deferred"
    FAILED = "failed"
    REJECTED = "rejected"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Ending:
    """How one attempt ended: its status and, where there are any, result (as JSON) and error, all of bounded size."""

    status: Status
    result: str | None = field(default=None, repr=False)
    error_type: str | None = None
    error_message: str | None = field(default=None, repr=False)
    traceback: str | None = field(default=None, repr=False)

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
            error_type=type(error).__qualname__,
            error_message=_bounded(_text_of(error), MAX_ERROR_MESSAGE_BYTES),
            traceback=_bounded_from_its_end(_traceback_of(error), MAX_TRACEBACK_BYTES),
        )


@dataclass(frozen=True)
class TaskRecord:
    """What is known of one message. Times are in epoch seconds; `result` is JSON.

    `task` is empty where the message names none. `attempts` counts the executions that started, and rejections;
    `finished_at` is when the last one ended, and `result` and the error are what it ended with. The readers use the
    table that ``LAMBDA_TASKS_TABLE`` names, and raise `InvalidSetting` where there is none and `StateUnavailable`
    where it does not answer.
    """

    message_id: str
    task: str
    status: Status
    attempts: int
    first_received_at: float
    started_at: float
    finished_at: float | None = None
    first_failed_at: float | None = None
    result: str | None = field(default=None, repr=False)
    error_type: str | None = None
    error_message: str | None = field(default=None, repr=False)
    traceback: str | None = field(default=None, repr=False)

    @classmethod
    def get(cls, message_id: str) -> TaskRecord | None:
        """Return the record of a message, or None: it was not received yet, or its record has expired."""
        return _state().record(message_id, deadline=time.monotonic() + _READ_TIMEOUT_SECONDS)

    @classmethod
    def by_task(cls, name: str) -> Iterator[TaskRecord]:
        """Yield the records of the task at the dotted path `name`, those first received last first."""
        return _state().records_of_task(name)

    @classmethod
    def by_status(cls, status: str) -> Iterator[TaskRecord]:
        """Yield the records with a `Status`, such as ``"failed"``, those first received last first."""
        return _state().records_with_status(Status(status))


def _state() -> State:
    from lambda_tasks.state import opening  # noqa: PLC0415 - opening a table is no part of describing a record

    return opening.of_process()


def _as_json(value: object) -> str | None:
    if value is None:
        return None
    try:
        encoded = msgspec.json.encode(value)
    except Exception:  # noqa: BLE001 - a result that cannot be kept must not fail the task that returned it
        return None
    return encoded.decode() if len(encoded) <= MAX_RESULT_BYTES else None


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - an error's own __str__ may raise
        return f"(its __str__ raised {type(broken).__name__})"


def _traceback_of(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception as broken:  # noqa: BLE001
        return f"(formatting it raised {type(broken).__name__})"


def _bounded(text: str, max_bytes: int) -> str:
    return text.encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")


def _bounded_from_its_end(text: str, max_bytes: int) -> str:
    return text.encode("utf-8", "replace")[-max_bytes:].decode("utf-8", "ignore")
