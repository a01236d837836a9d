"""One log record a message, with the keys that dashboards and alarms filter by."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from lambda_tasks.tasks.event import attribute
from lambda_tasks.tasks.execution import Outcome

if TYPE_CHECKING:
    from lambda_tasks.tasks.event import Record
    from lambda_tasks.tasks.execution import Result

logger = logging.getLogger("lambda_tasks")

_LEVELS = {Outcome.FAILED: logging.ERROR, Outcome.REJECTED: logging.ERROR, Outcome.RETRYING: logging.WARNING}


def log_result(record: Record, result: Result) -> None:
    """Log what became of a message. The kwargs are not logged; a failed task's traceback is."""
    attempt = _number(attribute(record, "ApproximateReceiveCount")) or 1
    sent_ms = _number(attribute(record, "SentTimestamp"))
    details = {
        "task": result.task_name,
        "message_id": record.get("messageId"),
        "outcome": result.outcome.value,
        "attempt": attempt,
        "duration_ms": round(result.duration_ms, 3),
        "queue_latency_ms": max(0, round(time.time() * 1000 - sent_ms)) if sent_ms else None,
    }
    reason = f": {result.error}" if result.outcome is Outcome.REJECTED else ""
    logger.log(
        _LEVELS.get(result.outcome, logging.INFO),
        "%s %s in %.0f ms (message %s, attempt %d)%s",
        result.task_name or "message",
        result.outcome.value,
        result.duration_ms,
        record.get("messageId"),
        attempt,
        reason,
        exc_info=result.error if result.outcome is not Outcome.REJECTED else None,
        extra=details,
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None
