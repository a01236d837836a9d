"""OpenTelemetry spans, recorded by OpenTelemetry's own SDK."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from catalogue import raising
from events import message_body, sqs_record
from lambda_tasks.messages.context import Context, activated, outgoing_attributes
from lambda_tasks.messages.sqs_event import Record
from lambda_tasks.telemetry import tracing
from workers import Dispatched, worker

TASK = "shop.tasks.send"
CONTEXT = Context("m-1", TASK, 2, 3, "c-1")
TRACE_ID, SPAN_ID = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
FROM_A_PRODUCER = Context("m-1", TASK, traceparent=f"00-{TRACE_ID:032x}-{SPAN_ID:016x}-01", tracestate="vendor=1")


@pytest.fixture(scope="module")
def _exporter() -> InMemorySpanExporter:
    """The SDK, set up as a function would: once a process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(_exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    _exporter.clear()
    return _exporter


def process(context: Context, outcome: str = "succeeded", error: BaseException | None = None) -> None:
    with tracing.process_span(context, "orders") as span:
        span.conclude(outcome, error, failed=outcome in ("failed", "retrying"))


def only(spans: InMemorySpanExporter) -> ReadableSpan:
    (span,) = spans.get_finished_spans()
    return span


def test_a_task_is_a_span_of_a_consumer(spans: InMemorySpanExporter) -> None:
    """The span is named for the task and has the attributes that OpenTelemetry says for messaging."""
    process(CONTEXT)
    span = only(spans)
    assert (span.name, span.kind, span.parent) == (f"{TASK} process", trace.SpanKind.CONSUMER, None)
    assert span.status.is_unset
    assert dict(span.attributes or {}) == {
        "messaging.system": "aws_sqs",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.message.id": "m-1",
        "messaging.message.conversation_id": "c-1",
        "messaging.destination.name": "orders",
        "lambda_tasks.task": TASK,
        "lambda_tasks.attempt": 2,
        "lambda_tasks.outcome": "succeeded",
    }


def test_the_parent_is_the_producer_that_the_message_names(spans: InMemorySpanExporter) -> None:
    """The span lies below the traceparent that arrived, and links to the span of the invocation."""
    with trace.get_tracer("test").start_as_current_span("invocation") as invocation:
        process(FROM_A_PRODUCER)
        process(CONTEXT)
    produced, plain, _ = spans.get_finished_spans()
    assert produced.parent is not None
    assert (produced.parent.trace_id, produced.parent.span_id, produced.parent.is_remote) == (TRACE_ID, SPAN_ID, True)
    assert produced.parent.trace_state.to_header() == "vendor=1"
    assert [link.context for link in produced.links] == [invocation.get_span_context()]
    assert plain.parent == invocation.get_span_context()
    assert list(plain.links) == []


XRAY = "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1"


def indexing(product_id: int, span_id: int | None = None, *, task: str = "index", **attributes: str) -> Record:
    """Return the record of a message for a batch task, which was sent in a span."""
    record = sqs_record(message_body(f"catalogue.tasks.{task}", product_id=product_id), **attributes)
    if span_id is not None:
        traceparent = f"00-{TRACE_ID:032x}-{span_id:016x}-01"
        record["messageAttributes"] = {"traceparent": {"stringValue": traceparent, "dataType": "String"}}
    return record


@pytest.mark.parametrize("task", ["index", "index_async"])
def test_the_span_of_a_batch_links_every_message(spans: InMemorySpanExporter, task: str) -> None:
    """A batch's span has the number of its messages, and a link to the sender of each that names one, with its id."""
    records = [indexing(1, 1, task=task), indexing(2, 2, task=task), indexing(3, AWSTraceHeader=XRAY, task=task)]
    with trace.get_tracer("test").start_as_current_span("invocation") as invocation:
        Dispatched(worker(), *records, indexing(4, task=task))
    span = spans.get_finished_spans()[0]
    attributes = span.attributes or {}
    assert (attributes["messaging.batch.message_count"], span.kind) == (4, trace.SpanKind.CONSUMER)
    assert span.parent == invocation.get_span_context()
    linked = [(one.context.trace_id, one.context.span_id) for one in span.links]
    assert linked == [(TRACE_ID, 1), (TRACE_ID, 2), (TRACE_ID, SPAN_ID)]
    ids = [(one.attributes or {})["messaging.message.id"] for one in span.links]
    assert ids == [one["messageId"] for one in records]
    assert not {"messaging.message.id", "messaging.message.conversation_id", "lambda_tasks.attempt"} & set(attributes)


def test_a_batch_of_one_is_a_batch(spans: InMemorySpanExporter) -> None:
    """A batch task's span is that of a batch also where it has one message, and a failure among many is its outcome."""
    Dispatched(worker(), indexing(5, 5))
    span = only(spans)
    assert (span.attributes or {})["messaging.batch.message_count"] == 1
    assert [one.context.span_id for one in span.links] == [5]
    spans.clear()
    Dispatched(worker(), indexing(6, 6), indexing(13, 7))
    assert (only(spans).attributes or {})["lambda_tasks.outcome"] == "failed"


@pytest.mark.parametrize("header", ["", "Root=1-0-0", "Self=1", XRAY.replace("Parent", "P"), "Root=;Parent=x"])
def test_a_strange_header_of_xray_is_no_link(spans: InMemorySpanExporter, header: str) -> None:
    """A trace header without a whole trace id and span id is not linked."""
    with tracing.process_span(CONTEXT, batch=[Context("m-1", aws_trace_header=header)]):
        pass
    assert list(only(spans).links) == []


@pytest.mark.parametrize("outcome", ["failed", "retrying"])
def test_a_failure_is_an_error(spans: InMemorySpanExporter, outcome: str) -> None:
    """A task that did not succeed has the error's status, type and event."""
    process(CONTEXT, outcome, ValueError("no"))
    span = only(spans)
    assert (span.status.status_code, span.status.description) == (trace.StatusCode.ERROR, "no")
    assert (span.attributes or {})["error.type"] == "ValueError"
    assert [event.name for event in span.events] == ["exception"]


@pytest.mark.parametrize("kind", raising.ERRORS)
def test_whatever_error_is_an_event(spans: InMemorySpanExporter, kind: str) -> None:
    """An error that cannot be printed ends neither its span nor the task's settling."""
    process(CONTEXT, "failed", raising.ERRORS[kind]())
    (event,) = only(spans).events
    assert set(event.attributes or {}) >= {"exception.type", "exception.message", "exception.stacktrace"}


def test_a_failure_without_an_error_is_one_too(spans: InMemorySpanExporter) -> None:
    """If there is no exception the outcome is the type of the error."""
    process(CONTEXT, "failed")
    assert (only(spans).attributes or {})["error.type"] == "failed"


def test_an_ignored_error_is_no_failure(spans: InMemorySpanExporter) -> None:
    """An error that the task ignores is an event of a span without an error."""
    process(CONTEXT, "succeeded", FileNotFoundError("x"))
    span = only(spans)
    assert span.status.is_unset
    assert [event.name for event in span.events] == ["exception"]


def test_what_the_task_enqueues_lies_below_its_span(spans: InMemorySpanExporter) -> None:
    """While the span is open, a message that is sent carries it."""
    with activated(FROM_A_PRODUCER), tracing.process_span(FROM_A_PRODUCER):
        sent, _ = outgoing_attributes()
    context = only(spans).context
    assert context is not None
    assert sent["traceparent"]["StringValue"] == f"00-{TRACE_ID:032x}-{context.span_id:016x}-01"
    assert sent["tracestate"]["StringValue"] == "vendor=1"


class Broken:
    """An OpenTelemetry that raises wherever it is asked."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def test_a_broken_opentelemetry_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of OpenTelemetry is logged, and the task runs without a span."""
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", Broken())
    process(CONTEXT)
    assert caplog.messages == ["no span could be started"]


def test_a_span_that_breaks_changes_nothing(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of a span's own methods is logged and not raised."""
    monkeypatch.setattr(trace, "Status", None)
    process(CONTEXT, "failed")
    assert caplog.messages == ["the span could not be completed"]
    assert only(spans).name == f"{TASK} process"


ISOLATED = """
import sys
from lambda_tasks.telemetry import tracing
from lambda_tasks.messages.context import Context
tracing.prepare({})
with tracing.process_span(Context()) as span:
    span.conclude("succeeded", failed=False)
assert not any(name.startswith("opentelemetry") for name in sys.modules)
tracing.prepare({"OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider"})
assert "opentelemetry.trace" in sys.modules
"""


def test_opentelemetry_is_imported_for_nobody_who_does_not_use_it() -> None:
    """Being installed is no reason to import the API; asking it to set up an SDK is one."""
    subprocess.run([sys.executable, "-c", ISOLATED], check=True, timeout=60)
