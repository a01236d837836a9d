"""The records of messages, for an application to read: `TaskRecord`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from lambda_tasks.state import opening
from lambda_tasks.state.record import Status, StoredRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Status", "TaskRecord"]

_READ_TIMEOUT_SECONDS = 10.0


class TaskRecord(StoredRecord, frozen=True):
    """The record of one message; see `StoredRecord` for its fields.

    The readers use the table that ``LAMBDA_TASKS_TABLE`` names, and raise `InvalidSetting` where there is none and
    `StateUnavailable` where it does not answer.
    """

    __repr__ = StoredRecord.__repr__

    @classmethod
    def get(cls, message_id: str) -> TaskRecord | None:
        """Return the record of a message, or None: it was not received yet, or its record has expired."""
        stored = opening.of_process().record(message_id, deadline=time.monotonic() + _READ_TIMEOUT_SECONDS)
        return None if stored is None else cls._of(stored)

    @classmethod
    def by_task(cls, name: str) -> Iterator[TaskRecord]:
        """Yield the records of the task at the dotted path `name`, those first received last first."""
        return map(cls._of, opening.of_process().records_of_task(name))

    @classmethod
    def by_status(cls, status: str) -> Iterator[TaskRecord]:
        """Yield the records with a `Status`, such as ``"failed"``, those first received last first."""
        return map(cls._of, opening.of_process().records_with_status(Status(status)))

    @classmethod
    def _of(cls, stored: StoredRecord) -> TaskRecord:
        return cls(**msgspec.structs.asdict(stored))
