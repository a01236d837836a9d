"""A record that is followed until its message has ended: a bar in a terminal, else a line for each change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from lambda_tasks.command_line.output import Output
from lambda_tasks.command_line.records.selection import record_of
from lambda_tasks.command_line.records.showing import duration
from lambda_tasks.state.protocol import State
from lambda_tasks.state.record import StoredRecord
from lambda_tasks.workflow import progress
from lambda_tasks.workflow.progress import Progress as Steps

INTERVAL_SECONDS = 1.0


def follow(
    output: Output, state: State, message_id: str, *, sleep: Callable[[float], object] = time.sleep
) -> StoredRecord | None:
    """Show how far a message has come until it has ended, and return its record; None where there is none."""
    changes = _changes(state, message_id, sleep)
    if output.is_terminal and not output.as_json:
        return _drawn(output, changes)
    last = None
    for last, steps in changes:
        if output.as_json:
            output.json(_as_json(last, steps))
        else:
            output.line(told(last, steps))
    return last


def told(record: StoredRecord, steps: Steps | None) -> str:
    """Say in a line how far a message has come."""
    if steps is None:
        return record.status.value
    if steps.total is None:
        parts = [f"{steps.name}: {steps.done}"]
    else:
        parts = [f"{steps.name}: {steps.done} of {steps.total} ({steps.part or 0.0:.0%})"]
    if steps.rate is not None:
        parts.append(_rate(steps.rate))
    if steps.seconds_left:
        parts.append(f"{duration(steps.seconds_left)} left")
    return f"{record.status.value}  " + ", ".join(parts)


def _changes(
    state: State, message_id: str, sleep: Callable[[float], object]
) -> Iterator[tuple[StoredRecord, Steps | None]]:
    """Yield a record, and its progress, whenever one of both has changed, and at the last."""
    seen = None
    while (record := record_of(state, message_id)) is not None:
        steps = progress.of_text(record.steps)
        if (record.status, steps) != seen:
            yield record, steps
        seen = record.status, steps
        if record.has_ended:
            return
        sleep(INTERVAL_SECONDS)


def _drawn(output: Output, changes: Iterator[tuple[StoredRecord, Steps | None]]) -> StoredRecord | None:
    columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}")]
    last = None
    with Progress(*columns, console=output.console) as bar:
        shown = bar.add_task("", total=None, told="")
        for last, steps in changes:
            done, total = (steps.done, steps.total) if steps is not None else (0, None)
            name = last.task.rpartition(".")[2] or "(no task)"
            bar.update(shown, description=name, completed=done, total=total, told=told(last, steps))
        if last is not None and (last.steps is None or total is None):
            bar.update(shown, total=1, completed=1)
    return last


def _as_json(record: StoredRecord, steps: Steps | None) -> dict[str, Any]:
    told_steps = None if steps is None else {**msgspec.structs.asdict(steps), "part": steps.part}
    return {"message_id": record.message_id, "status": record.status.value, "progress": told_steps}


def _rate(rate: float) -> str:
    """Return a rate in the unit that fits it."""
    seconds, unit = next((one for one in ((1, "s"), (60, "min")) if rate * one[0] >= 1), (3600, "h"))
    return f"{rate * seconds:.3g}/{unit}"
