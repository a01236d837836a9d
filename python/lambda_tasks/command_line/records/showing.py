"""Records as a person reads them, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import msgspec
from rich.text import Text

from lambda_tasks.command_line.output import Column, Output, outcome_text
from lambda_tasks.state.record import PastAttempt, StoredRecord
from lambda_tasks.workflow import progress

_TIMES = {"first_received_at", "started_at", "finished_at", "first_failed_at", "queued_at", "ended_at"}


def show_all(output: Output, records: Sequence[StoredRecord]) -> None:
    """Print a line for each record."""
    columns = [Column("received"), Column("task"), Column("status"), Column("attempts", is_number=True)]
    columns += [Column("time", is_number=True), Column("message id"), Column("error", folds=True)]
    output.table(columns, [_row(one) for one in records])


def show(output: Output, record: StoredRecord | None) -> None:
    """Print one record whole."""
    if output.as_json:
        output.json(as_json(record) if record else None)
        return
    if record is None:
        output.line("There is no such record.")
        return
    output.line(Text.assemble((record.task or "(no task)", "bold"), "  ", outcome_text(record.status.value)))
    output.table([Column("what"), Column("value", folds=True)], _facts(record))
    for title, text, note in (
        ("kwargs", record.kwargs, record.kwargs_note),
        ("context", record.context, None),
        ("result", record.result, None),
    ):
        if text is not None or note:
            _section(output, f"{title} ({note})" if note else title, _indented(text or ""))
    if record.history:
        _section(output, "attempts" if record.attempts <= len(record.history) else "last attempts", "")
        columns = [Column("started"), Column("time", is_number=True), Column("outcome")]
        columns += [Column("request id"), Column("error", folds=True)]
        output.table(columns, [_attempt(one) for one in record.history])
    if record.error_type or record.traceback:
        _section(output, "error", record.traceback or f"{record.error_type}: {record.error_message}")


def as_json(record: StoredRecord) -> dict[str, Any]:
    """Return a record as JSON, with its times in ISO 8601."""
    fields = {**msgspec.structs.asdict(record), "status": record.status.value}
    steps = progress.of_text(fields.pop("steps"))
    fields["progress"] = None if steps is None else msgspec.structs.asdict(steps)
    fields["history"] = [_with_texts(msgspec.structs.asdict(one)) for one in record.history]
    return _with_texts(fields)


def _with_texts(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: datetime.fromtimestamp(value, timezone.utc).isoformat(timespec="milliseconds")
        if name in _TIMES and value is not None
        else value
        for name, value in fields.items()
    }


def _facts(record: StoredRecord) -> list[tuple[str, object]]:
    """Return what is short, without what there is not."""
    attempts = f"{record.attempts}" + (
        f", the first failed {moment(record.first_failed_at)}" if record.first_failed_at else ""
    )
    seconds = None if record.finished_at is None else record.finished_at - record.started_at
    facts = {
        "message id": record.message_id,
        "reason": record.reason,
        "progress": _progress(record),
        "replay of": record.replay_of,
        "part of": record.part_of,
        "duplicate of": record.duplicate_of,
        "queued": moment(record.queued_at),
        "received": moment(record.first_received_at) if record.attempts or record.finished_at else None,
        "started": moment(record.started_at or None),
        "finished": None if seconds is None else f"{moment(record.finished_at)}, after {duration(seconds)}",
        "attempts": attempts,
        "queue": record.queue,
        "request id": record.request_id,
        "function": None if record.function_version is None else f"version {record.function_version}",
        "log stream": record.log_stream,
        "Python": record.python,
    }
    return [(name, value) for name, value in facts.items() if value]


def _progress(record: StoredRecord) -> str | None:
    steps = progress.of_text(record.steps)
    if steps is None:
        return None
    return f"{steps.name}: {steps.done}" + ("" if steps.total is None else f" of {steps.total}")


def _section(output: Output, title: str, text: str) -> None:
    output.line()
    output.line(title, style="bold")
    if text:
        output.line(text.rstrip())


def _indented(text: str) -> str:
    """Return JSON over several lines; a text that was cut is none, and stays as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def _attempt(attempt: PastAttempt) -> list[object]:
    seconds = None if attempt.ended_at is None else attempt.ended_at - attempt.started_at
    outcome = Text("no end") if attempt.outcome is None else outcome_text(attempt.outcome)
    error = ": ".join(part for part in (attempt.error_type, attempt.error_message) if part)
    took = "" if seconds is None else duration(seconds)
    return [moment(attempt.started_at), took, outcome, attempt.request_id, error]


def _row(record: StoredRecord) -> list[Any]:
    took = "" if record.finished_at is None else duration(record.finished_at - record.started_at)
    error = ": ".join(part for part in (record.error_type, record.error_message) if part) or record.reason
    received = datetime.fromtimestamp(record.listed_at).astimezone()
    status = outcome_text(record.status.value)
    return [f"{received:%m-%d %H:%M:%S}", record.task, status, record.attempts, took, record.message_id, error]


def moment(epoch_seconds: float | None) -> str | None:
    """Return a time of this machine's time zone."""
    if epoch_seconds is None:
        return None
    return datetime.fromtimestamp(epoch_seconds).astimezone().isoformat(" ", timespec="milliseconds")


def duration(seconds: float) -> str:
    """Return a duration in the unit that fits it."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"
