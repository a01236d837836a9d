"""The page of statistics: one file of HTML with plots in SVG, which needs nothing from a network."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape

from lambda_tasks.command_line.records import plots
from lambda_tasks.command_line.records.selection import Selection
from lambda_tasks.command_line.records.showing import duration
from lambda_tasks.command_line.records.statistics import PERCENTS, Statistics, TaskStatistics
from lambda_tasks.state.record import Status

_MOST_ERRORS = 10
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --paper: #fff; --soft: #667085; --line: #e4e7ec; --band: #f7f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --paper: #14181f; --soft: #98a2b3; --line: #2b323d; --band: #1b212a; }
}
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 1160px; padding: 24px; }
h1 { font-size: 22px; margin: 0; } h2 { font-size: 16px; margin: 32px 0 8px; } p { color: var(--soft); margin: 4px 0; }
.numbers { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0; }
.numbers div { background: var(--band); border: 1px solid var(--line); border-radius: 8px; padding: 10px 16px; }
.numbers b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; }
.numbers span { color: var(--soft); font-size: 13px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 6px 7px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; } th:first-child, td:first-child { text-align: left; }
td:first-child { min-width: 200px; overflow-wrap: anywhere; white-space: normal; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: var(--soft); }
svg .name { fill: var(--ink); } svg .grid { stroke: var(--line); } svg .span { stroke: var(--soft); }
.key { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 13px; color: var(--soft); }
.key i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 6px; }
"""


def page(found: Statistics, selection: Selection, now: float) -> str:
    """Return the page, with times of this machine's time zone."""
    times = [at for at, _ in found.times]
    earliest = selection.earliest or min(times, default=now)
    latest = min(selection.latest, max([now, *times]))
    span = f"{_moment(earliest)} to {_moment(latest)}"
    seen = [one for one in Status if found.all.statuses[one]]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>What ran</title>',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>',
        f"<h1>What ran</h1><p>{escape(_chosen(selection))}{span}</p>",
        _numbers(found.all),
    ]
    if found.all.messages:
        columns = plots.columns(found.times, earliest, latest)
        parts += [_section("Messages", "by the time when they were sent or received", columns + _key(seen))]
    timed = [one for one in found.tasks if one.durations]
    if timed:
        of_each = "p50, p95 and p99 of the last execution of each message; the scale is logarithmic"
        parts += [_section("Durations", of_each, plots.ranges(timed))]
    parts += [_section("Tasks", "", _table(found, seen))]
    if found.all.errors:
        parts += [_section("Errors", "of messages that did not succeed", _errors(found))]
    return "\n".join([*parts, "</body></html>\n"])


def _chosen(selection: Selection) -> str:
    chosen = [selection.task or "", *(one.value for one in selection.statuses)]
    return "".join(f"{one}, " for one in chosen if one)


def _moment(epoch_seconds: float) -> str:
    return f"{datetime.fromtimestamp(epoch_seconds).astimezone():%Y-%m-%d %H:%M}"


def _section(title: str, note: str, content: str) -> str:
    return (
        f"<h2>{escape(title)}</h2>" + (f"<p>{escape(note)}</p>" if note else "") + f'<div class="wide">{content}</div>'
    )


def _numbers(of_all: TaskStatistics) -> str:
    ended = {one: of_all.statuses[one] for one in (Status.SUCCEEDED, Status.FAILED, Status.REJECTED)}
    judged = sum(ended.values())
    share = f"{ended[Status.SUCCEEDED] / judged:.1%}" if judged else "-"
    numbers = [(f"{of_all.messages:,}", "messages"), (share, "of the ended succeeded")]
    numbers += [(f"{of_all.attempts:,}", "attempts")]
    numbers += [(_duration(one), f"p{percent}") for percent, one in zip(PERCENTS, of_all.percentiles(), strict=True)]
    return (
        '<div class="numbers">'
        + "".join(f"<div><b>{one}</b><span>{what}</span></div>" for one, what in numbers)
        + "</div>"
    )


def _key(seen: Sequence[Status]) -> str:
    keys = (f'<span><i style="background:{plots.COLOURS[one]}"></i>{one.value}</span>' for one in seen)
    return f'<div class="key">{"".join(keys)}</div>'


def _table(found: Statistics, seen: Sequence[Status]) -> str:
    titles = ["task", "messages", *(one.value for one in seen), "attempts", *(f"p{one}" for one in PERCENTS)]
    rows = [
        _row(["all" if one is found.all else one.task, one.messages, *(one.statuses[status] for status in seen)], one)
        for one in [*found.tasks, found.all]
    ]
    return f"<table><tr>{''.join(f'<th>{title}</th>' for title in titles)}</tr>{''.join(rows)}</table>"


def _row(cells: Sequence[object], one: TaskStatistics) -> str:
    every = [*cells, one.attempts, *map(_duration, one.percentiles())]
    texts = (f"{cell:,}" if isinstance(cell, int) else escape(str(cell)) for cell in every)
    return f"<tr>{''.join(f'<td>{text}</td>' for text in texts)}</tr>"


def _errors(found: Statistics) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{count:,}</td><td>{escape(_tasks_with(found, name))}</td></tr>"
        for name, count in found.all.errors.most_common(_MOST_ERRORS)
    )
    return f"<table><tr><th>error</th><th>messages</th><th>task</th></tr>{rows}</table>"


def _tasks_with(found: Statistics, error: str) -> str:
    names = [one.task for one in sorted(found.tasks, key=lambda one: -one.errors[error]) if one.errors[error]]
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _duration(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)
