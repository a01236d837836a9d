"""Parts of a record as the admin shows them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from django.utils.html import format_html, format_html_join
from django.utils.timezone import localtime

from lambda_tasks.django.moments import moment_of
from lambda_tasks.state import history
from lambda_tasks.state.record import Status

if TYPE_CHECKING:
    from datetime import datetime

    from lambda_tasks.state.record import PastAttempt

# White text is legible on each of them.
_COLORS = {
    Status.QUEUED: "#5b6770",
    Status.RUNNING: "#1f6fb2",
    Status.SUCCEEDED: "#23803a",
    Status.RETRYING: "#9a5b00",
    Status.DEFERRED: "#6b5b95",
    Status.FAILED: "#b3261e",
    Status.REJECTED: "#8c1d4f",
    Status.SKIPPED: "#6d6d6d",
}


def colored(status: str) -> str:
    """Show a status in its colour."""
    color = _COLORS.get(status, "#5b6770")  # type: ignore[call-overload] # a status is a text
    style = f"background: {color}; color: #fff; padding: 2px 8px; border-radius: 8px; white-space: nowrap"
    shown: str = format_html('<span class="task-status task-status-{}" style="{}">{}</span>', status, style, status)
    return shown


def as_moment(moment: datetime | None) -> str:
    """Show a time to the second, in one line."""
    if moment is None:
        return "-"
    local = moment if moment.tzinfo is None else localtime(moment)
    shown: str = format_html('<span style="white-space: nowrap">{}</span>', f"{local:%Y-%m-%d %H:%M:%S}")
    return shown


def as_text(text: str | None) -> str:
    """Show a text as it is laid out."""
    return format_html('<pre style="white-space: pre-wrap; margin: 0">{}</pre>', text) if text else "-"


def as_json(text: str | None) -> str:
    """Show JSON with a value a line; what is cut is shown as it is."""
    if text is None:
        return "-"
    try:
        return as_text(json.dumps(json.loads(text), indent=2, ensure_ascii=False))
    except (ValueError, RecursionError):
        return as_text(text)


def as_history(text: str) -> str:
    """Show the last attempts as a table."""
    past = history.read(json.loads(text or "[]"))
    if not past:
        return "-"
    head = format_html_join("", "<th>{}</th>", ((one,) for one in ("started", "took", "outcome", "error", "request")))
    rows = format_html_join("", "<tr>{}</tr>", ((_cells(one),) for one in past))
    shown: str = format_html("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", head, rows)
    return shown


def _cells(one: PastAttempt) -> str:
    took = "-" if one.ended_at is None else f"{one.ended_at - one.started_at:.3f} s"
    error = ": ".join(part for part in (one.error_type, one.error_message) if part) or "-"
    cells = (as_moment(moment_of(one.started_at)), took, one.outcome or "-", error, one.request_id or "-")
    shown: str = format_html_join("", "<td>{}</td>", ((cell,) for cell in cells))
    return shown
