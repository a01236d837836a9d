"""The leases that a message needs before its task may run, and the outcome that is written when it gives them back.

A message that can never run needs a lease too: its rejection is recorded, unless the message is a duplicate of one that
ended, as after a deployment that changed its task.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from lambda_tasks.dispatch.job import HeldLeases
from lambda_tasks.errors import EndedEarlier, KeyMismatch, LambdaTasksError, LeaseLost
from lambda_tasks.messages.outcome import BUSY, ELSEWHERE, GOES_ON, KEY_BUSY, NO_ATTEMPT, Outcome, Result
from lambda_tasks.messages.sqs_event import first_received_at, sent_at_ms
from lambda_tasks.state.protocol import AlreadyEnded, AlreadySucceeded, Attempt, Busy, Kept, KeyLease, new_owner
from lambda_tasks.state.record import Ending, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambda_tasks.definition.keys import Key
    from lambda_tasks.dispatch.job import Job
    from lambda_tasks.state.protocol import Keys, State

logger = logging.getLogger("lambda_tasks")

# For the clocks of two execution environments, and what is left to do after the function was killed.
MARGIN_SECONDS = 1.0
# The lease of a singleton or a key, while its message waits for the delivery in which its steps go on.
HELD_SECONDS = 300.0
# A lease that is due so soon is waited for: a crash leaves one, where the visibility timeout is as short as it may be.
SOON_SECONDS = 2.5
# Of a name that anybody may have sent: it is part of a key, which has at most 2,048 bytes in DynamoDB.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
_LONGEST_TASK_NAME = 512


def take(job: Job, state: State, *, lease_seconds: float, details: Mapping[str, str], deadline: float) -> Result | None:
    """Take the lease of a message and return None; or return why it is not to run now. `details` go to its record.

    Raises:
        StateUnavailable: the store did not answer.

    """
    name = (job.task_name or "")[:_LONGEST_TASK_NAME]
    sent_ms = sent_at_ms(job.record)
    attempt = Attempt(
        job.own_id,
        name,
        lease_seconds + MARGIN_SECONDS,
        first_received_at=first_received_at(job.record),
        sent_at=None if sent_ms is None else sent_ms / 1000,
        details=details,
    )
    asked_at = time.time()
    started = state.start(attempt, deadline=deadline)
    if isinstance(started, AlreadySucceeded):
        return Result(Outcome.SKIPPED, name)
    if isinstance(started, AlreadyEnded):
        return _ended_earlier(job, started, attempt)
    if isinstance(started, Busy):
        # Another delivery runs it, or ran it and died: its outcome is not for this one to decide.
        job.is_elsewhere, job.due_at = True, started.until
        return Result(Outcome.DEFERRED, name, reason=ELSEWHERE)
    job.is_elsewhere = False
    job.leases = HeldLeases(attempt, started, held_since=asked_at)
    job.attempts = started.attempts
    if started.steps:
        job.rate_limit = None  # it had its turn, and goes on
    job.turn_at = None if job.rate_limit is None else started.turn_at  # it had a limit before a deployment
    job.known_context = None  # it may have been made before the attempts were counted
    return None


def take_singleton(job: Job, state: State, *, deadline: float) -> Result | None:
    """Take the lease of the singleton that a message with a lease belongs to, or return why it is not to run now.

    Raises:
        StateUnavailable: the store did not answer.

    """
    held, definition = job.leases, job.definition
    assert held is not None  # noqa: S101 - for mypy: the message's own lease comes first
    assert definition is not None  # noqa: S101
    attempt, options = held.attempt, definition.options
    lease = KeyLease(
        job.singleton_key or "",
        attempt.owner,
        attempt.lease_seconds - (time.time() - held.held_since),
        job.own_id,
        spacing_seconds=max(1.0, options.retry_delay),
        held_since=held.held_since,
    )
    busy = state.acquire(lease, deadline=deadline)
    if not isinstance(busy, Busy):
        job.leases = held._replace(singleton=lease, acquired_at=time.monotonic())
        return None
    if options.singleton_busy == "skip":
        return Result(Outcome.SKIPPED, definition.name)
    now = time.time()
    turn_seconds = None if busy.turn_at is None else max(0.0, busy.turn_at - now)
    job.busy_seconds = max(0.0, busy.until - now)
    return Result(Outcome.DEFERRED, definition.name, visible_after_seconds=turn_seconds, reason=BUSY)


def take_key(job: Job, keys: Keys, *, lease_seconds: float, deadline: float) -> Result | None:
    """Take the lease of a message's key, after its own; or return why it is not to run, now or ever.

    Raises:
        StateUnavailable: the store did not answer.

    """
    key, held = job.key, job.leases
    assert key is not None  # noqa: S101 - for mypy
    lease = KeyLease(
        key.hash,
        new_owner() if held is None else held.attempt.owner,
        lease_seconds,
        job.own_id,
        held_since=time.time() if held is None else held.held_since,
        kept_seconds=key.seconds,
        check=key.check,
    )
    answer = keys.acquire(lease, deadline=deadline)
    if answer is None:
        job.key_lease = lease
        return None
    if isinstance(answer, Kept):
        return _kept(job, key, answer)
    seconds = max(0.1, answer.until - time.time())
    return Result(Outcome.DEFERRED, job.task_name, visible_after_seconds=seconds, reason=KEY_BUSY)


def give_key_back(job: Job, result: Result, keys: Keys, *, deadline: float) -> None:
    """Give the lease of a key back: kept where its message succeeded, else free.

    Before the message's own outcome is written: a crash between the two must not have another message run.
    """
    lease, job.key_lease = job.key_lease, None
    if lease is None:
        return
    kept = None
    if result.reason == GOES_ON:
        _hold(job, lease, keys, deadline)
        return
    if result.outcome is Outcome.SUCCEEDED and job.has_run:
        kept = Kept(job.own_id, Ending.of(Status.SUCCEEDED, value=result.value).result, lease.check)
    try:
        keys.surrender(lease, kept=kept, deadline=deadline)
    except LeaseLost as error:
        _warn(job, "two messages with one key may have run together", error)
    except LambdaTasksError as error:
        _warn(job, "the key was not kept, or is busy until its lease ends", error)


def _kept(job: Job, key: Key, kept: Kept) -> Result:
    """Return the outcome of a message after one with its key succeeded."""
    if key.check and kept.check and key.check != kept.check:
        problem = f"message {kept.message_id} succeeded with the same key and another payload"
        remedy = "send what differs with a key of its own"
        return Result(
            Outcome.FAILED, job.task_name, KeyMismatch(problem, source=f"task {job.task_name}", remedy=remedy)
        )
    value = None if kept.result is None else msgspec.json.decode(kept.result)
    if kept.message_id == job.own_id:  # its own success, which its record missed
        return Result(Outcome.SUCCEEDED, job.task_name, None, value)
    reason = f"message {kept.message_id} with its key succeeded"
    return Result(Outcome.SKIPPED, job.task_name, None, value, reason=reason, duplicate_of=kept.message_id)


def give_back(job: Job, result: Result, state: State, *, is_final: bool, sends_letter: bool, deadline: float) -> bool:
    """Write the outcome and give the leases back; tell whether the outcome was written.

    Raises:
        LeaseLost: another execution environment has taken the lease over: this outcome does not count.

    """
    if job.leases is None:
        return True
    held, job.leases = job.leases, None
    ending = Ending.of(
        Status(result.outcome.value),
        value=result.value,
        error=result.error,
        reason=result.reason,
        history=held.started.history,
        duplicate_of=result.duplicate_of,
        turn_at=None if job.has_run else job.turn_at,
    )
    if job.work is not None:
        ending = structs.replace(ending, steps=job.work.text)
    has_run = job.has_run and result.reason not in NO_ATTEMPT
    try:
        if is_final:
            state.finish(held.attempt, ending, has_run=has_run, sends_letter=sends_letter, deadline=deadline)
        else:
            state.release(held.attempt, ending, has_run=has_run, deadline=deadline)
    except LeaseLost:
        raise
    except LambdaTasksError as error:
        _warn(job, "the outcome was not recorded", error)
        return False
    finally:
        if held.singleton is not None and result.reason == GOES_ON:
            _hold(job, held.singleton, state, deadline)
        else:
            _surrender(job, held, state, deadline)
    return True


def note_letter(job: Job, attempt: Attempt, state: State, *, was_sent: bool, deadline: float) -> None:
    """Note whether the message's dead letter was sent, so that a duplicate sends it if it has to, and not again."""
    try:
        state.letter(attempt, was_sent=was_sent, deadline=deadline)
    except LambdaTasksError as error:
        _warn(job, "it was not recorded whether the dead letter was sent", error)


