"""Act on outcomes: record them, send dead letters, change visibility; and know which messages SQS may delete.

A message may be deleted only after its outcome is final and everything that belongs to it was done. A failure in here
leaves it in the queue, but for a success: that is deleted though the table does not take its record.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from lambda_tasks.definition import retry
from lambda_tasks.errors import LambdaTasksError, LeaseLost
from lambda_tasks.limits.circuit_breaker import CircuitBreaker
from lambda_tasks.messages.outcome import GOES_ON, NO_STATE, OUT_OF_ORDER, Outcome, Result
from lambda_tasks.messages.sqs_event import queue_arn, sent_at_ms
from lambda_tasks.telemetry import report

if TYPE_CHECKING:
    from lambda_tasks.dispatch.job import Job
    from lambda_tasks.dispatch.plan import Lane
    from lambda_tasks.dispatch.worker import Worker
    from lambda_tasks.limits.timeouts import InvocationTime
    from lambda_tasks.state.protocol import Attempt
    from lambda_tasks.telemetry.failures.notices import Failed
    from lambda_tasks.telemetry.report import Report

logger = logging.getLogger("lambda_tasks")

_SUCCEEDED = Outcome.SUCCEEDED


class Settlement:
    """The outcomes of one invocation's messages. Usable from several threads."""

    def __init__(self, worker: Worker, clock: InvocationTime, request_id: str) -> None:
        self._worker = worker
        self._time = clock
        self._request_id = request_id
        self._lock = threading.Lock()
        self._letters = CircuitBreaker()
        self._changes: dict[str, list[tuple[str, float]]] = {}
        self._reports: list[Report] = []
        self._failed: list[Failed] = []
        self._awaited: dict[int, bool] = {}
        self._untold: deque[tuple[Job, Result]] = deque()

    def settle(self, job: Job, result: Result, *, is_held_back: bool = False, is_beside: bool = False) -> bool:
        """Do what the outcome of a message asks for, and return whether the message is done with (deleted).

        A message that `is_held_back` stays in the queue with its record, behind an unfinished one of its group. Of one
        that is settled beside the tasks (`is_beside`) hooks are told later, by `tell`: they may need the tasks' thread.
        """
        with self._lock:
            if job.is_settled:
                return job.is_done_with
            job.is_settled = True
        if not result.outcome.deletes_message and isinstance(job.receipt_handle, str):
            result = self._within_budget(job, result)
        has_lease = job.leases is not None or job.early is not None or job.key_lease is not None
        if result.outcome is _SUCCEEDED and not has_lease:
            job.is_done_with = not is_held_back
        else:
            result = self._conclude(job, result, is_held_back=is_held_back)
        job.result = result
        if not job.is_done_with:
            self._schedule(job, result)
        level = result.outcome.log_level
        is_awaited = self._awaited.get(level)
        if is_awaited is None:
            is_awaited = self._awaited[level] = self._worker.metrics is not None or report.is_awaited(level)
        if is_awaited and is_beside and report.has_outcome_hooks():
            self._untold.append((job, result))
        elif is_awaited:
            self._announce(job, result)
        job.is_concluded = True
        job.known_context = None  # it refers to the job: without a cycle both go at once
        return job.is_done_with

    def defer(self, lane: Lane, reason: str = OUT_OF_ORDER) -> None:
        """Defer the calls of a lane, by default those behind one that did not finish."""
        for jobs in lane:
            for job in jobs:
                self.settle(job, Result(Outcome.DEFERRED, job.task_name, visible_after_seconds=0, reason=reason))

    @property
    def has_changes(self) -> bool:
        """Whether visibility is to be changed at the end."""
        return bool(self._changes)

    def tell(self) -> None:
        """Tell of the messages that were settled beside the tasks."""
        while self._untold:
            try:
                job, result = self._untold.popleft()
            except IndexError:
                return  # another thread took the last one
            self._announce(job, result)
            job.known_context = None

    def finish(self) -> None:
        """Make the changes of visibility, publish the metrics, and tell of failures."""
        self.tell()
        for arn, changes in self._changes.items():
            self._worker.queues.change_visibility(arn, changes, self._time)
        self._changes = {}
        if self._worker.metrics is not None and self._reports:
            self._worker.metrics.publish(self._reports, self._request_id)
        notices = self._worker.notices
        if notices is not None and (self._failed or notices.is_behind):
            failed, self._failed = self._failed, []
            notices.tell(failed, self._request_id, self._time.tell_by)

    def _within_budget(self, job: Job, result: Result) -> Result:
        """Return the outcome of a message that stays, as the deliveries that its queue allows have it.

        On the last one it fails, with the reason. Before, the time until the next one depends on how many are left.
        """
        if result.outcome.is_dead or (job.is_elsewhere and not job.continues):
            return result
        left = self.deliveries_left(job)
        if left is not None and left <= (1 if result.reason == GOES_ON else 0):
            if job.may_be_taken_over(result):  # of those that are left, one is for a crash
                job.hands_over_after, job.is_last = result.visible_after_seconds or 0.0, left <= 0
            elif left <= 0:
                return job.exhausted(result)
        if job.is_elsewhere:
            return result
        if result.outcome is not Outcome.DEFERRED:
            return result
        if self._worker.state is None and not job.has_run:
            self._worker.note_deferral(job.message_id)
        jitter, deliveries = self._worker.jitter(), job.receive_count
        if result.reason == NO_STATE:
            return _visible_after(result, retry.outage_seconds(deliveries, left, jitter))
        if job.busy_seconds:
            delay = 0.0 if job.definition is None else job.definition.options.retry_delay
            turn = result.visible_after_seconds or 0.0
            until = job.busy_seconds if left == 1 else 0.0
            return _visible_after(result, max(turn, until, retry.deferral_seconds(delay, deliveries, jitter)))
        return result

    def deliveries_left(self, job: Job) -> int | None:
        """Return how often the message can come again: None for any number, 0 where its turn is after its retention."""
        try:
            deadline = self._time.settle_deadline(time.monotonic())
            policy = None if self._letters.is_open else self._worker.queues.policy(queue_arn(job.record), deadline)
        except LambdaTasksError as error:
            self._letters.failed(error)
            logger.warning("the queue's redrive policy could not be asked for: %s", error)
            return None
        if policy is None or policy.max_receive_count is None:
            return None
        sent_ms = sent_at_ms(job.record) if job.turn_at is not None else None
        if sent_ms is not None and (job.turn_at or 0) > sent_ms / 1000 + policy.retention_seconds:
            return 0
        return policy.max_receive_count - job.receive_count

    def _conclude(self, job: Job, result: Result, *, is_held_back: bool) -> Result:
        """Record the outcome and do what is final about it; return it, or another one where that cannot be."""
        if job.early is not None:
            job.early.result()  # it may be under way yet, for a message that does not run
        if job.key_lease is not None:
            self._give_key_back(job, result)
        attempt = job.leases.attempt if job.leases is not None else job.ended_earlier
        first_failed_at = job.leases.started.first_failed_at if job.leases is not None else None
        try:
            recorded = job.leases is None or self._record(job, result, is_held_back=is_held_back)
        except LeaseLost as error:
            logger.warning("the outcome does not count (message %s): %s", job.message_id, error)
            if result.outcome.deletes_message:
                result = msgspec.structs.replace(result, outcome=Outcome.DEFERRED)
            return result
        if result.outcome.deletes_message:
            job.is_done_with = not is_held_back
        elif job.hands_over_after is not None:
            deadline = self._time.settle_deadline(time.monotonic())
            record, after_seconds = job.record, job.hands_over_after
            job.is_done_with = self._worker.queues.hand_over(record, job.own_id, after_seconds, deadline)
            if job.is_last and not job.is_done_with:
                result = job.exhausted(result)
                job.is_done_with = self._send_dead_letter(job, result, first_failed_at)
        elif result.outcome.is_dead and recorded and not is_held_back:
            job.is_done_with = job.has_letter or self._send_dead_letter(job, result, first_failed_at)
            if attempt is not None and not job.has_letter and job.receipt_handle is not None:
                self._note_letter(job, attempt)
            if self._worker.notices is not None:
                from lambda_tasks.dispatch.occasional import failures  # noqa: PLC0415 - for a message that failed

                failures.note(job, result, attempt, self._worker, self._request_id, self.deliveries_left, self._failed)
        return result

    def _record(self, job: Job, result: Result, *, is_held_back: bool) -> bool:
        from lambda_tasks.dispatch import leases  # noqa: PLC0415 - for functions with a table

        assert self._worker.state is not None  # noqa: S101 - for mypy: there is a lease
        # Whoever invoked the function with one message reads the error, and may invoke it again.
        is_letter = result.outcome.is_dead and job.receipt_handle is not None
        return leases.give_back(
            job,
            result,
            self._worker.state,
            is_final=result.outcome.deletes_message or is_letter,
            sends_letter=is_letter and not is_held_back,
            deadline=self._time.settle_deadline(time.monotonic()),
        )

    def _give_key_back(self, job: Job, result: Result) -> None:
        from lambda_tasks.dispatch import leases  # noqa: PLC0415 - for messages with keys

        assert self._worker.keys is not None  # noqa: S101 - for mypy: there is a lease
        leases.give_key_back(job, result, self._worker.keys, deadline=self._time.settle_deadline(time.monotonic()))

    def _note_letter(self, job: Job, attempt: Attempt) -> None:
        from lambda_tasks.dispatch import leases  # noqa: PLC0415 - for functions with a table

        assert self._worker.state is not None  # noqa: S101 - for mypy: there was a lease
        deadline = self._time.settle_deadline(time.monotonic())
        leases.note_letter(job, attempt, self._worker.state, was_sent=job.is_done_with, deadline=deadline)

    def _send_dead_letter(self, job: Job, result: Result, first_failed_at: float | None) -> bool:
        """Send a message that failed to its dead-letter queue, where one is known; tell whether it is there now."""
        if job.receipt_handle is None or not isinstance(job.record.get("body"), str):
            return False  # whoever invoked the function reads the error
        from lambda_tasks.messages.dead_letter import dead_letter  # noqa: PLC0415 - for a message that failed

        deadline, queues = self._time.settle_deadline(time.monotonic()), self._worker.queues
        try:
            queue = None if self._letters.is_open else queues.dead_letter_queue(queue_arn(job.record), deadline)
            if queue is None:
                return False
            letter = dead_letter(
                job.record,
                result,
                request_id=self._request_id,
                first_failed_at=first_failed_at,
                is_fifo=queue.is_fifo,
                offload=functools.partial(self._worker.offload, deadline=deadline),
                continues=job.own_id if job.work is not None or job.continues else None,
            )
            if letter is None:
                logger.warning("message %s is too large for a dead letter of ours, so SQS redrives it", job.message_id)
                return False
            queues.send(queue, letter, deadline)
        except LambdaTasksError as error:
            self._letters.failed(error)
            logger.warning(
                "message %s could not be sent to the dead-letter queue, so SQS redrives it: %s",
                job.message_id,
                getattr(error, "detail", "") or error,
            )
            return False
        self._letters.succeeded()
        return True

    def _schedule(self, job: Job, result: Result) -> None:
        """Note when a message that stays is to be visible again."""
        handle = job.receipt_handle
        if result.visible_after_seconds is None or not isinstance(handle, str):
            return
        visible_at = time.monotonic() + result.visible_after_seconds
        self._changes.setdefault(queue_arn(job.record), []).append((handle, visible_at))

    def _announce(self, job: Job, result: Result) -> None:
        try:
            self._tell(job, result)
        except Exception:  # of a handler of log records: the other messages are settled all the same
            with contextlib.suppress(Exception):
                logger.exception("the outcome of a message could not be told (message %r)", job.message_id)

    def _tell(self, job: Job, result: Result) -> None:
        told = job.report(result)
        report.tell_outcome(told, job.context)
        if self._worker.metrics is not None:
            self._reports.append(told)


def _visible_after(result: Result, seconds: float) -> Result:
    return msgspec.structs.replace(result, visible_after_seconds=seconds)
