"""The context: it travels beside the kwargs from the producer to the task, and on to the messages of the task."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace

import lambda_tasks
from events import sqs_record
from lambda_tasks.errors import InvalidContext
from lambda_tasks.messages.attributes import ATTRIBUTE, MAX_CONTEXT_BYTES
from lambda_tasks.messages.context import (
    Context,
    activated,
    context,
    current,
    from_record,
    of_batch,
    outgoing_attributes,
)

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def text(value: str, kind: str = "String") -> dict[str, Any]:
    return {"stringValue": value, "dataType": kind, "stringListValues": [], "binaryListValues": []}


def received(attributes: object, **system: str) -> Context:
    """Return the context of a message with these message attributes."""
    record: Any = sqs_record("{}", message_id="m-1", **system) | {"messageAttributes": attributes}
    return from_record(record, task="shop.tasks.send", attempt=2, receive_count=3, remaining_time_ms=lambda: 1234)


def arrived(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return `attributes`, as SendMessage takes them, in the spelling of an event."""
    return {name: text(value["StringValue"], value["DataType"]) for name, value in attributes.items()}


def test_the_public_accessor_is_the_current_context() -> None:
    """`lambda_tasks.context` shows the message that is processed here, and what its producer put there."""
    with activated(received({ATTRIBUTE: text('{"tenant": "acme", "correlation_id": "c-1"}')})):
        here = lambda_tasks.context
        assert (here.message_id, here.task, here.attempt, here.receive_count) == ("m-1", "shop.tasks.send", 2, 3)
        assert (here.correlation_id, here.remaining_time_ms) == ("c-1", 1234)
        assert dict(here) == {"tenant": "acme"}
        assert (here["tenant"], here.get("user"), len(here)) == ("acme", None, 1)


def test_a_plain_call_sees_an_empty_context() -> None:
    """Outside of a message the ids are empty texts, the counts 1 and the time that of the longest invocation."""
    assert (context.message_id, context.task, context.correlation_id) == ("", "", "")
    assert (context.attempt, context.receive_count, context.remaining_time_ms) == (1, 1, 5_400_000)
    assert dict(context) == {}
    assert outgoing_attributes() == ({}, {})


def test_what_a_producer_binds_arrives_and_goes_on() -> None:
    """Bound values, ids and traces reach the task, and what that enqueues carries them on."""
    with context.bind(tenant="acme", correlation_id="c-1", traceparent=TRACEPARENT, tracestate="a=b"):
        with context.bind(user={"id": 7, "name": "Zoë\n"}):
            sent, _ = outgoing_attributes()
        assert "user" not in context
    assert sorted(sent) == [ATTRIBUTE, "traceparent", "tracestate"]
    assert sent[ATTRIBUTE]["StringValue"].isascii()
    with activated(received(arrived(sent), AWSTraceHeader="Root=1-5759e988-bd862e3fe1be46a994272793")):
        assert dict(context) == {"tenant": "acme", "user": {"id": 7, "name": "Zoë\n"}}
        assert context.correlation_id == "c-1"
        sent_on, system = outgoing_attributes()
    assert sent_on == sent
    assert system == {
        "AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}
    }


def test_a_message_without_a_correlation_id_has_its_message_id() -> None:
    """A correlation id is made of the message's own id, so that every delivery has the same, and goes on."""
    with activated(received({})):
        assert context.correlation_id == "m-1"
        sent, system = outgoing_attributes()
    assert json.loads(sent[ATTRIBUTE]["StringValue"]) == {"correlation_id": "m-1"}
    assert system == {}


