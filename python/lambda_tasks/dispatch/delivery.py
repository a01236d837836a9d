"""Delivery: an SQS record to a job that can run, or that has its outcome already.

The body is read, the payload that it may point to is fetched, the task is found, and the kwargs are decoded. Whatever
one of these raises is the outcome of that message alone.
"""

from __future__ import annotations

import functools
import math
import time
from typing import TYPE_CHECKING

from lambda_tasks.definition import retry
from lambda_tasks.definition.lookup import ModuleRaised
from lambda_tasks.dispatch.job import Job
from lambda_tasks.errors import (
    InvalidTask,
    MalformedMessage,
    MessageRejected,
    NoRoomForPayload,
    PayloadNotAllowed,
    PayloadUnavailable,
)
from lambda_tasks.limits.timeouts import Limits
from lambda_tasks.messages import attributes, body
from lambda_tasks.messages.body import Message
from lambda_tasks.messages.outcome import Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from lambda_tasks.definition.definition import Definition
    from lambda_tasks.dispatch.invocation import Invocation
    from lambda_tasks.messages.fetching import Fetching
    from lambda_tasks.messages.payload import Pointer
    from lambda_tasks.state.turns import RateLimit

# Of what the invocation has for its tasks: payloads, and a module among others, may take no more. The rest is theirs.
_PREPARATION_PART = 0.5
# As long as everything waits for payloads, so that most invocations run at once, in the order in which SQS gave them.
# It is less than what a task may miss of a fresh invocation's time (see `lambda_tasks.limits.timeouts`).
_PATIENCE_PART = 0.01
_LEAST_PATIENCE_SECONDS = 0.05
_MOST_PATIENCE_SECONDS = 1.0
# The backoff of a message whose task, and with it the task's own delay, is not known.
_RETRY_DELAY_SECONDS = 30.0


def deliver(invocation: Invocation) -> Iterator[list[Job]]:
    """Make a job for each record of the invocation, and yield them as they can run, in order.

    All come together, but where payloads are late: then the messages that are here run first, while those are fetched.
    Of a FIFO group the later messages wait for the payload of an earlier one.
    """
    now, must_end_at = time.time(), invocation.time.tasks_end_at
    jobs = invocation.jobs = [Job(record, record, now, must_end_at) for record in invocation.records]
    preparation = _Preparation(invocation)
    pointers = preparation.read(jobs)
    if not pointers:
        yield jobs
        return
    fetching, elsewhere = _fetching(list(pointers.values()), invocation), list(pointers)
    fetching.wait(_patience_seconds(invocation) if len(elsewhere) < len(jobs) else math.inf)
    awaited = _prepare_found(elsewhere, fetching, preparation, is_over=len(elsewhere) == len(jobs))
    if not awaited:
        yield jobs
        return
    ready, later = _divided(jobs, awaited)
    yield ready
    fetching.wait()
    _prepare_found(elsewhere, fetching, preparation, is_over=True)
    yield _not_held_back(ready, later, invocation)


class _Preparation:
    """The preparation of an invocation's messages, each by itself. A module that raised is not imported again."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._lookup = invocation.worker.lookup
        self._raised: dict[str, ModuleRaised] = {}
        self._others: tuple[Sequence[tuple[Job, Message]], Collection[Job]] = [], []

    def read(self, jobs: Sequence[Job]) -> dict[Job, Pointer]:
        """Prepare the jobs whose messages are here, and return where those of the others are."""
        messages: list[tuple[Job, Message]] = []
        pointers: dict[Job, Pointer] = {}
        for job in jobs:
            try:
                received, job.sent = body.read(job.record)
                if isinstance(received, Message):
                    messages.append((job, received))
                else:
                    pointers[job] = self._allowed(received)
            except BaseException as error:  # noqa: BLE001 - of this message alone
                self.fail(job, error)
        self._others = messages, pointers
        for job, message in messages:
            self.prepare(job, message)
        return pointers

    def prepare(self, job: Job, message: Message) -> None:
        """Find the task and decode the kwargs, or note why not."""
        name = job.task_name = message.task_name
        job.n_retries = message.n_retries
        given_key = None
        job.record_id = message.id
        if job.sent.get("messageAttributes"):
            job.expires_at = attributes.expires_at(job.sent)
            given_key = attributes.own(job.sent, attributes.IDEMPOTENCY_KEY)
            continued = attributes.own(job.sent, attributes.CONTINUES)
            if continued is not None:
                job.record_id, job.continues = continued[: body.MAX_ID_CHARACTERS], True
        try:
            definition = self._lookup.known.get(name) or self._found(name)
            job.is_found = True
            job.kwargs = definition.decode(message)
            if given_key is not None or not definition.is_plain:
                _relate(job, definition, given_key, self._invocation)
            job.definition = definition
        except BaseException as error:  # noqa: BLE001 - of this message alone
            self.fail(job, error)

    def fail(self, job: Job, error: BaseException) -> None:
        """Note what becomes of a message that cannot be prepared."""
        if isinstance(error, (MessageRejected, InvalidTask)):
            job.result = Result(Outcome.REJECTED, job.task_name, error)
        elif isinstance(error, NoRoomForPayload):
            job.result = Result(Outcome.DEFERRED, job.task_name, error, visible_after_seconds=0)
        elif isinstance(error, (ModuleRaised, PayloadUnavailable, MemoryError)):
            seconds = retry.backoff_seconds(_RETRY_DELAY_SECONDS, job.retries, self._invocation.worker.jitter())
            cause = error.error if isinstance(error, ModuleRaised) else error
            job.result = Result(Outcome.RETRYING, job.task_name, cause, visible_after_seconds=seconds)
        else:
            job.result = Result(Outcome.FAILED, job.task_name, error)

    def _allowed(self, pointer: Pointer | MalformedMessage) -> Pointer:
        if isinstance(pointer, MalformedMessage):
            raise pointer
        if pointer.bucket not in self._invocation.worker.settings.payload_buckets:
            remedy = "name the bucket there if messages may point into it"
            variable = "LAMBDA_TASKS_PAYLOAD_BUCKET"
            problem = "the pointer leads to another bucket"
            raise PayloadNotAllowed(problem, variable=variable, source=pointer.source, remedy=remedy)
        return pointer

    def _found(self, name: str) -> Definition:
        """Return the task, after the import of its module within a part of the invocation's time."""
        module = name.rpartition(".")[0]
        for raised in self._raised.values():
            if f"{module}.".startswith(f"{raised.module}."):
                raise raised.with_traceback(None)
        try:
            return self._within_time(functools.partial(self._lookup.find, name), alone=self._is_alone(module))
        except ModuleRaised as error:
            self._raised[error.module] = error
            raise

    def _is_alone(self, module: str) -> bool:
        """Tell whether no other message waits for the import of `module`."""
        messages, elsewhere = self._others
        return not elsewhere and all(one.task_name.rpartition(".")[0] == module for _, one in messages)

    def _within_time(self, find: Callable[[], Definition], *, alone: bool) -> Definition:
        clock = self._invocation.time
        if clock.tasks_end_at == math.inf:
            return find()
        seconds = (clock.tasks_end_at - time.monotonic()) * (1.0 if alone else _PREPARATION_PART)
        limits = Limits(hard=max(0.0, seconds))
        with self._invocation.interrupter() as interrupter:
            return interrupter.run(limits, find)


