"""Admission: which messages of a call may run now, by the time that is left, their order, and their leases.

The leases of messages that wait for no other one of the batch are taken together, before the first task runs.
"""

from __future__ import annotations

import functools
import math
import time
from typing import TYPE_CHECKING

from msgspec import structs

from lambda_tasks.errors import LambdaTasksError
from lambda_tasks.limits import timeouts
from lambda_tasks.messages.outcome import ELSEWHERE, KEY_BUSY, NO_STATE, NO_TIME, OUT_OF_ORDER, RATED, Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambda_tasks.definition.definition import Definition
    from lambda_tasks.dispatch.invocation import Invocation
    from lambda_tasks.dispatch.job import Job
    from lambda_tasks.dispatch.plan import Lane


def take_early(lanes: Sequence[Lane], invocation: Invocation) -> None:
    """Begin to take the leases of the messages that come first in their lanes, all at the same time.

    Of a FIFO group that is one message, also where several of them share a call. In a database each takes its own when
    its turn comes, by the connection that its task has.
    """
    if invocation.tidies_leases:
        return
    first = [job for lane in lanes for job in (lane[0] if lane[0][0].group is None else lane[0][:1])]
    early = [job for job in first if _needs_lease(job)]
    if len(early) > 1:
        with_keys: set[str] = set()
        for job in early:
            # Two groups may share a key, which is the first one's.
            takes_key = job.key is not None and job.key.hash not in with_keys
            if job.key is not None:
                with_keys.add(job.key.hash)
            take = functools.partial(_take_lease, job, invocation, _details(job, invocation), takes_key=takes_key)
            job.early = invocation.worker.side_calls.begin(take)


def await_early(invocation: Invocation) -> None:
    """Wait until the leases of `take_early` are taken, or refused."""
    for job in invocation.jobs:
        if job.early is not None:
            job.early.result()


def waits(jobs: Sequence[Job], invocation: Invocation) -> bool:
    """Tell whether the admission of a call has to wait for an answer of the table."""
    if invocation.worker.state is None:
        return False
    for job in jobs:
        if job.early is None or not job.early.is_over or job.is_elsewhere:
            return True
    definition = jobs[0].definition
    return definition is not None and bool(definition.options.singleton or definition.options.rate_limit)


def starts_at_once(jobs: Sequence[Job], definition: Definition | None, invocation: Invocation, now: float) -> bool:
    """Tell whether a call may run `now`, of which nothing is asked but that there is time, as of most messages."""
    worker = invocation.worker
    if worker.state is not None or worker.deferrals or len(jobs) > 1 or definition is None:
        return False
    job = jobs[0]
    if job.result is not None or job.expires_at is not None or job.key is not None:
        return False
    return not invocation.has_started or _has_time(definition, invocation, now)


def admitted(jobs: Sequence[Job], definition: Definition | None, invocation: Invocation) -> list[Job]:
    """Return the messages of a call that may run now, and leave a result with each of the others."""
    worker = invocation.worker
    admission = _Admission(definition, invocation)
    for job in jobs:
        if worker.deferrals:
            job.known_deferrals = worker.deferrals.get(job.message_id, 0)
        admission.admit(job)
    ready = [job for job in jobs if job.result is None]
    if ready and worker.state is not None and definition is not None:
        if definition.options.singleton:
            ready = admission.take_singleton(ready)
        if definition.options.rate_limit:
            ready = admission.take_turns(ready)
    return ready


def deferred(job: Job, reason: str) -> Result:
    """Return the outcome of a message that is to be delivered again at once."""
    return Result(Outcome.DEFERRED, job.task_name, visible_after_seconds=0, reason=reason)


def defer_behind(ahead: Sequence[Job], rest: Lane, invocation: Invocation) -> None:
    """Defer the calls of a FIFO group behind one that did not finish.

    Where that one waits for its turn, they get turns behind it: otherwise each would spend a delivery for every one
    before it.
    """
    if any(job.result is not None and job.result.reason == RATED for job in ahead):
        for jobs in rest:
            admission = _Admission(jobs[0].definition, invocation)
            for job in jobs:
                if job.rate_limit is not None and job.result is None:
                    invocation.settlement.settle(job, admission.take_turn_behind(job))
    invocation.settlement.defer(rest)