def test_plain_attributes_of_another_producer_count() -> None:
    """Textual attributes are values too, in SQS's spelling and in that of an SNS notification; ours win."""
    foreign = {
        "tenant": text("acme"),
        "priority": text("5", "Number.int"),
        "user": {"Type": "String", "Value": "u-1"},
        "blob": {"binaryValue": "AA==", "dataType": "Binary"},
        "ExtendedPayloadSize": text("300000", "Number"),
        "lambda_tasks_error_type": text("ValueError"),
        "message_id": text("forged"),
    }
    assert received(foreign).values == {"tenant": "acme", "priority": "5", "user": "u-1"}
    assert received(foreign | {ATTRIBUTE: text('{"tenant": "own"}')}).values["tenant"] == "own"
    assert received({"correlation_id": text("c-9")}).correlation_id == "c-9"


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({ATTRIBUTE: text("{")}, ATTRIBUTE),
        ({ATTRIBUTE: text("[1]")}, ATTRIBUTE),
        ({ATTRIBUTE: text('{"a": NaN}')}, ATTRIBUTE),
        ({ATTRIBUTE: text(json.dumps({"a": "x" * MAX_CONTEXT_BYTES}))}, ATTRIBUTE),
        ({"traceparent": text("00-zz")}, "traceparent"),
        ({"traceparent": text(f"00-{'0' * 32}-00f067aa0ba902b7-01")}, "traceparent"),
        ("attributes", "messageAttributes"),
    ],
)
def test_malformed_attributes_are_ignored_with_a_warning(
    attributes: Any, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An attribute that cannot be read, or could not be carried on, is left out, with a warning that shows no value."""
    with caplog.at_level(logging.WARNING, "lambda_tasks"):
        result = received(attributes)
    assert (result.values, result.traceparent, result.correlation_id) == ({}, None, "m-1")
    assert caplog.messages == [f"the attribute {named} of message m-1 is malformed and ignored"]


def test_no_depth_of_values_fails_a_message() -> None:
    """The possible depth of JSON differs from Python to Python; a value too deep for this one is left out."""
    nested = received({ATTRIBUTE: text('{"a":' + "[" * 7000 + "]" * 7000 + "}")})
    with activated(nested):
        assert outgoing_attributes()[0][ATTRIBUTE]["StringValue"].startswith('{"correlation_id":"m-1"')


def test_a_tracestate_counts_only_beside_a_traceparent() -> None:
    """As the W3C says: a tracestate alone, or one that is not a header's value, is dropped."""
    assert received({"tracestate": text("a=b")}).tracestate is None
    assert received({"traceparent": text(TRACEPARENT), "tracestate": text("a\nb")}).tracestate is None


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([ATTRIBUTE, "traceparent", "tracestate", "correlation_id", "tenant"]) | st.text(max_size=8)
ATTRIBUTES = st.builds(text, st.text() | JSON.map(json.dumps) | st.just(TRACEPARENT)) | JSON


@given(JSON | st.dictionaries(NAMES, ATTRIBUTES, max_size=5))
def test_no_attributes_fail_a_message(attributes: object) -> None:
    """Any attributes give a context, and it can be carried on."""
    with activated(received(attributes)):
        sent, _ = outgoing_attributes()
    assert len(sent) <= 3
    assert all(value["StringValue"] for value in sent.values())


@given(st.dictionaries(st.text(min_size=1, max_size=8).filter(str.isidentifier), JSON, max_size=4))
def test_every_value_that_can_be_bound_arrives_as_it_was(values: dict[str, Any]) -> None:
    """Every value that can be bound is the same on the other side."""
    try:
        with context.bind(**values):
            sent, _ = outgoing_attributes()
            bound = dict(context)
    except InvalidContext:
        return
    assert received(arrived(sent)).values == bound


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"canary": object()}, "the context has no form in JSON (TypeError): bind what JSON can hold"),
        ({"canary": float("nan")}, "the context has no form in JSON (ValueError): bind what JSON can hold"),
        ({"canary": "x" * MAX_CONTEXT_BYTES}, "the context has 16397 bytes of JSON: bind at most 16384 bytes"),
        ({"message_id": "m"}, "message_id cannot be bound: use another name"),
        ({"correlation_id": 1}, "correlation_id is not a text: use a text that is not empty"),
        ({"traceparent": "00"}, "traceparent is malformed: see https://www.w3.org/TR/trace-context/"),
        ({"tracestate": "a=b\n"}, "tracestate is malformed: use at most 512 printable characters of ASCII"),
        ({"tracestate": "a" * 513}, "tracestate is malformed: use at most 512 printable characters of ASCII"),
        ({"user": "\ud800"}, "the context holds half a character: bind text that UTF-8 can hold"),
        ({"correlation_id": "c" * (MAX_CONTEXT_BYTES + 1024)}, "the context has 17429 bytes of JSON"),
    ],
)
def test_what_cannot_travel_cannot_be_bound(values: dict[str, Any], error: str) -> None:
    """A value without a form in JSON, too many of them, and the message's own names are errors where they are bound."""
    with pytest.raises(InvalidContext) as caught, context.bind(**values):
        pass
    assert str(caught.value).startswith(error)