def _relate(job: Job, definition: Definition, given_key: str | None, invocation: Invocation) -> None:
    """Note by what a message belongs to others: its key, its singleton, its rate limit, its batch."""
    job.is_alone = False
    if given_key is not None or definition.options.idempotency_key:
        from lambda_tasks.definition import keys  # noqa: PLC0415 - for messages with keys

        job.key = keys.key_of(definition, job.kwargs, given_key)
    if definition.options.rate_limit:
        job.rate_limit = _rate_limit(job, definition, invocation)
    if definition.options.singleton:
        job.singleton_key = definition.singleton_key(job.kwargs)
    if definition.options.batch:
        singleton = repr(definition.singleton_values(job.kwargs))
        job.batch_key = definition.name, job.context.group_key, singleton


def _rate_limit(job: Job, definition: Definition, invocation: Invocation) -> RateLimit | None:
    """Return the limit of a message. Where messages run as they are enqueued there is none: nothing is waited for."""
    if invocation.worker.state is None:
        if invocation.worker.runs_here:
            return None
        remedy = "set LAMBDA_TASKS_TABLE: without it nobody counts"
        raise InvalidTask("a rate limit needs a table", source=f"task {definition.name}", remedy=remedy)
    from lambda_tasks.definition import keys  # noqa: PLC0415 - for tasks with a rate limit
    from lambda_tasks.state.turns import RateLimit  # noqa: PLC0415

    return RateLimit(*keys.rate_limit_of(definition, job.kwargs))


def _fetching(pointers: Sequence[Pointer], invocation: Invocation) -> Fetching:
    """Begin to fetch payloads."""
    from lambda_tasks.messages.fetching import Fetching, memory_for_payloads  # noqa: PLC0415 - few messages have any

    worker = invocation.worker
    seconds = (invocation.time.tasks_end_at - time.monotonic()) * _PREPARATION_PART
    fetching = Fetching(pointers, worker.calls, max(0.0, seconds), memory_for_payloads(worker.environ))
    fetching.start()
    return fetching


def _patience_seconds(invocation: Invocation) -> float:
    left = invocation.time.tasks_end_at - time.monotonic()
    return min(max(left * _PATIENCE_PART, _LEAST_PATIENCE_SECONDS), _MOST_PATIENCE_SECONDS)


def _prepare_found(jobs: Sequence[Job], fetching: Fetching, preparation: _Preparation, *, is_over: bool) -> set[Job]:
    """Prepare the jobs whose payloads came, and return those whose payloads are still awaited."""
    found, awaited = fetching.found(), set()
    for number, job in enumerate(jobs):
        if job.result is not None or job.definition is not None:
            continue
        message = found.get(number)
        if isinstance(message, Message):
            preparation.prepare(job, message)
        elif message is not None:
            preparation.fail(job, message)
        elif is_over:
            preparation.fail(job, fetching.missing(number))
        else:
            awaited.add(job)
    return awaited


def _divided(jobs: Sequence[Job], awaited: Collection[Job]) -> tuple[list[Job], list[Job]]:
    """Return the jobs that can run now, and those that wait for a payload, or for such a one of their FIFO group."""
    ready: list[Job] = []
    later: list[Job] = []
    groups = set()
    for job in jobs:
        if job in awaited or (job.group is not None and job.group in groups):
            groups.add(job.group)
            later.append(job)
        else:
            ready.append(job)
    return ready, later


def _not_held_back(ran: Sequence[Job], later: Sequence[Job], invocation: Invocation) -> list[Job]:
    """Return the jobs that may run after the others, and defer those behind an unfinished one of their FIFO group."""
    unfinished = {job.group for job in ran if job.group is not None and not job.is_done_with}
    held_back = [job for job in later if job.group in unfinished]
    if held_back:
        invocation.settlement.defer([held_back])
    return [job for job in later if job.group not in unfinished]
