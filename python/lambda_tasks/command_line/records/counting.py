"""``lambda-tasks records stats``: counts and durations by task, as a table and as a page."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import rich_click as click

from lambda_tasks.command_line.arguments import BadInput
from lambda_tasks.command_line.output import Column, Output, outcome_text
from lambda_tasks.command_line.records.selection import Selection, selecting
from lambda_tasks.command_line.records.showing import duration
from lambda_tasks.command_line.records.statistics import PERCENTS, Statistics, TaskStatistics, statistics_of
from lambda_tasks.state.protocol import State
from lambda_tasks.state.record import Status


@click.command("stats")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write one page with plots, which opens without a network.",
)
@click.option("--limit", type=click.IntRange(1), default=100_000, show_default=True, help="How many, the newest first.")
@selecting
@click.pass_context
def command(
    ctx: click.Context,
    html: Path | None,
    limit: int,
    selection: Selection,
    state: State,
    aws: Any,  # noqa: ANN401, ARG001
    *,
    as_json: bool,
) -> None:
    """Count what ran, by task, and how long it took: --since 24h, say.

    p50, p95 and p99 are what so many percent of the messages do not exceed: the duration of the last execution.

    Exits with 1 where there are no records.
    """
    output = Output(as_json)
    with output.progress("Reading") as bar:
        records = (_noted(bar, number, one) for number, one in enumerate(selection.of(state), 1))
        found = statistics_of(itertools.islice(records, limit))
    if html is not None:
        _write(html, found, selection)
    if as_json:
        output.json({"all": _as_json(found.all), "tasks": [_as_json(one) for one in found.tasks]})
    elif not found.all.messages:
        output.line("There are no such records.")
    else:
        _print(output, found)
        if found.all.messages == limit:
            output.line(f"These are the newest {limit} alone: there may be more. See --limit.", style="yellow")
        if html is not None:
            output.line(f"The page is {html}.")
    ctx.exit(0 if found.all.messages else 1)


def _noted(bar: Any, number: int, record: Any) -> Any:  # noqa: ANN401
    if number % 100 == 0:
        bar.update(0, description=f"Reading: {number}")
    return record


def _print(output: Output, found: Statistics) -> None:
    seen = [one for one in Status if found.all.statuses[one]]
    columns = [Column("task"), Column("messages", is_number=True)]
    columns += [Column(outcome_text(one.value).plain, is_number=True) for one in seen]
    columns += [Column("attempts", is_number=True), *(Column(f"p{one}", is_number=True) for one in PERCENTS)]
    several = [found.all] if len(found.tasks) > 1 else []
    rows = []
    for one in [*found.tasks, *several]:
        counts = [one.statuses[status] or "" for status in seen]
        took = ["" if seconds is None else duration(seconds) for seconds in one.percentiles()]
        rows.append([one.task, one.messages, *counts, one.attempts, *took])
    output.table(columns, rows)


def _as_json(one: TaskStatistics) -> dict[str, Any]:
    durations = {f"p{percent}": seconds for percent, seconds in zip(PERCENTS, one.percentiles(), strict=True)}
    return {
        "task": one.task,
        "messages": one.messages,
        "statuses": {status.value: count for status, count in one.statuses.items()},
        "attempts": one.attempts,
        "duration_seconds": durations,
        "errors": dict(one.errors.most_common()),
    }


def _write(file: Path, found: Statistics, selection: Selection) -> None:
    from lambda_tasks.command_line.records.page import page  # noqa: PLC0415 - where it is asked for

    try:
        file.write_text(page(found, selection, time.time()), encoding="utf-8")
    except OSError as error:
        problem = f"the page cannot be written: {error.strerror}"
        raise BadInput(problem, source=str(file), remedy="name a file in a folder that is there") from error
