"""The leases that a message needs before its task may run, and the outcome that is written when it gives them back.

A message that can never run needs a lease too: its rejection is recorded, unless the message is a duplicate of one that
succeeded, as after a deployment that changed its task.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from lambda_tasks.dispatch.job import HeldLeases
from lambda_tasks.errors import LambdaTasksError, LeaseLost
from lambda_tasks.messages.outcome import Outcome, Result
from lambda_tasks.messages.sqs_event import first_received_at
from lambda_tasks.state.protocol import AlreadySucceeded, Attempt, Busy, SingletonLease
from lambda_tasks.state.record import Ending, Status

if TYPE_CHECKING:
    from lambda_tasks.definition.definition import Definition
    from lambda_tasks.dispatch.job import Job
    from lambda_tasks.state.protocol import State

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


def take(job: Job, state: State, *, lease_seconds: float, jitter: float, deadline: float) -> Result | None:
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
        job.leases = HeldLeases(attempt, started)
        if job.definition is not None and job.definition.options.singleton:
            return _take_singleton(job, job.definition, state, job.leases, jitter, deadline)
    except LambdaTasksError as error:
        return Result(Outcome.DEFERRED, name, error)
    return None


def give_back(job: Job, result: Result, state: State, deadline: float) -> bool:
    """Write the outcome and give the leases back; tell whether that was done and the lease was still ours."""
    if job.leases is None:
        return True
    held, job.leases = job.leases, None
    ending = Ending.of(_STATUSES[result.outcome], value=result.value, error=result.error)
    write = state.release if result.outcome in (Outcome.RETRYING, Outcome.DEFERRED) else state.finish
    done = True
    try:
        write(held.attempt, ending, deadline=deadline)
    except LambdaTasksError as error:
        _warn(job, "the outcome was not recorded", error)
        done = False
    if held.singleton is not None:
        try:
            state.surrender(held.singleton, deadline=deadline)
        except LeaseLost as error:
            _warn(job, "two messages of a singleton may have run together", error)
        except LambdaTasksError as error:
            _warn(job, "the singleton stays busy until its lease ends", error)
            done = False
    return done


def _take_singleton(
    job: Job, definition: Definition, state: State, held: HeldLeases, jitter: float, deadline: float
) -> Result | None:
    key, attempt = definition.singleton_key(job.kwargs), held.attempt
    lease = SingletonLease(key, attempt.owner, attempt.lease_seconds, job.message_id)
    if state.acquire(lease, deadline=deadline) is None:
        job.leases = held._replace(singleton=lease)
        return None
    if definition.options.singleton_busy == "skip":
        return Result(Outcome.SKIPPED, definition.name)
    return Result(
        Outcome.DEFERRED, definition.name, visible_after_seconds=definition.options.retry_delay * (1 + jitter) / 2
    )


def _warn(job: Job, problem: str, error: LambdaTasksError) -> None:
    logger.warning("%s (message %s): %s", problem, job.message_id, error)
