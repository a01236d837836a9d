"""The state of one invocation, which its calls and threads share."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import time
from typing import TYPE_CHECKING

from lambda_tasks.dispatch.settlement import Settlement
from lambda_tasks.limits import interrupting
from lambda_tasks.limits.circuit_breaker import CircuitBreaker
from lambda_tasks.limits.watchdog import Watchdog
from lambda_tasks.settings import MAX_CONCURRENCY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from lambda_tasks.dispatch.job import Job
    from lambda_tasks.dispatch.worker import Worker
    from lambda_tasks.limits.signal_interrupter import Interrupter
    from lambda_tasks.messages.sqs_event import LambdaContext, PartialBatchResponse, Record
    from lambda_tasks.state.side_calls import SideCall


class Invocation:
    """The messages of one invocation, its time, and what its calls have to know of each other.

    `has_started` tells that a task was called, `has_stuck_calls` that a task's code could not be stopped. A call's
    start is to be told where it `is_observed` (None for not known yet). Connections are tidied up around leases too,
    where Django's database has these (`tidies_leases`). A call `needs_care` there, and where memory is guarded. Unless
    this process `can_answer` by itself there is no watchdog, but where its threads need one.
    """

    def __init__(
        self,
        worker: Worker,
        records: Sequence[Record],
        context: LambdaContext | None,
        rescue: Callable[[Invocation], object],
    ) -> None:
        self.worker = worker
        self.records = records
        self.request_id = request_id_of(context)
        remaining = getattr(context, "get_remaining_time_in_millis", None)
        remaining_seconds = remaining() / 1000 if remaining is not None else math.inf
        margin_seconds = worker.settings.reporting_margin_seconds
        self.time = clock = worker.function_time.start(remaining_seconds, margin_seconds, time.monotonic())
        self.settlement = Settlement(worker, clock, self.request_id)
        self.jobs: list[Job] = []
        self._settling: list[SideCall[None]] = []
        self.leases = CircuitBreaker()
        self.has_started = self.has_stuck_calls = False
        self.is_observed: bool | None = None
        self.is_surrounded = worker.application is not None or bool(worker.settings.atomic)
        self.tidies_leases = self.is_surrounded and worker.settings.record_database is not None
        self.needs_care = self.tidies_leases or worker.memory_guard is not None
        self.watchdog: Watchdog[Any] | None = None
        self.can_answer = clock.ends_at < math.inf and can_answer(worker.environ)
        if self.can_answer:
            ends_at = clock.tasks_end_at + clock.grace_seconds
            self.watchdog = Watchdog(worker.timer, ends_at, functools.partial(rescue, self))

    @property
    def is_exhausted(self) -> bool:
        """Whether memory ran out for good, so that this process is to end with the invocation, and another to begin."""
        guard = self.worker.memory_guard
        return guard is not None and guard.is_exhausted and self.can_answer

    def interrupter(self) -> contextlib.closing[Interrupter]:
        """Give what raises limits in this thread, until the end of a ``with`` statement."""
        return interrupting.of_this_thread(lambda: self.worker.timer, self.time.grace_seconds)

    def beside(self, settle: Callable[[], None]) -> None:
        """Begin to settle messages beside the tasks."""
        self.worker.prepare_for_threads()
        self._settling.append(self.worker.side_calls.begin(settle))

    def await_settled(self) -> None:
        """Wait until everything is settled that is settled beside the tasks."""
        while self._settling:
            self._settling.pop().result()
        self.settlement.tell()

    def response(self) -> PartialBatchResponse:
        """Return the answer to the event: every message that must not be deleted, whatever became of it."""
        kept = [job.message_id for job in self.jobs if not job.is_done_with]
        if not self.jobs:  # they are made all at once, and were not yet
            kept = [record["messageId"] for record in self.records]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in kept]}


def can_answer(environ: Mapping[str, str]) -> bool:
    """Tell whether this process is a runtime, or one of several, which can be started anew alone.

    A runtime that has its requests in threads cannot: it would end them all.
    """
    if not environ.get("AWS_LAMBDA_RUNTIME_API"):
        return False
    return not environ.get(MAX_CONCURRENCY) or threading.current_thread() is threading.main_thread()


def request_id_of(context: LambdaContext | None) -> str:
    """Return the id of the request, or an empty text."""
    request_id = getattr(context, "aws_request_id", "")
    return request_id if isinstance(request_id, str) else ""
