"""What lasts as long as the execution environment: settings, connections, and what was learnt of the function."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lambda_tasks.tasks import tracing
from lambda_tasks.tasks.telemetry import show_outcomes
from lambda_tasks.tasks.timeouts import FunctionTime

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from lambda_tasks.aws.transport import Transport
    from lambda_tasks.settings import Settings
    from lambda_tasks.state.protocol import State
    from lambda_tasks.tasks.job import Known
    from lambda_tasks.tasks.memory import MemoryGuard
    from lambda_tasks.tasks.metrics import Metrics
    from lambda_tasks.tasks.sqs import Sqs
    from lambda_tasks.tasks.timer import Timer


class Worker:
    """The parts that every invocation uses. `state` is None where there is no table; `jitter` gives 0 to 1."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        *,
        state: State | None = None,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        self.settings = settings
        self.environ = environ
        self.state = state
        self.jitter = jitter or _jitter
        self.function_time = FunctionTime()
        self._timer: Timer | None = None
        self.metrics: Metrics | None = None
        if settings.metrics_namespace:
            from lambda_tasks.tasks.metrics import Metrics  # noqa: PLC0415 - for functions with metrics

            self.metrics = Metrics(settings.metrics_namespace, environ.get("AWS_LAMBDA_FUNCTION_NAME", ""))
        self.memory_guard: MemoryGuard | None = None
        self.known: Known = {}
        self._transport: Transport | None = None
        self._sqs: Sqs | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def from_environ(cls, settings: Settings, environ: Mapping[str, str]) -> Worker:
        """Return the worker of this process. It calls nobody before it has to."""
        worker = cls(settings, environ)
        if settings.table is not None:
            from lambda_tasks.state.opening import open_state  # noqa: PLC0415 - a function without a table needs none

            worker.state = open_state(settings, environ, worker.transport)
        show_outcomes(environ)
        tracing.prepare(environ)
        return worker

    def close(self) -> None:
        """Close what is open. A function does not: its execution environment ends with it."""
        if self._transport is not None:
            self._transport.close()
        if self._loop is not None:
            from lambda_tasks.tasks import event_loop  # noqa: PLC0415 - asyncio is there where there is a loop

            event_loop.close(self._loop)

    def guard_memory(self) -> None:
        """Limit the memory of tasks, if the settings say so: of this process, and for good."""
        if self.settings.memory_guard:
            from lambda_tasks.tasks.memory import MemoryGuard  # noqa: PLC0415 - for functions with a guard

            self.memory_guard = MemoryGuard.from_environ(self.environ)

    def prepare_for_threads(self) -> None:
        """Make what several threads would otherwise make at the same time."""
        _ = self.timer, self.sqs

    @property
    def timer(self) -> Timer:
        """The timer of this process."""
        if self._timer is None:
            from lambda_tasks.tasks.timer import Timer  # noqa: PLC0415 - not before there is something to time

            self._timer = Timer()
        return self._timer

    @property
    def transport(self) -> Transport:
        """The connections to AWS, for all services."""
        if self._transport is None:
            from lambda_tasks.aws.credentials import CredentialChain  # noqa: PLC0415
            from lambda_tasks.aws.transport import Transport  # noqa: PLC0415 - 6 ms, where a message did not succeed

            self._transport = Transport(CredentialChain(self.environ), self.environ)
        return self._transport

    @property
    def sqs(self) -> Sqs:
        """What the dispatcher asks SQS for."""
        if self._sqs is None:
            from lambda_tasks.tasks.sqs import Sqs  # noqa: PLC0415

            self._sqs = Sqs(self.transport, self.environ)
        return self._sqs

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of this execution environment: one for all invocations, so that clients can be kept."""
        import asyncio  # noqa: PLC0415 - 20 ms, for functions with async tasks

        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
        return self._loop


def _jitter() -> float:
    return int.from_bytes(os.urandom(4), "big") / 2**32  # importing random would cost every cold start 3 ms
