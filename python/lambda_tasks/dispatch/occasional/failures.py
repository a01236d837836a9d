"""Which messages failed or were rejected for good, so that somebody is told of them once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from lambda_tasks.definition import recorded
from lambda_tasks.messages.outcome import Outcome
from lambda_tasks.telemetry.failures import event
from lambda_tasks.telemetry.failures.notices import Failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_tasks.dispatch.job import Job
    from lambda_tasks.dispatch.worker import Worker
    from lambda_tasks.messages.outcome import Result
    from lambda_tasks.state.protocol import Attempt

logger = logging.getLogger("lambda_tasks")


def note(
    job: Job,
    result: Result,
    attempt: Attempt | None,
    worker: Worker,
    request_id: str,
    deliveries_left: Callable[[Job], int | None],
    failed: list[Failed],
) -> None:
    """Add a message that failed or was rejected to those that are to be told of. An error here costs no message."""
    try:
        if _is_told(job, result, attempt, deliveries_left):
            failed.append(_failed(job, result, attempt, worker, request_id))
    except Exception:
        logger.exception("the failure of a message cannot be told (message %s)", job.message_id)


def _is_told(job: Job, result: Result, attempt: Attempt | None, deliveries_left: Callable[[Job], int | None]) -> bool:
    """Tell whether somebody is to be told of a message.

    With a table that is once, when it is recorded; again only where its dead letter was missing until now, since the
    environment that recorded it may have crashed. Without one it is once it has its dead letter, or no delivery left.
    """
    if result.outcome is Outcome.REJECTED and event.is_one(job.record.get("body")):
        return False
    if job.ended_earlier is not None:
        return job.is_done_with and not job.has_letter
    return attempt is not None or job.is_done_with or _is_last(job, deliveries_left)


def _failed(job: Job, result: Result, attempt: Attempt | None, worker: Worker, request_id: str) -> Failed:
    if attempt is not None:
        details = attempt.details
    else:
        details = recorded.details(job, worker.environ, request_id, records_kwargs=worker.settings.record_kwargs)
    return Failed(job.report(result), details, job.has_run or job.ended_earlier is not None)


def _is_last(job: Job, deliveries_left: Callable[[Job], int | None]) -> bool:
    """Tell whether nobody delivers the message again, as far as is known."""
    if not isinstance(job.receipt_handle, str):
        return True
    left = deliveries_left(job)
    return left is None or left <= 0