def _ended_earlier(job: Job, ended: AlreadyEnded, attempt: Attempt) -> Result:
    """Return the outcome of a message that ended earlier, which is completed now."""
    job.ended_earlier = attempt
    job.has_letter = ended.has_letter
    if ended.status is Status.SKIPPED:
        return Result(Outcome.SKIPPED, job.task_name)
    error = EndedEarlier(ended.error_type or "unknown", ended.error_message or "")
    return Result(Outcome(ended.status.value), job.task_name, error)


def _surrender(job: Job, held: HeldLeases, state: State, deadline: float) -> None:
    if held.singleton is None:
        return
    seconds = time.monotonic() - held.acquired_at if job.has_run else None
    try:
        state.surrender(held.singleton, seconds=seconds, deadline=deadline)
    except LeaseLost as error:
        _warn(job, "two messages of a singleton may have run together", error)
    except LambdaTasksError as error:
        _warn(job, "the singleton stays busy until its lease ends", error)


def _hold(job: Job, lease: KeyLease, keys: Keys, deadline: float) -> None:
    """Keep the lease of a key for the next delivery of a message that goes on: it is that one message's."""
    now = time.time()
    try:
        keys.acquire(structs.replace(lease, lease_seconds=HELD_SECONDS, held_since=now), deadline=deadline)
    except LambdaTasksError as error:
        _warn(job, "another message of its key may run before it goes on", error)


def _warn(job: Job, problem: str, error: LambdaTasksError) -> None:
    logger.warning("%s (message %s): %s", problem, job.message_id, error)
