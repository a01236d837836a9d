"""Admission: which messages of a call may run now, by the time that is left, their order, and their leases."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from lambda_tasks.errors import LambdaTasksError
from lambda_tasks.limits import timeouts
from lambda_tasks.messages.outcome import NO_STATE, NO_TIME, OUT_OF_ORDER, Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambda_tasks.definition.definition import Definition
    from lambda_tasks.dispatch.invocation import Invocation
    from lambda_tasks.dispatch.job import Job

_LONGEST_FUNCTION_SECONDS = 900.0


def admitted(jobs: Sequence[Job], definition: Definition | None, invocation: Invocation) -> list[Job]:
    """Return the messages of a call that may run now, and leave a result with each of the others."""
    worker = invocation.worker
    if worker.state is None and not worker.deferrals and len(jobs) == 1 and definition is not None:
        (job,) = jobs  # as most messages are: admitted by the time that is left alone
        if (
            job.result is None
            and job.expires_at is None
            and (not invocation.has_started or _has_time(definition, invocation))
        ):
            return [job]
    admission = _Admission(definition, invocation)
    for job in jobs:
        if worker.deferrals:
            job.known_deferrals = worker.deferrals.get(job.message_id, 0)
        admission.admit(job)
    ready = [job for job in jobs if job.result is None]
    if ready and worker.state is not None and definition is not None and definition.options.singleton:
        return admission.take_singleton(ready)
    return ready


def deferred(job: Job, reason: str) -> Result:
    """Return the outcome of a message that is to be delivered again at once."""
    return Result(Outcome.DEFERRED, job.task_name, visible_after_seconds=0, reason=reason)


def _has_time(definition: Definition, invocation: Invocation, after_seconds: float = 0.0) -> bool:
    clock = invocation.time
    if clock.tasks_end_at == math.inf:
        return True
    left = clock.tasks_end_at - time.monotonic() - after_seconds
    return timeouts.may_start(definition.options, left, clock.fresh_seconds)


class _Admission:
    """The admission of the messages of one call, in their order."""

    _is_blocked = False

    def __init__(self, definition: Definition | None, invocation: Invocation) -> None:
        self._definition = definition
        self._invocation = invocation
        self._worker = invocation.worker

    def admit(self, job: Job) -> None:
        """Leave a result with a message that is not to run now: for its time, its order, or its lease."""
        invocation = self._invocation
        if job.result is None:
            if job.group is not None and self._is_blocked:
                job.result = deferred(job, OUT_OF_ORDER)
            elif invocation.has_started and not self._has_time():  # the first one always starts
                job.result = deferred(job, NO_TIME)
        if job.result is None and job.expires_at is not None and time.time() >= job.expires_at:
            job.result = Result(Outcome.SKIPPED, job.task_name, reason=_expired(job.expires_at))
        if self._worker.state is not None and (job.result is None or job.result.outcome.is_final):
            job.result = self._without_lease(job) or job.result
            if job.result is None and invocation.has_started and not self._has_time():
                job.result = deferred(job, NO_TIME)  # the lease took what there was
        result = job.result
        self._is_blocked |= result is not None and not result.outcome.deletes_message and not result.outcome.is_dead

    def _has_time(self, after_seconds: float = 0.0) -> bool:
        return self._definition is None or _has_time(self._definition, self._invocation, after_seconds)

    def _without_lease(self, job: Job) -> Result | None:
        from lambda_tasks.dispatch import leases  # noqa: PLC0415 - for functions with a table

        breaker = self._invocation.leases
        if breaker.is_open:
            return _without_state(job, breaker.last)
        try:
            result = self._take_lease(job)
            due_seconds = result.visible_after_seconds if result is not None and job.is_elsewhere else None
            if due_seconds is not None and due_seconds <= leases.SOON_SECONDS and self._has_time(due_seconds):
                time.sleep(due_seconds)  # a crash left it: to wait a little costs no delivery
                result = self._take_lease(job)
        except LambdaTasksError as error:
            breaker.failed(error)
            return _without_state(job, error)
        breaker.succeeded()
        return result

    def _take_lease(self, job: Job) -> Result | None:
        from lambda_tasks.definition import recorded  # noqa: PLC0415
        from lambda_tasks.dispatch import leases  # noqa: PLC0415

        assert self._worker.state is not None  # noqa: S101 - for mypy
        clock, now = self._invocation.time, time.monotonic()
        seconds = min(clock.ends_at - now, _LONGEST_FUNCTION_SECONDS)
        details = recorded.details(
            job,
            self._worker.environ,
            self._invocation.request_id,
            records_kwargs=self._worker.settings.record_kwargs,
        )
        deadline = clock.settle_deadline(now)
        return leases.take(job, self._worker.state, lease_seconds=seconds, details=details, deadline=deadline)

    def take_singleton(self, ready: list[Job]) -> list[Job]:
        """Take the singleton's lease, once for all messages of the call, and return those that may run."""
        from lambda_tasks.dispatch import leases  # noqa: PLC0415

        first = ready[0]
        assert self._worker.state is not None  # noqa: S101 - for mypy
        deadline = self._invocation.time.settle_deadline(time.monotonic())
        try:
            result = leases.take_singleton(first, self._worker.state, deadline=deadline)
        except LambdaTasksError as error:
            result = _without_state(first, error)
        if result is None:
            return ready
        for job in ready:
            job.result, job.busy_seconds = result, first.busy_seconds
        return []


def _expired(at: float) -> str:
    return "it expired at " + time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _without_state(job: Job, error: Exception | None) -> Result:
    return Result(Outcome.DEFERRED, job.task_name, error, reason=NO_STATE)
