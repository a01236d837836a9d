"""Act on outcomes: record them, send dead letters, change visibility; and know which messages SQS may delete.

A message may be deleted only after its outcome is final and everything that belongs to it was done. Whatever fails here
leaves it in the queue.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from lambda_tasks.errors import LambdaTasksError
from lambda_tasks.tasks import context as contexts
from lambda_tasks.tasks import retry, telemetry
from lambda_tasks.tasks.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambda_tasks.tasks.event import PartialBatchResponse, Record
    from lambda_tasks.tasks.job import Job
    from lambda_tasks.tasks.outcome import Result
    from lambda_tasks.tasks.sqs import QueueAddress
    from lambda_tasks.tasks.telemetry import Report
    from lambda_tasks.tasks.timeouts import InvocationTime
    from lambda_tasks.tasks.worker import Worker

logger = logging.getLogger("lambda_tasks")


class Settlement:
    """The outcomes of one invocation's messages. Usable from several threads."""

    def __init__(self, worker: Worker, invocation: InvocationTime, request_id: str) -> None:
        self._worker = worker
        self._time = invocation
        self.request_id = request_id
        self._lock = threading.Lock()
        self._may_bury = True
        self._changes: dict[str, list[tuple[str, int]]] = {}
        self._reports: list[Report] = []
        self._awaited: dict[int, bool] = {}

    def settle(self, job: Job, result: Result) -> bool:
        """Do what the outcome of a message asks for, and return whether the message is done with (deleted)."""
        with self._lock:
            if job.is_settled:
                return job.is_done_with
            job.is_settled = True
        first_failed_at = job.claim.started.first_failed_at if job.claim is not None else None
        recorded = job.claim is None or self._record(job, result)
        if result.outcome.deletes_message:
            if not recorded:
                result = msgspec.structs.replace(result, outcome=Outcome.DEFERRED)
            job.is_done_with = recorded
        else:
            job.is_done_with = recorded and self._bury(job, result, first_failed_at)
        job.result = result
        if not job.is_done_with:
            self._schedule(job, result)
        level = result.outcome.log_level
        if level not in self._awaited:
            self._awaited[level] = self._worker.metrics is not None or telemetry.is_awaited(level)
        if self._awaited[level]:
            self._announce(job, result)
        job.forget_context()
        return job.is_done_with

    def finish(self) -> None:
        """Make the changes of visibility, in one call for ten messages, and publish the metrics."""
        for queue_arn, changes in self._changes.items():
            queue = self._address(queue_arn)
            if queue is not None:
                self._worker.sqs.change_visibility(queue, changes, self._time.deadline(time.monotonic()))
        self._changes = {}
        if self._worker.metrics is not None and self._reports:
            self._worker.metrics.publish(self._reports, self.request_id)

    def response(self, records: Sequence[Record], jobs: Sequence[Job]) -> PartialBatchResponse:
        """Return the answer to the event: every message that must not be deleted, whatever became of it."""
        deleted = {id(job.record) for job in jobs if job.is_done_with}
        kept = [record["messageId"] for record in records if id(record) not in deleted]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in kept]}

    def _record(self, job: Job, result: Result) -> bool:
        from lambda_tasks.tasks import claims  # noqa: PLC0415 - for functions with a table

        assert self._worker.state is not None  # noqa: S101 - for mypy: there is a claim
        return claims.conclude(job, result, self._worker.state, self._time.deadline(time.monotonic()))

    def _bury(self, job: Job, result: Result, first_failed_at: float | None) -> bool:
        """Send a message that failed to its dead-letter queue, where one is known; tell whether it is there now."""
        if not result.outcome.is_dead or "receiptHandle" not in job.record or not self._may_bury:
            return False  # it goes on, or whoever invoked the function reads the error, or SQS is not to be waited for
        from lambda_tasks.tasks.dead_letter import dead_letter  # noqa: PLC0415 - for a message that failed

        deadline = self._time.deadline(time.monotonic())
        try:
            queue = self._dead_letter_queue(job, deadline)
            if queue is None:
                return False
            letter = dead_letter(
                job,
                result,
                request_id=self.request_id,
                first_failed_at=first_failed_at,
                is_fifo=queue.is_fifo,
            )
            self._worker.sqs.send(queue, letter, deadline)
        except LambdaTasksError as error:
            self._may_bury = bool(getattr(error, "code", "")) and not getattr(error, "retryable", False)
            logger.warning(
                "message %s could not be sent to the dead-letter queue, so SQS redrives it: %s",
                job.message_id,
                getattr(error, "detail", "") or error,
            )
            return False
        return True

    def _dead_letter_queue(self, job: Job, deadline: float) -> QueueAddress | None:
        sqs, source_arn = self._worker.sqs, _queue_arn(job)
        configured = self._worker.settings.dead_letter_queue_url
        if not isinstance(job.record.get("body"), str):
            return None
        source = sqs.address(source_arn)
        queue = sqs.address_of_url(configured) if configured else sqs.dead_letter_queue(source_arn, deadline)
        if queue is not None and source is not None and queue.is_same(source):
            return None  # the function consumes its own dead letters: they must not go in a circle
        return queue

    def _schedule(self, job: Job, result: Result) -> None:
        """Note when a message that stays is to be visible again."""
        handle = job.record.get("receiptHandle")
        if result.visible_after_seconds is None or not isinstance(handle, str):
            return
        since_receipt = time.monotonic() - self._time.started_at
        seconds = retry.visibility_timeout(result.visible_after_seconds, since_receipt)
        self._changes.setdefault(_queue_arn(job), []).append((handle, seconds))

    def _address(self, queue_arn: str) -> QueueAddress | None:
        try:
            return self._worker.sqs.address(queue_arn)
        except LambdaTasksError as error:
            logger.warning("the queue %s cannot be reached: %s", queue_arn, error)
            return None

    def _announce(self, job: Job, result: Result) -> None:
        told = telemetry.report(job.record, result, job.context, started_at=job.started_at)
        with contexts.activated(job.context):
            telemetry.announce_outcome(told)
        if self._worker.metrics is not None:
            self._reports.append(told)


def _queue_arn(job: Job) -> str:
    arn = job.record.get("eventSourceARN")
    return arn if isinstance(arn, str) else ""