def _has_time(definition: Definition, invocation: Invocation, starts_at: float) -> bool:
    clock = invocation.time
    if clock.tasks_end_at == math.inf:
        return True
    return timeouts.may_start(definition.options, clock.tasks_end_at - starts_at, clock.fresh_seconds)


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
        if self._worker.state is not None and _needs_lease(job):
            job.result = self._without_lease(job) or job.result
            if job.result is None and invocation.has_started and not self._has_time():
                job.result = deferred(job, NO_TIME)  # the lease took what there was
        elif self._worker.keys is not None and job.result is None and job.key is not None:
            job.result = _take_key(job, invocation)
        elif job.early is not None:
            known = job.early.result()
            if known is not None and known.outcome is not Outcome.DEFERRED:
                job.result = known  # there is nothing to run, so it needs no time
        result = job.result
        self._is_blocked |= result is not None and not result.outcome.deletes_message and not result.outcome.is_dead

    def _has_time(self, after_seconds: float = 0.0) -> bool:
        starts_at = time.monotonic() + after_seconds
        return self._definition is None or _has_time(self._definition, self._invocation, starts_at)

    def _without_lease(self, job: Job) -> Result | None:
        from lambda_tasks.dispatch import leases  # noqa: PLC0415 - for functions with a table

        take = functools.partial(_take_lease, job, self._invocation)
        result = take(_details(job, self._invocation)) if job.early is None else job.early.result()
        if job.is_elsewhere:
            due_seconds = _seconds_until(job.due_at)
            if due_seconds <= leases.SOON_SECONDS and self._has_time(due_seconds):
                time.sleep(due_seconds)  # a crash left it: to wait a little costs no delivery
                result = take(_details(job, self._invocation))
        wants_key = job.key is not None and job.key_lease is None and job.result is None
        if wants_key and job.early is not None and (result is None or result.reason == KEY_BUSY):
            return _take_key(job, self._invocation)  # another one of this batch may have had it
        if result is not None and result.reason == ELSEWHERE:
            return structs.replace(result, visible_after_seconds=_seconds_until(job.due_at))
        return result

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

    def take_turns(self, ready: list[Job]) -> list[Job]:
        """Take the turns of messages, and return those that may run: of a FIFO group, up to one that has to wait."""
        from lambda_tasks.dispatch.occasional import turns  # noqa: PLC0415 - for tasks with a rate limit

        for job in ready:
            if job.group is not None and self._is_blocked:
                job.result = self.take_turn_behind(job, has_lease=True)
            else:
                job.result = turns.take(job, self._invocation, self._has_time)
            self._is_blocked |= job.result is not None
        return [job for job in ready if job.result is None]

    def take_turn_behind(self, job: Job, *, has_lease: bool = False) -> Result:
        """Return the outcome of a message behind one that waits for its turn: it comes back at its own."""
        from lambda_tasks.dispatch.occasional import turns  # noqa: PLC0415

        behind = deferred(job, OUT_OF_ORDER)
        if not has_lease:
            result = _take_lease(job, self._invocation, _details(job, self._invocation), takes_key=False)
            if result is not None:
                return result if result.reason in (RATED, ELSEWHERE) else behind
        return turns.take(job, self._invocation, self._has_time, may_wait=False) or behind


def _expired(at: float) -> str:
    return "it expired at " + time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _needs_lease(job: Job) -> bool:
    """Tell whether a message is to run, or never can: that is recorded too."""
    return job.result is None or job.result.outcome.is_final


def _details(job: Job, invocation: Invocation) -> Mapping[str, str]:
    """Return what a record says of this attempt. A hook of the application's may be called for it."""
    from lambda_tasks.definition import recorded  # noqa: PLC0415 - for functions with a table

    settings, environ = invocation.worker.settings, invocation.worker.environ
    return recorded.details(job, environ, invocation.request_id, records_kwargs=settings.record_kwargs)


def _take_lease(
    job: Job, invocation: Invocation, details: Mapping[str, str], *, takes_key: bool = True
) -> Result | None:
    from lambda_tasks.dispatch import leases  # noqa: PLC0415 - for functions with a table

    state, breaker = invocation.worker.state, invocation.leases
    assert state is not None  # noqa: S101 - for mypy
    with breaker.turn():
        if breaker.is_open:
            return _without_state(job, breaker.last)
        clock, now = invocation.time, time.monotonic()
        seconds, deadline = _lease_seconds(job, invocation, now), clock.settle_deadline(now)
        try:
            result = leases.take(job, state, lease_seconds=seconds, details=details, deadline=deadline)
        except LambdaTasksError as error:
            breaker.failed(error)
            return _without_state(job, error)
        breaker.succeeded()
    if result is None and job.result is None and job.turn_at is not None:
        from lambda_tasks.dispatch.occasional import turns  # noqa: PLC0415 - for tasks with a rate limit

        if turns.is_far(job, invocation):
            return turns.await_turn(job)
    if result is None and takes_key and job.result is None and job.key is not None:
        return _take_key(job, invocation)
    return result


def _lease_seconds(job: Job, invocation: Invocation, now: float) -> float:
    clock, longest = invocation.time, invocation.worker.longest_lease_seconds
    return min(clock.ends_at - now, max(longest, _limit_of(job) + clock.grace_seconds))


def _take_key(job: Job, invocation: Invocation) -> Result | None:
    from lambda_tasks.dispatch import leases  # noqa: PLC0415 - for messages with keys

    keys, clock, now = invocation.worker.keys, invocation.time, time.monotonic()
    assert keys is not None  # noqa: S101 - for mypy
    seconds = _lease_seconds(job, invocation, now) + leases.MARGIN_SECONDS
    try:
        return leases.take_key(job, keys, lease_seconds=seconds, deadline=clock.settle_deadline(now))
    except LambdaTasksError as error:
        invocation.leases.failed(error)
        return _without_state(job, error)


def _limit_of(job: Job) -> float:
    """Return the task's own hard timeout, which is above that of any function where containers run it; 0 for none."""
    own = None if job.definition is None else job.definition.options.hard_timeout
    return own or 0.0


def _seconds_until(epoch_seconds: float) -> float:
    return max(0.1, epoch_seconds - time.time())


def _without_state(job: Job, error: Exception | None) -> Result:
    return Result(Outcome.DEFERRED, job.task_name, error, reason=NO_STATE)
