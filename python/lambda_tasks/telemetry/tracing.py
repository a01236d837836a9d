"""An OpenTelemetry span for each task that runs, where the process has OpenTelemetry set up.

Its API is not imported here, since that costs every cold start milliseconds
(``python -X importtime -c "import opentelemetry.trace"``). Unless an instrumentation, or the code that sets up the SDK,
has imported it, there is no SDK, and a span would go nowhere. The one exception is an SDK that the API sets up by
itself, as ``OTEL_PYTHON_TRACER_PROVIDER`` asks for.

https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from typing import TYPE_CHECKING, Any

from lambda_tasks.errors import text_of, traceback_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambda_tasks.messages.context import Context

logger = logging.getLogger("lambda_tasks")

API = "opentelemetry.trace"


def prepare(environ: Mapping[str, str]) -> None:
    """Import OpenTelemetry's API in the init phase where the environment says that it sets up an SDK by itself."""
    if environ.get("OTEL_PYTHON_TRACER_PROVIDER"):
        with contextlib.suppress(ImportError):
            importlib.import_module(API)


def is_active() -> bool:
    """Tell whether OpenTelemetry is in use, and so whether spans go anywhere."""
    return API in sys.modules


def process_span(context: Context, queue: str = "") -> ProcessSpan:
    """Return the span of the task that processes a message of `queue` (its name), to be entered where the task runs."""
    return ProcessSpan(sys.modules.get(API), context, queue)


class ProcessSpan:
    """A span that is the current one from entering to leaving, where OpenTelemetry is in use.

    No error of OpenTelemetry gets out: no message depends on it.
    """

    def __init__(self, trace: Any, context: Context, queue: str) -> None:  # noqa: ANN401 - the module, if there is one
        self._trace = trace
        self._context = context
        self._queue = queue
        self._open = contextlib.ExitStack()
        self._span: Any = None

    def __enter__(self) -> ProcessSpan:
        if self._trace is not None:
            try:
                self._start()
            except Exception:
                logger.exception("no span could be started")
        return self

    def conclude(self, outcome: str, error: BaseException | None = None, *, failed: bool) -> None:
        """Say how the task ended; `error` is an exception event also where the outcome is a success."""
        if self._span is None:
            return
        try:
            self._conclude(outcome, error, failed=failed)
        except Exception:
            logger.exception("the span could not be completed")

    def __exit__(self, *_: object) -> None:
        try:
            self._open.close()
        except Exception:
            logger.exception("the span could not be ended")

    def _start(self) -> None:
        trace, context = self._trace, self._context
        parent = _parent(trace, context)
        invocation = trace.get_current_span().get_span_context()
        self._span = self._open.enter_context(
            trace.get_tracer("lambda_tasks").start_as_current_span(
                f"{context.task} process",
                context=parent,
                kind=trace.SpanKind.CONSUMER,
                links=[trace.Link(invocation)] if parent is not None and invocation.is_valid else [],
                record_exception=False,
                set_status_on_exception=False,
                attributes={
                    "messaging.system": "aws_sqs",
                    "messaging.operation.name": "process",
                    "messaging.operation.type": "process",
                    "messaging.message.id": context.message_id,
                    "messaging.message.conversation_id": context.correlation_id,
                    **({"messaging.destination.name": self._queue} if self._queue else {}),
                    "lambda_tasks.task": context.task,
                    "lambda_tasks.attempt": context.attempt,
                },
            )
        )

    def _conclude(self, outcome: str, error: BaseException | None, *, failed: bool) -> None:
        self._span.set_attribute("lambda_tasks.outcome", outcome)
        if error is not None:
            self._span.add_event("exception", _exception(error))
        if failed:
            self._span.set_attribute("error.type", outcome if error is None else type(error).__qualname__)
            text = "" if error is None else text_of(error)
            self._span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, text))


def _exception(error: BaseException) -> dict[str, str]:
    """Return what the span's own `record_exception` gives, which an error whose ``__str__`` exits would end."""
    return {
        "exception.type": f"{type(error).__module__}.{type(error).__qualname__}",
        "exception.message": text_of(error),
        "exception.stacktrace": traceback_of(error),
        "exception.escaped": "False",
    }


def _parent(trace: Any, context: Context) -> Any:  # noqa: ANN401
    """Return the OpenTelemetry context of the message's sender, or None for the current one."""
    if context.traceparent is None:
        return None
    _, trace_id, span_id, flags = context.traceparent.split("-")
    state = trace.TraceState.from_header([context.tracestate]) if context.tracestate else None
    sender = trace.SpanContext(
        int(trace_id, 16),
        int(span_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(int(flags, 16)),
        trace_state=state,
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(sender))
