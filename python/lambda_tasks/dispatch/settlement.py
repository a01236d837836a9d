"""Act on outcomes: record them, send dead letters, change visibility; and know which messages SQS may delete.

A message may be deleted only after its outcome is final and everything that belongs to it was done. A failure in here
leaves it in the queue.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from lambda_tasks.dispatch import retry
from lambda_tasks.errors import LambdaTasksError
from lambda_tasks.messages.outcome import Outcome, Result
from lambda_tasks.messages.sqs_event import queue_arn
from lambda_tasks.telemetry import report

if TYPE_CHECKING:
    from lambda_tasks.aws.queue_address import QueueAddress
    from lambda_tasks.dispatch.job import Job
    from lambda_tasks.dispatch.plan import Lane
    from lambda_tasks.dispatch.worker import Worker
    from lambda_tasks.limits.timeouts import InvocationTime
    from lambda_tasks.telemetry.report import Report

logger = logging.getLogger("lambda_tasks")


class Settlement:
    """The outcomes of one invocation's messages. Usable from several threads."""

    def __init__(self, worker: Worker, clock: InvocationTime, request_id: str) -> None:
        self._worker = worker
        self._time = clock
        self._request_id = request_id
        self._lock = threading.Lock()
        self._may_send = True
        self._changes: dict[str, list[tuple[str, int]]] = {}
        self._reports: list[Report] = []
        self._awaited: dict[int, bool] = {}

    def settle(self, job: Job, result: Result) -> bool:
        """Do what the outcome of a message asks for, and return whether the message is done with (deleted)."""
        with self._lock:
            if job.is_settled:
                return job.is_done_with
            job.is_settled = True
        first_failed_at = job.leases.started.first_failed_at if job.leases is not None else None
        recorded = job.leases is None or self._record(job, result)
        if result.outcome.deletes_message:
            if not recorded:
                result = msgspec.structs.replace(result, outcome=Outcome.DEFERRED)
            job.is_done_with = recorded
        else:
            job.is_done_with = recorded and self._send_dead_letter(job, result, first_failed_at)
        job.result = result
        if not job.is_done_with:
            self._schedule(job, result)
        level = result.outcome.log_level
        if level not in self._awaited:
            self._awaited[level] = self._worker.metrics is not None or report.is_awaited(level)
        if self._awaited[level]:
            self._announce(job, result)
        job.known_context = None  # it refers to the job: without a cycle both go at once
        return job.is_done_with

    def defer(self, lane: Lane) -> None:
        """Defer the calls of a lane behind one that did not finish."""
        for jobs in lane:
            for job in jobs:
                self.settle(job, Result(Outcome.DEFERRED, job.task_name, visible_after_seconds=0))

    def finish(self) -> None:
        """Make the changes of visibility, in one call for ten messages, and publish the metrics."""
        for arn, changes in self._changes.items():
            queue = self._address(arn)
            if queue is not None:
                self._worker.queues.change_visibility(queue, changes, self._time.deadline(time.monotonic()))
        self._changes = {}
        if self._worker.metrics is not None and self._reports:
            self._worker.metrics.publish(self._reports, self._request_id)

    def _record(self, job: Job, result: Result) -> bool:
        from lambda_tasks.dispatch import leases  # noqa: PLC0415 - for functions with a table

        assert self._worker.state is not None  # noqa: S101 - for mypy: there is a lease
        return leases.give_back(job, result, self._worker.state, self._time.deadline(time.monotonic()))

    def _send_dead_letter(self, job: Job, result: Result, first_failed_at: float | None) -> bool:
        """Send a message that failed to its dead-letter queue, where one is known; tell whether it is there now."""
        if not result.outcome.is_dead or job.receipt_handle is None or not self._may_send:
            return False  # it goes on, or whoever invoked the function reads the error, or SQS is not to be waited for
        from lambda_tasks.dispatch.dead_letter import dead_letter  # noqa: PLC0415 - for a message that failed

        deadline, queues = self._time.deadline(time.monotonic()), self._worker.queues
        try:
            queue = queues.dead_letter_queue(queue_arn(job.record), deadline)
            if queue is None or not isinstance(job.record.get("body"), str):
                return False
            letter = dead_letter(
                job, result, request_id=self._request_id, first_failed_at=first_failed_at, is_fifo=queue.is_fifo
            )
            queues.send(queue, letter, deadline)
        except LambdaTasksError as error:
            self._may_send = bool(getattr(error, "code", "")) and not getattr(error, "retryable", False)
            logger.warning(
                "message %s could not be sent to the dead-letter queue, so SQS redrives it: %s",
                job.message_id,
                getattr(error, "detail", "") or error,
            )
            return False
        return True

    def _schedule(self, job: Job, result: Result) -> None:
        """Note when a message that stays is to be visible again."""
        handle = job.receipt_handle
        if result.visible_after_seconds is None or not isinstance(handle, str):
            return
        since_receipt = time.monotonic() - self._time.started_at
        seconds = retry.visibility_timeout(result.visible_after_seconds, since_receipt)
        self._changes.setdefault(queue_arn(job.record), []).append((handle, seconds))

    def _address(self, arn: str) -> QueueAddress | None:
        try:
            return self._worker.queues.address(arn)
        except LambdaTasksError as error:
            logger.warning("the queue %s cannot be reached: %s", arn, error)
            return None

    def _announce(self, job: Job, result: Result) -> None:
        told = report.tell_outcome(job.record, result, job.context, started_at=job.started_at)
        if self._worker.metrics is not None:
            self._reports.append(told)
