"""The records of messages, for an application to read: `TaskRecord`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from lambda_tasks.errors import LambdaTasksError
from lambda_tasks.state import opening
from lambda_tasks.state.record import Status, StoredRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambda_tasks.workflow.progress import Progress

__all__ = ["NotEnded", "Status", "TaskFailed", "TaskRecord"]

_READ_TIMEOUT_SECONDS = 10.0


class NotEnded(LambdaTasksError, TimeoutError):
    """A message did not end within the time that somebody waited for it."""


class TaskFailed(LambdaTasksError):
    """A task failed on its worker, or its message was rejected, as its record says.

    `error_type`, `error_message` and `traceback` are those of the worker's error, `message_id`, `task` and `status`
    those of the record. From Python 3.11 on the worker's traceback is shown below that of this error.
    """

    def __init__(self, record: StoredRecord) -> None:
        self.message_id = record.message_id
        self.task = record.task
        self.status = record.status
        self.error_type = record.error_type or "unknown"
        self.error_message = record.error_message or ""
        self.traceback = record.traceback or ""
        problem = f"the task {self.status}: {self.error_type}: {self.error_message}"
        super().__init__(problem, source=f"task {self.task}, message {self.message_id}")
        self._record = record
        if self.traceback:
            self.__notes__ = ["On the worker:", self.traceback.rstrip()]

    def __reduce__(self) -> tuple[type[TaskFailed], tuple[StoredRecord]]:
        """Be made of the record again, in another process."""
        return type(self), (self._record,)


class TaskRecord(StoredRecord, frozen=True):
    """The record of one message; see `StoredRecord` for its fields.

    The readers use the table that ``LAMBDA_TASKS_TABLE`` names, and raise `InvalidSetting` where there is none and
    `StateUnavailable` where it does not answer.
    """

    __repr__ = StoredRecord.__repr__

    def value(self) -> Any:  # noqa: ANN401 - whatever the task returned
        """Return what the task returned, as JSON has it: None where there is no result, or it was not kept.

        Raises:
            TaskFailed: the last attempt failed, or the message was rejected.

        """
        if self.status in (Status.FAILED, Status.REJECTED):
            raise TaskFailed(self)
        return None if self.result is None else msgspec.json.decode(self.result)

    @property
    def progress(self) -> Progress | None:
        """How far the steps of the message have come; None where it has none."""
        from lambda_tasks.workflow import progress  # noqa: PLC0415 - for messages with steps

        return progress.of_text(self.steps)

    @classmethod
    def get(cls, message_id: str) -> TaskRecord | None:
        """Return the record of a message, or None where it is unknown or its record has expired.

        One that was sent and not received yet is known where its producer records what it sends.
        """
        stored = opening.of_process().record(message_id, deadline=time.monotonic() + _READ_TIMEOUT_SECONDS)
        return None if stored is None else cls._of(stored)

    @classmethod
    def by_task(cls, name: str) -> Iterator[TaskRecord]:
        """Yield the records of the task at the dotted path `name`, the latest received first."""
        return map(cls._of, opening.of_process().records_of_task(name))

    @classmethod
    def by_status(cls, status: str) -> Iterator[TaskRecord]:
        """Yield the records with a `Status`, such as ``"failed"``, the latest received first."""
        return map(cls._of, opening.of_process().records_with_status(Status(status)))

    @classmethod
    def _of(cls, stored: StoredRecord) -> TaskRecord:
        return cls(**msgspec.structs.asdict(stored))
