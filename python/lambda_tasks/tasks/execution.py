"""One call of a task to outcomes: for one message or, for a batch task, for several."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import time
from typing import TYPE_CHECKING, Any

from lambda_tasks.errors import HardTimeLimitExceeded, SoftTimeLimitExceeded
from lambda_tasks.tasks import claims, memory, retry, timeouts
from lambda_tasks.tasks.batch import Item
from lambda_tasks.tasks.context import activated, of_batch
from lambda_tasks.tasks.job import ms_since
from lambda_tasks.tasks.outcome import Outcome, Result
from lambda_tasks.tasks.telemetry import announce_start
from lambda_tasks.tasks.timeouts import Limits
from lambda_tasks.tasks.tracing import process_span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lambda_tasks.tasks.context import Context
    from lambda_tasks.tasks.job import Job
    from lambda_tasks.tasks.task import Task
    from lambda_tasks.tasks.timeouts import InvocationTime
    from lambda_tasks.tasks.worker import Worker


class Call:
    """What one call of a task is for, what limits it, and what became of its messages (`results`, by message)."""

    def __init__(self, jobs: Sequence[Job], worker: Worker, invocation: InvocationTime, *, is_first: bool) -> None:
        self.results: dict[Job, Result] = {}
        self.limits = Limits()
        self._jobs = jobs
        self._worker = worker
        self._time = invocation
        self._is_first = is_first
        self._items: dict[Job, Item[Any]] = {}
        self._started = time.perf_counter()
        self.thread = threading.current_thread()

    def begin(self) -> bool:
        """Decide whether the task is to be called: not without its leases, nor where there is not enough time."""
        for job in self._jobs:
            result = job.refusal or self._without_time(job) or self._without_lease(job)
            if result is not None:
                self.results[job] = result
        ready = self._ready
        if not ready:
            return False
        options = self._task.configuration
        now = time.monotonic()
        self.limits = timeouts.limits(options, self._worker.settings, max(0.0, self._time.tasks_end_at - now))
        for job in ready:
            job.must_end_at = now + self.limits.hard
        if options.batch:
            self._items = {job: Item(job.kwargs, job.context) for job in ready}
        self._started = time.perf_counter()
        return True

    @property
    def function(self) -> Callable[[], Any]:
        """What is to be called."""
        if self._items:
            return functools.partial(self._task.function, **{self._task.batch_parameter: list(self._items.values())})
        return functools.partial(self._task.function, **self._ready[0].kwargs)

    @contextlib.contextmanager
    def surroundings(self) -> Iterator[None]:
        """Have the messages' context, and a span, around the task, which gets the first outcome."""
        ready = self._ready
        context = ready[0].context if len(ready) == 1 else of_batch([job.context for job in ready])
        queue = str(ready[0].delivery.record.get("eventSourceARN") or "").rpartition(":")[2]
        with activated(context), process_span(context, queue) as span:
            self._announce(ready, context)
            yield
            result = self.results.get(ready[0])
            if result is not None:
                failed = not result.outcome.deletes_message
                span.conclude(result.outcome.value, result.error, failed=failed)

    def returned(self, value: object) -> None:
        """Note what the task returned: its messages succeeded, but for those that a batch task failed."""
        duration_ms = ms_since(self._started)
        for job in self._ready:
            error = self._items[job].error if self._items else None
            if error is not None:
                self.results[job] = self._raised(job, error, duration_ms)
            else:
                self.results[job] = Result(
                    Outcome.SUCCEEDED, job.task_name, value=value, duration_ms=duration_ms, ran=True
                )

    def raised(self, error: BaseException) -> None:
        """Note what the task raised, for its messages but those that a batch task failed with an error of their own."""
        duration_ms = ms_since(self._started)
        _forget_our_frames(error)
        if self._worker.settings.memory_guard:
            memory.relieve(error, self._worker.environ)
        for job in self._ready:
            own = self._items[job].error if self._items else None
            self.results[job] = self._raised(job, own or error, duration_ms)

    @property
    def is_complete(self) -> bool:
        """Whether each of its messages has an outcome."""
        return not self._ready

    @property
    def _ready(self) -> list[Job]:
        return [job for job in self._jobs if job not in self.results]

    @property
    def _task(self) -> Task[..., Any]:
        task = self._jobs[0].task
        assert task is not None  # noqa: S101 - for mypy: what has no task is refused
        return task

    def _without_time(self, job: Job) -> Result | None:
        assert job.task is not None  # noqa: S101 - for mypy
        left = self._time.tasks_end_at - time.monotonic()
        if self._is_first or timeouts.may_start(job.task.configuration, left, self._time.fresh_seconds):
            return None
        return Result(Outcome.DEFERRED, job.task_name, visible_after_seconds=0)

    def _without_lease(self, job: Job) -> Result | None:
        state = self._worker.state
        if state is None:
            return None
        assert job.task is not None  # noqa: S101 - for mypy
        options = job.task.configuration
        now = time.monotonic()
        return claims.claim(
            job,
            state,
            lease_seconds=min(self._time.ends_at - now, _LONGEST_FUNCTION_SECONDS),
            busy_seconds=options.retry_delay * (1 + self._worker.jitter()) / 2,
            deadline=self._time.deadline(now),
        )

    def _announce(self, ready: Sequence[Job], context: Context) -> None:
        kwargs = {"items": [job.kwargs for job in ready]} if self._items else ready[0].kwargs
        announce_start(context, kwargs)

    def _raised(self, job: Job, error: BaseException, duration_ms: float) -> Result:
        if self._was_cut_short(error):
            outcome, delay = Outcome.DEFERRED, 0.0
        else:
            options = self._task.configuration
            outcome = retry.outcome_of(error, options, job.retries)
            delay = math.nan
            if outcome is Outcome.RETRYING:
                delay = retry.delay_seconds(error, options, job.retries, self._worker.jitter())
        return Result(
            outcome,
            job.task_name,
            error,
            duration_ms=duration_ms,
            visible_after_seconds=None if math.isnan(delay) else delay,
            ran=True,
        )

    def _was_cut_short(self, error: BaseException) -> bool:
        """Tell whether the invocation's end stopped the task, before it had what a fresh one would give it."""
        if isinstance(error, HardTimeLimitExceeded):
            limit = timeouts.hard
        elif isinstance(error, SoftTimeLimitExceeded):
            limit = timeouts.soft
        else:
            return False
        fresh = timeouts.limits(self._task.configuration, self._worker.settings, self._time.fresh_seconds)
        return timeouts.was_cut_short(limit, self.limits, fresh)


def _forget_our_frames(error: BaseException) -> None:
    """Let the traceback begin in the task: how it was called says nothing about what went wrong."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_globals.get("__package__") == __package__:
        traceback = traceback.tb_next
    if traceback is not None:
        error.__traceback__ = traceback


_LONGEST_FUNCTION_SECONDS = 900.0
