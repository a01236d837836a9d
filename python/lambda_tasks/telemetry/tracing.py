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
import re
import sys
from typing import TYPE_CHECKING, Any

from lambda_tasks.telemetry import told_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambda_tasks.messages.context import Context

logger = logging.getLogger("lambda_tasks")

API = "opentelemetry.trace"

_MESSAGE_ID, _CONVERSATION_ID = "messaging.message.id", "messaging.message.conversation_id"
_ATTEMPT = "lambda_tasks.attempt"
# https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
_XRAY_ROOT = re.compile(r"(?:^|;)Root=1-(?!0{8}-0{24})([0-9a-f]{8})-([0-9a-f]{24})(?:;|$)")
_XRAY_PARENT = re.compile(r"(?:^|;)Parent=(?!0{16})([0-9a-f]{16})(?:;|$)")


def prepare(environ: Mapping[str, str]) -> None:
    """Import OpenTelemetry's API in the init phase where the environment says that it sets up an SDK by itself."""
    if environ.get("OTEL_PYTHON_TRACER_PROVIDER"):
        with contextlib.suppress(ImportError):
            importlib.import_module(API)


def is_active() -> bool:
    """Tell whether OpenTelemetry is in use, and so whether spans go anywhere."""
    return API in sys.modules


def process_span(context: Context, queue: str = "", *, batch: Sequence[Context] = ()) -> ProcessSpan:
    """Return the span of the task that processes a message of `queue` (its name), to be entered where the task runs.

    A `batch` task's has the contexts of all its messages, each of which is linked.
    """
    return ProcessSpan(sys.modules.get(API), context, queue, batch)


class ProcessSpan:
    """A span that is the current one from entering to leaving, where OpenTelemetry is in use.

    No error of OpenTelemetry gets out: no message depends on it.
    """

    def __init__(
        self,
        trace: Any,  # noqa: ANN401 - the module, if there is one
        context: Context,
        queue: str,
        batch: Sequence[Context],
    ) -> None:
        self._trace = trace
        self._context = context
        self._batch = batch
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
        parent, links, attributes = self._of_batch() if self._batch else self._of_one()
        self._span = self._open.enter_context(
            trace.get_tracer("lambda_tasks").start_as_current_span(
                f"{context.task} process",
                context=parent,
                kind=trace.SpanKind.CONSUMER,
                links=links,
                record_exception=False,
                set_status_on_exception=False,
                attributes={
                    "messaging.system": "aws_sqs",
                    "messaging.operation.name": "process",
                    "messaging.operation.type": "process",
                    **({"messaging.destination.name": self._queue} if self._queue else {}),
                    "lambda_tasks.task": context.task,
                    **attributes,
                },
            )
        )

    def _of_one(self) -> tuple[Any, list[Any], dict[str, Any]]:
        """Return parent, links and attributes for one message: its sender is the parent, the invocation a link."""
        trace, context = self._trace, self._context
        attributes = {
            _MESSAGE_ID: context.message_id,
            _CONVERSATION_ID: context.correlation_id,
            _ATTEMPT: context.attempt,
        }
        if context.traceparent is None:
            return None, [], attributes
        sender = trace.NonRecordingSpan(_sender(trace, context))
        invocation = trace.get_current_span().get_span_context()
        links = [trace.Link(invocation)] if invocation.is_valid else []
        return trace.set_span_in_context(sender), links, attributes

    def _of_batch(self) -> tuple[Any, list[Any], dict[str, Any]]:
        """Return the same for a batch. A span has one parent, so the messages' senders are links, with their ids.

        A message that names no sender has nothing to link to.
        """
        trace, batch = self._trace, self._batch
        senders = ((_sender(trace, one), one) for one in batch)
        links = [
            trace.Link(sender, {_MESSAGE_ID: one.message_id, _ATTEMPT: one.attempt})
            for sender, one in senders
            if sender is not None
        ]
        attributes: dict[str, Any] = {"messaging.batch.message_count": len(batch)}
        if all(one.correlation_id == batch[0].correlation_id for one in batch):
            attributes[_CONVERSATION_ID] = batch[0].correlation_id
        return None, links, attributes

    def _conclude(self, outcome: str, error: BaseException | None, *, failed: bool) -> None:
        self._span.set_attribute("lambda_tasks.outcome", outcome)
        if error is not None:
            self._span.add_event("exception", _exception(error))
        if failed:
            self._span.set_attribute("error.type", outcome if error is None else type(error).__qualname__)
            text = "" if error is None else told_errors.text(error)
            self._span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, text))


def _exception(error: BaseException) -> dict[str, str]:
    """Return what the span's own `record_exception` gives, which an error whose ``__str__`` exits would end."""
    return {
        "exception.type": f"{type(error).__module__}.{type(error).__qualname__}",
        "exception.message": told_errors.text(error),
        "exception.stacktrace": told_errors.traceback(error),
        "exception.escaped": "False",
    }


def _sender(trace: Any, context: Context) -> Any:  # noqa: ANN401
    """Return the span that a message was sent in, or None: of W3C's trace context, else of X-Ray's header."""
    if context.traceparent is None:
        return _sender_of_xray(trace, context.aws_trace_header or "")
    _, trace_id, span_id, flags = context.traceparent.split("-")
    return trace.SpanContext(
        int(trace_id, 16),
        int(span_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(int(flags, 16)),
        trace_state=trace.TraceState.from_header([context.tracestate]) if context.tracestate else None,
    )


def _sender_of_xray(trace: Any, header: str) -> Any:  # noqa: ANN401
    root, parent = _XRAY_ROOT.search(header), _XRAY_PARENT.search(header)
    if root is None or parent is None:
        return None
    flags = trace.TraceFlags(1 if "Sampled=1" in header else 0)
    return trace.SpanContext(int(root[1] + root[2], 16), int(parent[1], 16), is_remote=True, trace_flags=flags)