@pytest.mark.parametrize("bound", [{}, {"correlation_id": "c" * 100}, {"correlation_id": "é" * 100}])
def test_the_largest_context_travels_as_far_as_messages_go(bound: dict[str, str]) -> None:
    """What can be bound, and what can be received, can be sent on: a message's own id has room beside it."""
    largest = {"text": "x" * (MAX_CONTEXT_BYTES - len('{"text":""}'))}
    with context.bind(**largest, **bound):  # type: ignore[arg-type]
        sent, _ = outgoing_attributes()
    for _ in range(3):
        with activated(received(arrived(sent))):
            assert dict(context) == largest
            assert context.correlation_id == bound.get("correlation_id", "m-1")
            sent, _ = outgoing_attributes()


def test_any_name_can_be_bound() -> None:
    """Names that Python's methods have for their own parameters are names of values too."""
    with context.bind(self=1, values=2, context=3, name=4):
        assert dict(context) == {"self": 1, "values": 2, "context": 3, "name": 4}


def test_what_sqs_would_refuse_is_left_out() -> None:
    """A header of the invocation's that SQS does not take keeps no message from being sent."""
    with activated(Context(traceparent=TRACEPARENT, tracestate="a=b\x07", aws_trace_header="Root=1\n")):
        sent, system = outgoing_attributes()
    assert (sorted(sent), system) == (["traceparent"], {})


def test_threads_and_coroutines_see_the_context_of_their_own_message() -> None:
    """Copied contextvars carry the context into threads; coroutines that run together do not mix theirs."""
    with activated(received({ATTRIBUTE: text('{"tenant": "acme"}')})), ThreadPoolExecutor(1) as pool:
        assert pool.submit(contextvars.copy_context().run, lambda: context["tenant"]).result() == "acme"
        assert pool.submit(threading.get_ident).result() != threading.get_ident()
        assert pool.submit(lambda: len(context)).result() == 0

    async def one(number: int, bound: asyncio.Event, others: asyncio.Event) -> tuple[int, int]:
        with context.bind(number=number):
            bound.set()
            await others.wait()
            return number, context["number"]

    async def both() -> list[tuple[int, int]]:
        first, second = asyncio.Event(), asyncio.Event()
        return list(await asyncio.gather(one(1, first, second), one(2, second, first)))

    assert asyncio.run(both()) == [(1, 1), (2, 2)]


def test_an_active_span_is_the_parent_of_what_is_enqueued() -> None:
    """A message carries the span that OpenTelemetry has here, and not the one that arrived."""
    span = trace.NonRecordingSpan(
        trace.SpanContext(0xA, 0xB, is_remote=False, trace_flags=trace.TraceFlags(1), trace_state=trace.TraceState())
    )
    with activated(received({"traceparent": text(TRACEPARENT)})), trace.use_span(span):
        sent, _ = outgoing_attributes()
    assert sent["traceparent"]["StringValue"] == f"00-{'0' * 31}a-{'0' * 15}b-01"


def test_messages_are_grouped_by_their_values() -> None:
    """Messages with equal values group, whatever their ids; one call for several has the trace that they share."""
    one = received({ATTRIBUTE: text('{"tenant": "acme", "user": 1, "correlation_id": "c-1"}')})
    other = received({ATTRIBUTE: text('{"user": 1, "tenant": "acme"}'), "traceparent": text(TRACEPARENT)})
    assert one.group_key == other.group_key
    assert one.group_key != received({}).group_key
    assert of_batch([other, one]).traceparent is None
    assert of_batch([other, other]).traceparent == TRACEPARENT


def test_the_values_are_not_shown() -> None:
    """The repr of a context names the message, and not what its producer put there."""
    with activated(received({"tenant": text("canary")})):
        assert "canary" not in repr(context) + repr(current())
        assert "m-1" in repr(context)
