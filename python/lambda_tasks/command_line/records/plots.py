"""Plots in SVG: messages over time, and the durations of tasks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from html import escape

from lambda_tasks.command_line.records.showing import duration
from lambda_tasks.command_line.records.statistics import PERCENTS, TaskStatistics
from lambda_tasks.state.record import Status

COLOURS = {
    Status.QUEUED: "#98a2b3",
    Status.RUNNING: "#36a3d9",
    Status.SUCCEEDED: "#2f9e63",
    Status.RETRYING: "#e0a42b",
    Status.DEFERRED: "#b78be0",
    Status.FAILED: "#d64545",
    Status.REJECTED: "#8f2d56",
    Status.SKIPPED: "#7fc9a0",
}
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 960, 260, 48, 16, 12, 28
_MOST_COLUMNS = 60
_STEPS_SECONDS = (60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 7 * 86400)
_ROW, _NAME_WIDTH = 26, 300
_MOST_ROWS = 25
_LONGEST_NAME = 44
_SHADES = ("#2f9e63", "#e0a42b", "#d64545")


def columns(times: Sequence[tuple[float, Status]], earliest: float, latest: float) -> str:
    """Return a stacked column for each step of time: how many messages, by status."""
    step = next((one for one in _STEPS_SECONDS if (latest - earliest) / one <= _MOST_COLUMNS), 30 * 86400)
    first, last = math.floor(earliest / step), math.floor(latest / step)
    counts: dict[int, Counter[Status]] = {}
    for seconds, status in times:
        counts.setdefault(min(max(math.floor(seconds / step), first), last), Counter())[status] += 1
    top = _round_up(max(one.total() for one in counts.values()))
    width, height = (_WIDTH - _LEFT - _RIGHT) / (last - first + 1), _HEIGHT - _TOP - _BOTTOM
    parts = []
    for line in range(5):
        y, value = _TOP + height * (1 - line / 4), top * line / 4
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        if value == int(value):
            parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{int(value):,}</text>')
    every = max(1, math.ceil(90 / width))
    for number in range(first, last + 1):
        x, at = _LEFT + (number - first) * width, datetime.fromtimestamp(number * step).astimezone()
        parts += _stack(counts.get(number, Counter()), x, width, height / top, f"{at:%m-%d %H:%M}")
        if (number - first) % every == 0 and x + 70 < _WIDTH:
            label = f"{at:%m-%d}" if step >= 86400 else f"{at:%m-%d %H:%M}"
            parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 8}">{label}</text>')
    return _svg(_HEIGHT, parts, "Messages over time")


def ranges(tasks: Sequence[TaskStatistics]) -> str:
    """Return a row for each task, with a dot for each of the percentiles of its durations, on a logarithmic scale."""
    shown = tasks[:_MOST_ROWS]
    values = [max(0.001, one) for task in shown for one in task.percentiles() if one is not None]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    left, height = _NAME_WIDTH + 16, _TOP + len(shown) * _ROW
    scale = (_WIDTH - left - 40) / (high - low)
    parts = []
    for power in range(low, high + 1):
        x = left + (power - low) * scale
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{height}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height + 18}" text-anchor="middle">{duration(10.0**power)}</text>')
    for number, task in enumerate(shown):
        y = _TOP + (number + 0.5) * _ROW
        name = task.task if len(task.task) <= _LONGEST_NAME else "…" + task.task[1 - _LONGEST_NAME :]
        parts.append(f'<text class="name" x="{_NAME_WIDTH}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>')
        found = [max(0.001, one) for one in task.percentiles() if one is not None]
        xs = [left + (math.log10(one) - low) * scale for one in found]
        parts.append(f'<line class="span" x1="{xs[0]:.1f}" x2="{xs[-1]:.1f}" y1="{y}" y2="{y}"/>')
        for percent, x, seconds, colour in reversed(list(zip(PERCENTS, xs, found, _SHADES, strict=True))):
            title = f"{escape(task.task)}: p{percent} {duration(seconds)}"
            parts.append(f'<circle cx="{x:.1f}" cy="{y}" r="5" fill="{colour}"><title>{title}</title></circle>')
    keys = (
        f'<span><i style="background:{one}"></i>p{percent}</span>'
        for percent, one in zip(PERCENTS, _SHADES, strict=True)
    )
    more = f"<p>The {_MOST_ROWS} tasks with the most messages.</p>" if len(tasks) > len(shown) else ""
    return _svg(height + 28, parts, "Durations of tasks") + f'<div class="key">{"".join(keys)}</div>{more}'


def _stack(counts: Counter[Status], x: float, width: float, scale: float, when: str) -> list[str]:
    parts, y = [], float(_HEIGHT - _BOTTOM)
    for status in Status:
        if counts[status]:
            height = counts[status] * scale
            y -= height
            box = f'x="{x + 1:.1f}" y="{y:.1f}" width="{max(1.0, width - 2):.1f}" height="{height:.1f}"'
            title = f"{when}: {counts[status]:,} {status.value}"
            parts.append(f'<rect {box} fill="{COLOURS[status]}"><title>{title}</title></rect>')
    return parts


def _round_up(count: int) -> int:
    """Return the next number above `count` that four lines divide well."""
    power: int = 10 ** max(0, len(str(count)) - 1)
    return next(one * power for one in (1, 2, 3, 4, 5, 6, 8, 10) if one * power >= count)


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
