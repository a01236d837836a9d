"""Rows of records: what a row says of a message, and what is written into one."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from lambda_tasks.django.models import MAX_NAME_CHARACTERS, MAX_TASK_CHARACTERS, TaskRecord
from lambda_tasks.django.moments import epoch_of
from lambda_tasks.state import history
from lambda_tasks.state.record import Status, StoredRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambda_tasks.state.protocol import Queued
    from lambda_tasks.state.record import Ending

Row = dict[str, Any]

_MOMENTS = ("queued_at", "first_received_at", "started_at", "finished_at", "first_failed_at")
_AS_THEY_ARE = tuple(name for name in StoredRecord.__struct_fields__ if name not in (*_MOMENTS, "history", "status"))
COLUMNS = (*_AS_THEY_ARE, *_MOMENTS, "status", "history")
LEASE_COLUMNS = (
    "version",
    "status",
    "attempts",
    "finished_at",
    "first_failed_at",
    "error_type",
    "error_message",
    "history",
    "expires_at",
    "lease_owner",
    "lease_until",
    "is_final",
    "letter_sent_at",
    "letter_until",
    "steps",
    "turn_at",
)
# What the last attempt left. Another one begins without it.
OF_AN_ENDING = ("result", "error_type", "error_class", "error_message", "traceback", "reason", "duplicate_of")
_LONGEST = {
    field.name: field.max_length or MAX_NAME_CHARACTERS
    for field in TaskRecord._meta.concrete_fields
    if field.max_length is not None
}


def as_record(row: Mapping[str, Any]) -> StoredRecord:
    """Return the record that a row holds."""
    times = {name: epoch_of(row[name]) for name in _MOMENTS}
    times["started_at"] = times["started_at"] or 0
    return StoredRecord(
        **{name: row[name] for name in _AS_THEY_ARE},
        **times,  # type: ignore[arg-type] # the first of them is in every row
        status=Status(row["status"]),
        history=history.read(entries(row)),
    )


def entries(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the entries of a row's history."""
    return tuple(json.loads(row["history"] or "[]"))


def history_of(texts: Sequence[str]) -> str:
    """Return entries as a row has them: the last of them, and one for the attempt that runs."""
    return json.dumps(list(texts[-history.MAX_ATTEMPTS - 1 :]))


def texts(given: Mapping[str, str | None]) -> Row:
    """Return values as every database takes them: as long as the columns are, and of characters that there are."""
    return {name: None if value is None else cut(value, _LONGEST.get(name)) for name, value in given.items()}


def key(message_id: str) -> str:
    """Return the id of a message as a row has it: anybody may have sent one of any characters."""
    return cut(message_id, MAX_NAME_CHARACTERS)


def cut(text: str, max_characters: int | None = None) -> str:
    """Return `text` without what PostgreSQL and others refuse, and of at most `max_characters`."""
    if "\0" in text:
        text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode("utf-8", "replace").decode()[:max_characters]


def queued_row(message: Queued, record_ttl_seconds: float) -> TaskRecord:
    """Return the row of a message that was sent."""
    return TaskRecord(
        message_id=key(message.message_id),
        task=cut(message.task, MAX_TASK_CHARACTERS),
        status=Status.QUEUED.value,
        queued_at=message.queued_at,
        first_received_at=message.queued_at,
        expires_at=expiry(max(message.queued_at, message.due_at), record_ttl_seconds),
        **texts({"queue": message.queue, "replay_of": message.replay_of or None, "request": message.request or None}),
    )


def ended(ending: Ending, now: float) -> Row:
    """Return what the end of an attempt writes: all that it has, and nothing of the one before."""
    row: Row = texts({name: getattr(ending, name) for name in OF_AN_ENDING})
    if ending.steps is not None:
        row["steps"] = cut(ending.steps)
    return {
        **row,
        "status": ending.status.value,
        "finished_at": now,
        "lease_until": None,
        "turn_at": ending.turn_at,
    }


def expiry(now: float, record_ttl_seconds: float, lease_until: float = 0.0) -> float:
    """Return the end of a record, in epoch seconds."""
    return math.ceil(max(now + record_ttl_seconds, lease_until))
