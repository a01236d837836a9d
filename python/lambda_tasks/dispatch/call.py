"""One call of a task to outcomes: for one message or, for a batch task, for several. Here is the seam around a task."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import threading
import time
from contextvars import copy_context
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lambda_tasks.definition import retry
from lambda_tasks.definition.tracebacks import forget_frames
from lambda_tasks.dispatch.admission import admitted, deferred, starts_at_once
from lambda_tasks.dispatch.job import Stage
from lambda_tasks.errors import HardTimeLimitExceeded, InvalidSetting
from lambda_tasks.limits import forks, timeouts
from lambda_tasks.messages import context as contexts
from lambda_tasks.messages.outcome import CUT_SHORT, GOES_ON, STUCK, Outcome, Result
from lambda_tasks.telemetry import report, tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lambda_tasks.definition.batch import Item
    from lambda_tasks.dispatch.invocation import Invocation
    from lambda_tasks.dispatch.job import Job
    from lambda_tasks.limits.signal_interrupter import Interrupter
    from lambda_tasks.messages.context import Bearer


logger = logging.getLogger("lambda_tasks")

_OUR_PACKAGES = (__package__, timeouts.__package__, "lambda_tasks.django")
_UNTOUCHED = contextlib.nullcontext()
_SUCCEEDED = Outcome.SUCCEEDED


def run(jobs: Sequence[Job], invocation: Invocation, interrupter: Interrupter, is_beside: bool = False) -> bool:  # noqa: FBT001, FBT002
    """Run a call of an ordinary task, and tell whether all its messages are done with.

    What `is_beside` is settled beside the calls that follow, and counts as unfinished here. Everything around a task
    is here, in order. `lambda_tasks.dispatch.event_loop` has the same for async tasks.
    """
    call, watchdog = Call(jobs, invocation), invocation.watchdog
    if is_beside:
        invocation.settlement.tell()
    if watchdog is not None:
        watchdog.enter(call)  # from here on the process does not end under the call
    is_left = False
    try:
        if call.prepare():  # the time that is left, leases, limits, memory
            if watchdog is not None:
                watchdog.started(call, call.stuck_at)
            copy_context().run(call.perform, interrupter)  # context, span and hooks; the task within its limits
        if watchdog is not None:
            watchdog.returned(call)
        if is_beside and call.writes:
            is_left = True
            invocation.beside(call.settle_beside)
            return False
        return call.settle()  # record, dead letter, visibility, report
    finally:
        if watchdog is not None and not is_left:
            watchdog.leave(call)


class Call:
    """A call is one run of a task for its messages, the `jobs`. It leaves a result with each of them."""

    limits = timeouts.UNLIMITED
    _ready: Sequence[Job] = ()
    is_over = False  # the task has returned, or raised
    _items: Mapping[Job, Item[Any]] = MappingProxyType({})
    _bearer: Bearer
    _kwargs: dict[str, Any]

    def __init__(self, jobs: Sequence[Job], invocation: Invocation) -> None:
        self.jobs = jobs
        self._definition: Any = jobs[0].definition  # of all of them; a message without one never runs
        self._invocation = invocation
        self._worker = invocation.worker

    def prepare(self) -> bool:
        """Decide whether the task is to be called: not without its leases, nor where there is not enough time."""
        worker, invocation = self._worker, self._invocation
        ready, now = self.jobs, time.monotonic()
        if not starts_at_once(ready, self._definition, invocation, now):
            ready, now = admitted(ready, self._definition, invocation), time.monotonic()
        self._ready = ready
        if not ready:
            return False
        options = self._definition.options
        limits = timeouts.limits(options, worker.settings, invocation.time.tasks_end_at - now)
        if limits is not timeouts.UNLIMITED:
            self.limits = limits
        for job in ready:
            job.has_run = True
            if limits is not timeouts.UNLIMITED:
                job.must_end_at = now + limits.hard
        self._bearer = ready[0] if len(ready) == 1 else contexts.of_batch([job.context for job in ready])
        self._kwargs = ready[0].kwargs
        if options.batch:
            from lambda_tasks.definition.batch import Item  # noqa: PLC0415 - for functions with batch tasks

            self._items = {job: Item(job.kwargs, job.context) for job in ready}
            self._kwargs = {self._definition.batch_parameter: list(self._items.values())}
        elif worker.state is not None or worker.memory_keys is not None:
            ready[0].stage = Stage(worker, limits, invocation.time, now, threading.get_ident())
            contexts.origins.add(ready[0])
        if worker.memory_guard is not None:
            worker.memory_guard.limit_tasks()
        invocation.has_started = True
        self._started = time.perf_counter()
        return True

    @property
    def stuck_at(self) -> float:
        """When the task counts as stuck, a reading of ``time.monotonic``: it was stopped, and had time to clean up."""
        if self.limits is timeouts.UNLIMITED:
            return math.inf
        return time.monotonic() + self.limits.hard + self._invocation.time.grace_seconds

    @property
    def function(self) -> Callable[[], Any]:
        """The task's function with its arguments."""
        return functools.partial(self._definition.function, **self._kwargs)

    def perform(self, interrupter: Interrupter) -> None:
        """Call the task within its limits, and note how that ended."""
        invocation = self._invocation
        if invocation.is_observed is None:  # by now the tasks' modules are imported, and with them hooks
            invocation.is_observed = report.call_is_observed()
        if invocation.is_observed:
            with self.observed():
                self._perform(interrupter)
        else:
            contexts.bearer.set(self._bearer)
            self._perform(interrupter)

    @contextlib.contextmanager
    def observed(self) -> Iterator[None]:
        """Set the messages' context and a span around the task, which is told what became of it: the first failure."""
        first, context = self._ready[0], self._bearer.context
        queue = str(first.record.get("eventSourceARN") or "").rpartition(":")[2]
        batch = [job.context for job in self._ready] if self._items else ()
        with contexts.activated(context), tracing.process_span(context, queue, batch=batch) as span:
            self._announce_start()
            yield
            results = [job.result for job in self._ready]
            result = next((one for one in results if one is not None and not one.outcome.deletes_message), results[0])
            if result is not None:
                span.conclude(result.outcome.value, result.error, failed=not result.outcome.deletes_message)

    def runs_in(self, task: object) -> None:
        """Note the asyncio task that the task's code runs in."""
        if (stage := self._ready[0].stage) is not None:
            stage.line = task

    def tidied(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Return what an async task is called within: its connections are closed or checked around it."""
        application = self._worker.application
        return _UNTOUCHED if application is None else application.around_async()

    def returned(self, value: object) -> None:
        """Note what the task returned: its messages succeeded, but for those that a batch task failed."""
        if self.is_over:
            return  # it was counted as stuck
        duration_ms = (time.perf_counter() - self._started) * 1000
        items = self._items
        for job in self._ready:
            error = items[job].error if items else job.put_off
            if error is None:
                job.result = Result(_SUCCEEDED, job.task_name, None, value, duration_ms)
            else:
                job.result = self._raised(job, error, duration_ms)
        self.is_over = True

    def raised(self, error: BaseException) -> None:
        """Note what the task raised, for its messages but those that a batch task failed with an error of their own."""
        if self.is_over:
            return
        guard = self._worker.memory_guard
        if guard is not None:
            guard.make_room()
            with contextlib.suppress(Exception):  # of the error's own code
                guard.relieve(error)
        duration_ms = (time.perf_counter() - self._started) * 1000
        with contextlib.suppress(Exception):
            forget_frames(error, _OUR_PACKAGES)
        for job in self._ready:
            own = self._items[job].error if self._items else job.put_off
            job.result = self._raised(job, error if own is None else own, duration_ms)
        self.is_over = True

    @property
    def writes(self) -> bool:
        """Whether the table is to be written to, for messages that do not wait for each other."""
        waits = self.jobs[0].group is not None and (len(self.jobs) > 1 or self.jobs[0].key is not None)
        return not waits and any(job.leases is not None for job in self.jobs)

    def defer(self) -> None:
        """Put off the messages of a call whose task was not called after all."""
        for job in self._ready:
            job.result = deferred(job, STUCK)
        self.is_over = True

    def settle(self, *, is_beside: bool = False) -> bool:
        """Settle the messages of the call, which is over; tell whether all of them are done with.

        In a thread beside that of the task (`is_beside`) no hook is called. An unfinished message of a FIFO group holds
        back all behind it, also where they ran with it.
        """
        settle, jobs, done = self._invocation.settlement.settle, self.jobs, True
        if len(jobs) == 1 and not is_beside:
            return (result := jobs[0].result) is not None and settle(jobs[0], result)
        for job in jobs:
            held_back = not done and job.group is not None
            if job.result is None:
                done = False
            else:
                done = settle(job, job.result, is_held_back=held_back, is_beside=is_beside) and done
        return done

    def settle_beside(self, *, tells: bool = False) -> None:
        """Settle the call's messages beside the tasks, and call hooks where it `tells`; the watchdog waits for that."""
        try:
            self.settle(is_beside=not tells)
        except BaseException:
            logger.exception("a message could not be settled, and stays in the queue")
        finally:
            if self._invocation.watchdog is not None:
                self._invocation.watchdog.leave(self)

    def abandon(self) -> None:
        """Settle the messages of a call that does not end, unless it just has."""
        if not self.is_over:
            self.raised(HardTimeLimitExceeded("the hard timeout passed, and the task could not be stopped"))
        self.settle()
        if self._invocation.watchdog is not None:
            self._invocation.watchdog.leave(self)

    def _perform(self, interrupter: Interrupter) -> None:
        definition = self._definition
        guard, forks_before = self._worker.memory_guard, forks.number
        try:
            if self._invocation.is_surrounded or definition.options.atomic:
                value = self._surrounded(interrupter)
            elif self.limits is timeouts.UNLIMITED:
                value = definition.function(**self._kwargs)
            else:
                value = interrupter.run(self.limits, definition.function, self._kwargs)
        except BaseException as error:  # noqa: BLE001 - a task that exits must not take the batch with it
            if guard is not None:
                guard.make_room()  # before anything else: there may be no memory for a frame of Python's
            if forks.number != forks_before:
                forks.end(error)
            self.raised(error)
        else:
            if forks.number != forks_before:
                forks.end()
            self.returned(value)

    def _surrounded(self, interrupter: Interrupter) -> object:
        """Call the task as Django has it: its connections tidied up, in a transaction where that is wanted."""
        application, own = self._worker.application, self._definition.options.atomic
        database = self._worker.settings.atomic if own is None else own
        if application is None and database:
            raise _no_application()
        with _UNTOUCHED if application is None else application.around(database):
            return interrupter.run(self.limits, self._definition.function, self._kwargs)

    def _announce_start(self) -> None:
        if report.start_is_awaited():
            kwargs = {"items": [job.kwargs for job in self._ready]} if self._items else self._ready[0].kwargs
            report.announce_start(self._bearer.context, kwargs)

    def _raised(self, job: Job, error: BaseException, duration_ms: float) -> Result:
        """Return what becomes of a message by `error`: it has failed where the error's own code lets nobody tell."""
        told: BaseException | None = error
        outcome, delay, reason = Outcome.FAILED, None, ""
        goes_on = job.work is not None and job.work.finished > 0
        given, options, fresh = self.limits, self._definition.options, self._invocation.time.fresh_seconds
        with contextlib.suppress(Exception):
            if (put_off := job.put_off) is not None:
                outcome, delay, reason, told = Outcome.DEFERRED, put_off.seconds, put_off.reason, put_off.error
            elif timeouts.stopped_early(error, given, options, self._worker.settings, fresh, goes_on=goes_on):
                outcome, delay, reason = Outcome.DEFERRED, 0.0, GOES_ON if goes_on else CUT_SHORT
                told = None if goes_on else error
            else:
                outcome, delay = retry.decide(error, options, job.retries, self._worker.jitter)
        return Result(outcome, job.task_name, told, None, duration_ms, delay, reason)


def _no_application() -> InvalidSetting:
    remedy = "set DJANGO_SETTINGS_MODULE, and bundle Django with the function"
    return InvalidSetting("the task is atomic, and Django is not set up", remedy=remedy)
