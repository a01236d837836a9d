"""The worker of a process: settings, connections, tasks found, and what was learnt of the function."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from lambda_tasks import settings as process
from lambda_tasks.definition.lookup import Lookup
from lambda_tasks.life_cycle import setup
from lambda_tasks.limits.timeouts import FunctionTime
from lambda_tasks.setting_values import LONGEST_FUNCTION_SECONDS
from lambda_tasks.telemetry import tracing
from lambda_tasks.telemetry.report import show_outcomes

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from typing_extensions import Self

    from lambda_tasks.aws.calls import SignedCalls
    from lambda_tasks.aws.transport import Transport
    from lambda_tasks.dispatch.source_queue import SourceQueues
    from lambda_tasks.life_cycle.application import Application
    from lambda_tasks.limits.memory_guard import MemoryGuard
    from lambda_tasks.limits.timer import Timer
    from lambda_tasks.settings import Settings
    from lambda_tasks.state.memory import Memory
    from lambda_tasks.state.protocol import Keys, State
    from lambda_tasks.state.side_calls import SideCalls
    from lambda_tasks.telemetry.failures.notices import Notices
    from lambda_tasks.telemetry.metrics import Metrics


_MOST_DEFERRALS = 10_000
MOST_SIDE_THREADS = 10  # and with it connections: a batch has as many messages, if nothing else is said


class Worker:
    """The parts that every invocation uses. `state` is None where there is no table; `jitter` gives 0 to 1.

    `application` is None where there is no Django. Up to `most_side_threads` threads make calls beside the tasks;
    without any these are made one after the other.

    A lease lasts for the task's own hard timeout, or for `longest_lease_seconds` where that is longer, and never beyond
    the invocation's end.

    `transport` is the process's own where another one is not handed in. It lasts longer than a worker.
    """

    longest_lease_seconds: float = LONGEST_FUNCTION_SECONDS
    loop: asyncio.AbstractEventLoop | None = None
    metrics: Metrics | None = None
    notices: Notices | None = None
    memory_guard: MemoryGuard | None = None
    memory_keys: Memory | None = None
    application: Application | None = None
    runs_here = False  # what this process enqueues: nothing that waits for a time is waited for
    _timer: Timer | None = None
    _calls: SignedCalls | None = None
    _queues: SourceQueues | None = None
    _side_calls: SideCalls | None = None

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        *,
        state: State | None = None,
        transport: Transport | None = None,
        jitter: Callable[[], float] | None = None,
        most_side_threads: int = MOST_SIDE_THREADS,
    ) -> None:
        self.settings = settings
        self.environ = environ
        self.state = state
        self.jitter = jitter or _jitter
        self.function_time = FunctionTime()
        self.lookup = Lookup(settings)
        self._transport = transport
        self._most_side_threads = most_side_threads
        self.deferrals: dict[str, int] = {}
        self._closers: list[Callable[[], None]] = []
        self.is_one_of_several = process.processes(environ) > 1
        if settings.metrics_namespace:
            from lambda_tasks.telemetry.metrics import Metrics  # noqa: PLC0415 - for functions with metrics

            self.metrics = Metrics(settings.metrics_namespace, environ.get("AWS_LAMBDA_FUNCTION_NAME", ""))
        if settings.failure_topic_arn:
            from lambda_tasks.telemetry.failures.notices import Notices  # noqa: PLC0415 - for functions that tell

            self.notices = Notices(settings.failure_topic_arn, environ, lambda: self.transport)

    @classmethod
    def of_process(cls, settings: Settings) -> Self:
        """Return a worker for this process. It calls nobody before it has to."""
        environ = process.environ()
        # Each thread has a connection to a database, which has better use for them.
        worker = cls(settings, environ, most_side_threads=MOST_SIDE_THREADS if settings.record_database is None else 1)
        worker.application = setup.of_process()
        if settings.table is not None:
            from lambda_tasks.state.opening import open_state  # noqa: PLC0415 - a function without a table needs none

            worker.state = open_state(settings, environ, worker.transport)
        show_outcomes(environ)
        tracing.prepare(environ)
        return worker

    def let_go_after_fork(self) -> None:
        """Leave the event loop to the parent: both would wait in one, and closing it would close the parent's too."""
        loop, self.loop = self.loop, None
        self._closers.clear()
        if loop is not None and not loop.is_running():
            with contextlib.suppress(AttributeError):  # of a loop of another make
                loop._closed = True  # type: ignore[attr-defined] # or else it closes itself when it is forgotten

    def note_deferral(self, message_id: str) -> None:
        """Note that a message was deferred here: without a table, nothing else tells it from an attempt."""
        if len(self.deferrals) >= _MOST_DEFERRALS:
            self.deferrals.pop(next(iter(self.deferrals)))
        self.deferrals[message_id] = self.deferrals.get(message_id, 0) + 1

    def offload(self, body: str, *, deadline: float) -> str | None:
        """Put the body of a message into S3, and return a pointer to it; None where there is no bucket for that.

        Raises:
            CallFailed: S3 did not take it.

        """
        if self.settings.payload_bucket is None:
            return None
        from lambda_tasks.messages.payload import Pointer  # noqa: PLC0415

        pointer = Pointer(self.settings.payload_bucket, os.urandom(16).hex())
        self.calls.put_object(pointer.bucket, pointer.key, body.encode(), deadline=deadline)
        return pointer.body()

    def at_close(self, closer: Callable[[], None]) -> None:
        """Have `closer` called when the worker is closed."""
        self._closers.append(closer)

    def close(self) -> None:
        """Close what is open. A function does not: its execution environment ends with it."""
        while self._closers:
            self._closers.pop()()

    def note_init(self) -> None:
        """Note that the function's init phase is over, for the metric of its duration."""
        if self.metrics is not None:
            from lambda_tasks.telemetry import cold_start  # noqa: PLC0415 - for functions with metrics

            self.metrics.init_ms = cold_start.init_ms(self.environ)

    def guard_memory(self) -> None:
        """Limit the memory of tasks, if the settings say so: of this process, and for good."""
        if self.settings.memory_guard:
            from lambda_tasks.limits.memory_guard import MemoryGuard  # noqa: PLC0415 - for functions that ask for it

            self.memory_guard = MemoryGuard.from_environ(self.environ)

    def prepare_for_threads(self) -> None:
        """Make what several threads would otherwise make at the same time."""
        _ = self.timer, self.queues, self.side_calls

    @property
    def timer(self) -> Timer:
        """The timer of this process."""
        if self._timer is None:
            from lambda_tasks.limits.timer import Timer  # noqa: PLC0415 - not before there is something to time

            self._timer = Timer()
        return self._timer

    @property
    def keys(self) -> Keys | None:
        """The store of the leases of keys: the table, or this process's own where messages run here."""
        return self.memory_keys if self.state is None else self.state

    @property
    def side_calls(self) -> SideCalls:
        """The calls that are made beside tasks."""
        if self._side_calls is None:
            from lambda_tasks.state.side_calls import SideCalls  # noqa: PLC0415 - for functions with a table

            self._side_calls = SideCalls(self._most_side_threads)
            self.at_close(self._side_calls.close)
        return self._side_calls

    @property
    def transport(self) -> Transport:
        """The connections to AWS, for all services."""
        if self._transport is None:
            from lambda_tasks.aws import calls  # noqa: PLC0415 - 6 ms, where a message did not succeed

            self._transport = calls.transport()
        return self._transport

    @property
    def calls(self) -> SignedCalls:
        """The signed calls of SQS and S3."""
        if self._calls is None:
            from lambda_tasks.aws.calls import SignedCalls  # noqa: PLC0415

            self._calls = SignedCalls(self.transport, self.environ)
        return self._calls

    @property
    def queues(self) -> SourceQueues:
        """The queues that messages come from."""
        if self._queues is None:
            from lambda_tasks.dispatch.source_queue import SourceQueues  # noqa: PLC0415

            self._queues = SourceQueues(self.calls, self.environ, self.settings.dead_letter_queue_url)
        return self._queues


def _jitter() -> float:
    return int.from_bytes(os.urandom(4), "big") / 2**32  # importing random would cost every cold start 3 ms
