"""The leases that a message needs before its task may run, and what is written when it ended.

What can never run needs one too: its rejection is recorded, unless it is a duplicate of a message that succeeded, as
after a deployment that changed its task.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import TYPE_CHECKING, Any

from lambda_tasks.errors import LambdaTasksError, LeaseLost
from lambda_tasks.state.protocol import AlreadySucceeded, Attempt, Busy, SingletonLease, Started
from lambda_tasks.state.record import Ending, Status
from lambda_tasks.state.singleton import singleton_key
from lambda_tasks.tasks.delivery import first_received_at
from lambda_tasks.tasks.outcome import Outcome, Result

if TYPE_CHECKING:
    from lambda_tasks.state.protocol import State
    from lambda_tasks.tasks.job import Job
    from lambda_tasks.tasks.task import Task

logger = logging.getLogger("lambda_tasks")

# For the clocks of two execution environments, and what is left to do after the function was killed.
_LEASE_MARGIN_SECONDS = 1.0
# Of a name that anybody may have sent: it is part of a key, which has at most 2,048 bytes in DynamoDB.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
_LONGEST_TASK_NAME = 512
_STATUSES = {
    Outcome.SUCCEEDED: Status.SUCCEEDED,
    Outcome.SKIPPED: Status.SUCCEEDED,
    Outcome.RETRYING: Status.RETRYING,
    Outcome.FAILED: Status.FAILED,
    Outcome.REJECTED: Status.REJECTED,
    Outcome.DEFERRED: Status.DEFERRED,
}


@dataclasses.dataclass(frozen=True)
class Claim:
    """The leases of one message."""

    attempt: Attempt
    started: Started
    singleton: SingletonLease | None = None


def claim(job: Job, state: State, *, lease_seconds: float, jitter: float, deadline: float) -> Result | None:
    """Take the leases for `job` and return None; or return why it is not to run now.

    `jitter`, from 0 to 1, spreads when messages are tried again whose singleton is busy.
    """
    name = (job.task_name or "")[:_LONGEST_TASK_NAME]
    attempt = Attempt(
        job.message_id,
        name,
        lease_seconds + _LEASE_MARGIN_SECONDS,
        first_received_at=first_received_at(job.record),
    )
    try:
        started = state.start(attempt, deadline=deadline)
        if isinstance(started, AlreadySucceeded):
            return Result(Outcome.SKIPPED, name)
        if isinstance(started, Busy):
            return Result(Outcome.DEFERRED, name, visible_after_seconds=max(1.0, started.until - time.time()))
        job.claim = Claim(attempt, started)
        if job.task is not None and job.task.configuration.singleton:
            return _claim_singleton(job, job.task, state, job.claim, jitter, deadline)
    except LambdaTasksError as error:
        return Result(Outcome.DEFERRED, name, error)
    return None


def conclude(job: Job, result: Result, state: State, deadline: float) -> bool:
    """Write the outcome and give the leases back; tell whether that was done and the lease was still ours."""
    if job.claim is None:
        return True
    claim, job.claim = job.claim, None
    ending = Ending.of(_STATUSES[result.outcome], value=result.value, error=result.error)
    write = state.release if result.outcome in (Outcome.RETRYING, Outcome.DEFERRED) else state.finish
    done = True
    try:
        write(claim.attempt, ending, deadline=deadline)
    except LambdaTasksError as error:
        _warn(job, "the outcome was not recorded", error)
        done = False
    if claim.singleton is not None:
        try:
            state.surrender(claim.singleton, deadline=deadline)
        except LeaseLost as error:
            _warn(job, "two messages of a singleton may have run together", error)
        except LambdaTasksError as error:
            _warn(job, "the singleton stays busy until its lease ends", error)
            done = False
    return done


def _claim_singleton(
    job: Job, task: Task[..., Any], state: State, claim: Claim, jitter: float, deadline: float
) -> Result | None:
    key = singleton_key(task.name, task.singleton_values(job.kwargs))
    lease = SingletonLease(key, claim.attempt.owner, claim.attempt.lease_seconds, job.message_id)
    busy = state.acquire(lease, deadline=deadline)
    if busy is None:
        job.claim = dataclasses.replace(claim, singleton=lease)
        return None
    if task.configuration.singleton_busy == "skip":
        return Result(Outcome.SKIPPED, task.name)
    return Result(Outcome.DEFERRED, task.name, visible_after_seconds=task.configuration.retry_delay * (1 + jitter) / 2)


def _warn(job: Job, problem: str, error: LambdaTasksError) -> None:
    logger.warning("%s (message %s): %s", problem, job.message_id, error)
