"""The turn of a message whose task has a rate limit: it runs now, or comes back at its turn.

To come back costs one delivery, since the turn is the message's own. Nobody else is given it.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from lambda_tasks.errors import LambdaTasksError
from lambda_tasks.messages.outcome import NO_STATE, RATED, Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from lambda_tasks.dispatch.job import Job
    from lambda_tasks.dispatch.worker import Worker
    from lambda_tasks.limits.circuit_breaker import CircuitBreaker
    from lambda_tasks.limits.timeouts import InvocationTime
    from lambda_tasks.messages.sqs_event import Record

    class Settlement(Protocol):
        """What knows of a message how often it can be delivered again."""

        def deliveries_left(self, job: Job) -> int | None:
            """Return how often; None for any number."""
            ...

    class Invocation(Protocol):
        """The invocation that a message came with."""

        worker: Worker
        records: Sequence[Record]
        time: InvocationTime
        leases: CircuitBreaker

        @property
        def settlement(self) -> Settlement:
            """What settles its messages."""
            ...


# A turn that comes so soon is waited for: to be delivered again would cost a delivery, and take longer.
_SOON_SECONDS = 1.5
_LEAST_SECONDS = 0.001
# SQS hides messages for whole seconds, which are rounded: rather late than before the turn.
_ROUNDING_SECONDS = 0.5


def is_far(job: Job, invocation: Invocation) -> bool:
    """Tell whether a message has a turn, and is not to wait for it here."""
    return job.turn_at is not None and job.turn_at - time.time() > _patience_seconds(job, invocation)


def take(
    job: Job, invocation: Invocation, has_time: Callable[[float], bool], *, may_wait: bool = True
) -> Result | None:
    """Take the turn of a message that has its lease, and return None; or return its outcome where it is not to run now.

    It `may_wait` here for a turn that comes soon, as long as the task `has_time` after so many seconds.
    """
    patience_seconds = _patience_seconds(job, invocation) if may_wait else 0.0
    while True:
        if job.turn_at is None or job.turn_at <= time.time():
            try:
                runs = _take(job, invocation, patience_seconds)
            except LambdaTasksError as error:
                invocation.leases.failed(error)
                return Result(Outcome.DEFERRED, job.task_name, error, reason=NO_STATE)
            if runs:
                return None
        seconds = max(_LEAST_SECONDS, (job.turn_at or 0.0) - time.time())
        if seconds > patience_seconds or not has_time(seconds):
            return await_turn(job)
        time.sleep(seconds)
        patience_seconds -= seconds


def await_turn(job: Job) -> Result:
    """Return the outcome of a message that comes back at its turn."""
    seconds = max(0.0, (job.turn_at or 0.0) - time.time()) + _ROUNDING_SECONDS
    return Result(Outcome.DEFERRED, job.task_name, visible_after_seconds=seconds, reason=RATED)


def _take(job: Job, invocation: Invocation, patience_seconds: float) -> bool:
    """Ask for a turn, and tell whether the message may run now. It has a turn in any case."""
    state, limit = invocation.worker.state, job.rate_limit
    assert state is not None  # noqa: S101 - for mypy: without a table there is no limit
    assert limit is not None  # noqa: S101
    deadline = invocation.time.settle_deadline(time.monotonic())
    turn_at = state.turn(limit, turn_at=job.turn_at, patience_seconds=patience_seconds, deadline=deadline)
    job.turn_at = time.time() if turn_at is None else turn_at
    return turn_at is None


def _patience_seconds(job: Job, invocation: Invocation) -> float:
    """Return how long a message may wait for its turn here: on its last delivery for its part of the invocation."""
    is_last = not isinstance(job.receipt_handle, str) or invocation.settlement.deliveries_left(job) == 0
    seconds = (invocation.time.tasks_end_at - time.monotonic()) / len(invocation.records)
    return seconds if is_last and seconds < math.inf else _SOON_SECONDS
