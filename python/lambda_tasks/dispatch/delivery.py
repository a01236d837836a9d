"""Delivery: an SQS record to a job that can run, or that has its outcome already.

The body is read, the payload that it may point to is fetched, the task is found, and the kwargs are decoded. Payloads
are fetched at the same time.
"""

from __future__ import annotations

import functools
import logging
import time
from typing import TYPE_CHECKING

from lambda_tasks.dispatch.job import Job
from lambda_tasks.errors import InvalidTask, LambdaTasksError, MessageRejected, PayloadUnavailable
from lambda_tasks.messages import body
from lambda_tasks.messages.body import Message
from lambda_tasks.messages.outcome import Outcome, Result
from lambda_tasks.messages.payload import Pointer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lambda_tasks.definition.lookup import Lookup
    from lambda_tasks.dispatch.invocation import Invocation

    Fetch = Callable[[str, str], bytes]

logger = logging.getLogger("lambda_tasks")

# The largest payload that is fetched: an invocation has to hold it in memory.
MAX_PAYLOAD_BYTES = 256 * 1024 * 1024
_MOST_THREADS = 10
_PAYLOAD_TIMEOUT_SECONDS = 60.0
_PAYLOAD_PART = 0.5  # of what the invocation has for its tasks: the rest is theirs


def deliver(invocation: Invocation) -> list[Job]:
    """Return a job for each record of the invocation, in order."""
    now, must_end_at = time.time(), invocation.time.tasks_end_at
    lookup = invocation.worker.lookup
    jobs: list[Job] = []
    elsewhere: list[tuple[Job, Pointer]] = []
    for record in invocation.records:
        received, sent = body.read(record)
        job = Job(record, sent, now, must_end_at)
        jobs.append(job)
        if isinstance(received, Message):
            _prepare(job, received, lookup)
        elif isinstance(received, Pointer):
            elsewhere.append((job, received))
        else:
            job.result = Result(Outcome.REJECTED, None, received)
    if elsewhere:
        _prepare_all(elsewhere, invocation)
    return jobs


def _prepare(job: Job, received: Message, lookup: Lookup) -> None:
    """Find the task and validate the kwargs, or note why not."""
    name = job.task_name = received.task_name
    job.n_retries = received.n_retries
    try:
        definition = lookup.find(name)
        job.kwargs = definition.decode_kwargs(received.kwargs)
        job.definition = definition
    except (MessageRejected, InvalidTask) as error:
        job.result = Result(Outcome.REJECTED, name, error)
    except BaseException as error:  # noqa: BLE001 - the task's module raised while it was imported
        job.result = Result(Outcome.FAILED, name, error)


def _prepare_all(elsewhere: Sequence[tuple[Job, Pointer]], invocation: Invocation) -> None:
    """Prepare the jobs whose messages lie in S3."""
    now = time.monotonic()
    seconds = min(_PAYLOAD_TIMEOUT_SECONDS, (invocation.time.tasks_end_at - now) * _PAYLOAD_PART)
    fetch = functools.partial(invocation.worker.calls.get_object, deadline=now + seconds, max_bytes=MAX_PAYLOAD_BYTES)
    for (job, _), fetched in zip(elsewhere, _fetched([pointer for _, pointer in elsewhere], fetch), strict=True):
        if isinstance(fetched, Message):
            _prepare(job, fetched, invocation.worker.lookup)
        else:
            outcome = Outcome.DEFERRED if isinstance(fetched, PayloadUnavailable) else Outcome.REJECTED
            job.result = Result(outcome, None, fetched)


def _fetched(pointers: Sequence[Pointer], fetch: Fetch) -> list[Message | LambdaTasksError]:
    """Return the message that lies at each place, or why it cannot be had."""
    if len(pointers) == 1:
        return [_message_at(pointers[0], fetch)]
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - for batches with several payloads

    with ThreadPoolExecutor(min(len(pointers), _MOST_THREADS), thread_name_prefix="lambda-tasks-payload") as pool:
        return list(pool.map(lambda pointer: _message_at(pointer, fetch), pointers))


def _message_at(pointer: Pointer, fetch: Fetch) -> Message | LambdaTasksError:
    try:
        return body.decode(pointer.fetch(fetch))
    except LambdaTasksError as error:
        return error
