"""One call of a task to outcomes: for one message or, for a batch task, for several."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lambda_tasks.errors import HardTimeLimitExceeded, SoftTimeLimitExceeded
from lambda_tasks.tasks import context as contexts
from lambda_tasks.tasks import retry, telemetry, timeouts, tracing
from lambda_tasks.tasks.job import ms_since
from lambda_tasks.tasks.outcome import Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lambda_tasks.tasks.batch import Item
    from lambda_tasks.tasks.context import Bearer
    from lambda_tasks.tasks.interrupt import Interrupter
    from lambda_tasks.tasks.job import Job
    from lambda_tasks.tasks.timeouts import InvocationTime
    from lambda_tasks.tasks.worker import Worker

_LONGEST_FUNCTION_SECONDS = 900.0


class Call:
    """One call of a task: what it is for, and what limits it. It leaves a result with each of its messages (`jobs`)."""

    limits = timeouts.UNLIMITED
    _items: Mapping[Job, Item[Any]] = MappingProxyType({})

    def __init__(
        self, jobs: Sequence[Job], worker: Worker, invocation: InvocationTime, *, is_first: bool, is_observed: bool
    ) -> None:
        self.jobs = jobs
        self._is_first = is_first
        self._is_observed = is_observed
        self._task: Any = jobs[0].task  # of all of them; what has none is refused
        self.worker = worker
        self._time = invocation

    def begin(self) -> bool:
        """Decide whether the task is to be called: not without its leases, nor where there is not enough time."""
        now, worker = time.monotonic(), self.worker
        left = self._time.tasks_end_at - now
        for job in self.jobs:
            if job.result is None and left < math.inf and not self._is_first:
                job.result = self._without_time(job, left)
            if worker.state is not None and (job.result is None or job.result.outcome.is_dead):
                job.result = self._without_lease(job, now) or job.result
        self._ready = [job for job in self.jobs if job.result is None]
        if not self._ready:
            return False
        options = self._task.configuration
        limits = timeouts.limits(options, worker.settings, left)
        if limits is not timeouts.UNLIMITED:
            self.limits = limits
            for job in self._ready:
                job.must_end_at = now + limits.hard
        if options.batch:
            from lambda_tasks.tasks.batch import Item  # noqa: PLC0415 - for functions with batch tasks

            self._items = {job: Item(job.kwargs, job.context) for job in self._ready}
        if worker.memory_guard is not None:
            worker.memory_guard.limit_tasks()
        self._started = time.perf_counter()
        return True

    @property
    def kwargs(self) -> dict[str, Any]:
        """What the task is called with."""
        return {self._task.batch_parameter: list(self._items.values())} if self._items else self._ready[0].kwargs

    @property
    def function(self) -> Callable[[], Any]:
        """What is to be called."""
        return functools.partial(self._task.function, **self.kwargs)

    def run(self, interrupter: Interrupter) -> None:
        """Call the task within its limits, and note how that ended."""
        if self._is_observed:
            with self.surroundings():
                self._run(interrupter)
            return
        token = contexts.bearer.set(self._bearer)
        try:
            self._run(interrupter)
        finally:
            contexts.bearer.reset(token)

    @contextlib.contextmanager
    def surroundings(self) -> Iterator[None]:
        """Have the messages' context and a span around the task. The span is told what became of the first message."""
        first, context = self._ready[0], self._bearer.context
        queue = str(first.record.get("eventSourceARN") or "").rpartition(":")[2]
        with contexts.activated(context), tracing.process_span(context, queue) as span:
            self._announce_start()
            yield
            result = first.result
            if result is not None:
                span.conclude(result.outcome.value, result.error, failed=not result.outcome.deletes_message)

    @property
    def is_over(self) -> bool:
        """Whether the task has returned, or raised."""
        return all(job.result is not None for job in self._ready)

    def returned(self, value: object) -> None:
        """Note what the task returned: its messages succeeded, but for those that a batch task failed."""
        duration_ms = ms_since(self._started)
        for job in self._ready:
            error = self._items[job].error if self._items else None
            if error is not None:
                job.result = self._raised(job, error, duration_ms)
            else:
                job.result = Result(Outcome.SUCCEEDED, job.task_name, None, value, duration_ms)

    def raised(self, error: BaseException) -> None:
        """Note what the task raised, for its messages but those that a batch task failed with an error of their own."""
        if self.worker.memory_guard is not None:
            self.worker.memory_guard.relieve(error)
        duration_ms = ms_since(self._started)
        _forget_our_frames(error)
        for job in self._ready:
            own = self._items[job].error if self._items else None
            job.result = self._raised(job, own or error, duration_ms)

    @property
    def _bearer(self) -> Bearer:
        if len(self._ready) == 1:
            return self._ready[0]
        return contexts.of_batch([job.context for job in self._ready])

    def _run(self, interrupter: Interrupter) -> None:
        try:
            if self.limits is timeouts.UNLIMITED:
                value = self._task.function(**self.kwargs)
            else:
                value = interrupter.run(self.limits, self.function)
        except BaseException as error:  # noqa: BLE001 - a task that exits must not take the batch with it
            if self.worker.memory_guard is not None:
                self.worker.memory_guard.make_room()
            self.raised(error)
        else:
            self.returned(value)

    def _without_time(self, job: Job, left_seconds: float) -> Result | None:
        if timeouts.may_start(self._task.configuration, left_seconds, self._time.fresh_seconds):
            return None
        return Result(Outcome.DEFERRED, job.task_name, visible_after_seconds=0)

    def _without_lease(self, job: Job, now: float) -> Result | None:
        from lambda_tasks.tasks import claims  # noqa: PLC0415 - for functions with a table

        assert self.worker.state is not None  # noqa: S101 - for mypy
        return claims.claim(
            job,
            self.worker.state,
            lease_seconds=min(self._time.ends_at - now, _LONGEST_FUNCTION_SECONDS),
            jitter=self.worker.jitter(),
            deadline=self._time.deadline(now),
        )

    def _announce_start(self) -> None:
        if telemetry.start_is_awaited():
            kwargs = {"items": [job.kwargs for job in self._ready]} if self._items else self._ready[0].kwargs
            telemetry.announce_start(self._bearer.context, kwargs)

    def _raised(self, job: Job, error: BaseException, duration_ms: float) -> Result:
        delay: float | None = None
        if self._was_cut_short(error):
            outcome, delay = Outcome.DEFERRED, 0.0
        else:
            options = self._task.configuration
            outcome = retry.outcome_of(error, options, job.retries)
            if outcome is Outcome.RETRYING:
                delay = retry.delay_seconds(error, options, job.retries, self.worker.jitter())
        return Result(outcome, job.task_name, error, None, duration_ms, delay)

    def _was_cut_short(self, error: BaseException) -> bool:
        """Tell whether the invocation's end stopped the task, before it had what a fresh one would give it."""
        if isinstance(error, HardTimeLimitExceeded):
            limit = timeouts.hard
        elif isinstance(error, SoftTimeLimitExceeded):
            limit = timeouts.soft
        else:
            return False
        fresh = timeouts.limits(self._task.configuration, self.worker.settings, self._time.fresh_seconds)
        return timeouts.was_cut_short(limit, self.limits, fresh)


def _forget_our_frames(error: BaseException) -> None:
    """Let the traceback begin in the task: how it was called says nothing about what went wrong."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_globals.get("__package__") == __package__:
        traceback = traceback.tb_next
    if traceback is not None:
        error.__traceback__ = traceback
