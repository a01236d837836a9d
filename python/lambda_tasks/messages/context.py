"""The context of a message while it is processed: its ids, and the values that its producer gave it.

The messages that the task enqueues carry the values on. `lambda_tasks.messages.attributes` is their wire format.
"""

from __future__ import annotations

import contextlib
import json
import sys
import weakref
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from lambda_tasks.errors import InvalidContext
from lambda_tasks.messages import attributes
from lambda_tasks.messages.sqs_event import attribute
from lambda_tasks.setting_values import LONGEST_FUNCTION_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from typing_extensions import Never

    from lambda_tasks.messages.sqs_event import Record


def _longest_time_ms() -> int:
    return LONGEST_FUNCTION_SECONDS * 1000


class Context(msgspec.Struct, frozen=True):
    """The context of one message: its ids, its counts, and the `values` that its producer gave it.

    A plain call of a task sees the defaults. `origin` is what the message's steps need of its delivery. ``repr`` does
    not show the values.
    """

    message_id: str = ""
    task: str = ""
    attempt: int = 1
    receive_count: int = 1
    correlation_id: str = ""
    remaining_time_ms: Callable[[], int] = _longest_time_ms
    values: Mapping[str, Any] = MappingProxyType({})
    traceparent: str | None = None
    tracestate: str | None = None
    aws_trace_header: str | None = None
    origin: Any = None

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in _SHOWN)
        return f"Context({shown})"

    @property
    def context(self) -> Context:
        """This context itself, as a `Bearer` of one."""
        return self

    @property
    def group_key(self) -> str:
        """The same text for messages with the same values, whatever their correlation ids and traces are."""
        return json.dumps(dict(self.values), sort_keys=True) if self.values else ""


_SHOWN = ("message_id", "task", "attempt", "receive_count", "correlation_id", "traceparent")


class Bearer(Protocol):
    """A holder of a context: a `Context` itself, or a message that makes its context when it is first asked for."""

    @property
    def context(self) -> Context:
        """The context."""
        ...


bearer: ContextVar[Bearer] = ContextVar("lambda_tasks_context", default=Context())  # noqa: B039 - it is frozen
"""The holder of the context of the message that this thread, or this asyncio task, processes."""


origins: weakref.WeakSet[Any] = weakref.WeakSet()
"""The origins of messages whose tasks run, or ran, where steps can be kept."""


def from_record(
    record: Record,
    *,
    task: str,
    attempt: int,
    receive_count: int,
    remaining_time_ms: Callable[[], int],
    origin: object = None,
) -> Context:
    """Return the context that `record` carries.

    A message without a correlation id has its message id for one, so that all its deliveries have the same.
    """
    message_id = record.get("messageId", "")
    values, traceparent, tracestate = attributes.read(record.get("messageAttributes"), message_id)
    correlation_id, aws_trace_header = values.pop("correlation_id", None), attribute(record, "AWSTraceHeader")
    return Context(
        message_id,
        task,
        attempt,
        receive_count,
        correlation_id if isinstance(correlation_id, str) and correlation_id else message_id,
        remaining_time_ms,
        values,
        traceparent,
        tracestate,
        aws_trace_header,
        origin,
    )


def of_batch(contexts: Sequence[Context]) -> Context:
    """Return one context for messages of equal values: the first one's, without its trace where another has its own."""
    first = contexts[0]
    if all(one.traceparent == first.traceparent for one in contexts):
        return first
    return msgspec.structs.replace(first, traceparent=None, tracestate=None, aws_trace_header=None)


@contextlib.contextmanager
def activated(one: Bearer) -> Iterator[None]:
    """Make the context of `one` the current one within a ``with`` block."""
    token = bearer.set(one)
    try:
        yield
    finally:
        bearer.reset(token)


def current() -> Context:
    """Return the context of the message that is processed here, or an empty one."""
    return bearer.get().context


def outgoing_attributes(values: Mapping[str, Any] = MappingProxyType({})) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the ``MessageAttributes`` and ``MessageSystemAttributes`` that SQS is to take with a message sent now.

    Raises:
        InvalidContext: as `CurrentContext.bind` with `values`.

    """
    context = _with_values(bearer.get().context, values)
    traceparent, tracestate = _active_span() or (context.traceparent, context.tracestate)
    own = {"correlation_id": context.correlation_id} if context.correlation_id else {}
    texts = {
        attributes.ATTRIBUTE: attributes.encoded(own | dict(context.values)),
        "traceparent": traceparent,
        "tracestate": _header(tracestate),
    }
    system = {"AWSTraceHeader": _header(context.aws_trace_header)}
    return attributes.as_attributes(texts), attributes.as_attributes(system)


class CurrentContext(Mapping[str, Any]):
    """The public accessor, `lambda_tasks.context`: a mapping of what the producer put there, and attributes.

    Outside of a task, and in a plain call of one, the ids are empty texts and the counts are 1.
    """

    @property
    def message_id(self) -> str:
        """SQS's id of the message, or the request id of an invocation that is a message itself."""
        return bearer.get().context.message_id

    @property
    def task(self) -> str:
        """The dotted path of the task."""
        return bearer.get().context.task

    @property
    def attempt(self) -> int:
        """Which attempt this is; 1 is the first."""
        return bearer.get().context.attempt

    @property
    def receive_count(self) -> int:
        """How often SQS has delivered the message, deferred deliveries included."""
        return bearer.get().context.receive_count

    @property
    def correlation_id(self) -> str:
        """The id that this message shares with the message that enqueued it, and with those that it enqueues."""
        return bearer.get().context.correlation_id

    @property
    def remaining_time_ms(self) -> int:
        """The milliseconds that the task may still run, as of now."""
        return bearer.get().context.remaining_time_ms()

    if TYPE_CHECKING:  # the names that are the message's own take nothing

        def bind(
            self,
            /,
            *,
            message_id: Never = ...,
            task: Never = ...,
            attempt: Never = ...,
            receive_count: Never = ...,
            remaining_time_ms: Never = ...,
            bind: Never = ...,
            **values: Any,  # noqa: ANN401 - anything that JSON can hold
        ) -> contextlib.AbstractContextManager[None]: ...

    else:

        @contextlib.contextmanager
        def bind(self, /, **values: Any) -> Iterator[None]:  # noqa: ANN401
            """Add `values`, such as ``tenant="acme"``, to the context of every message enqueued in the ``with`` block.

            ``correlation_id`` may be one of them, and so may ``traceparent`` and ``tracestate``.

            Raises:
                InvalidContext: a value has no form in JSON, they are too large, or a name is the message's own.

            """
            bound = _with_values(bearer.get().context, values)
            attributes.encoded({**bound.values, **{name: values[name] for name in _IDS if name in values}})
            with activated(bound):
                yield

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401
        return bearer.get().context.values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(bearer.get().context.values)

    def __len__(self) -> int:
        return len(bearer.get().context.values)

    def __repr__(self) -> str:
        return f"<lambda_tasks.context {bearer.get().context!r}>"


context = CurrentContext()

_IDS = ("correlation_id", "traceparent", "tracestate")


def _with_values(context: Context, values: Mapping[str, Any]) -> Context:
    if not values:
        return context
    for name in values:
        if name in attributes.MESSAGES_OWN:
            raise InvalidContext(f"{name} cannot be bound", remedy="use another name: this one is the message's own")
    ids = {name: values[name] for name in _IDS if name in values}
    for name, value in ids.items():
        if not isinstance(value, str) or not value:
            raise InvalidContext(f"{name} is not a text", remedy="use a text that is not empty")
    if "traceparent" in ids and not attributes.TRACEPARENT.fullmatch(ids["traceparent"]):
        raise InvalidContext("traceparent is malformed", remedy="see https://www.w3.org/TR/trace-context/")
    if "tracestate" in ids and not attributes.HEADER.fullmatch(ids["tracestate"]):
        raise InvalidContext("tracestate is malformed", remedy="use at most 512 printable characters of ASCII")
    merged = {**context.values, **{name: value for name, value in values.items() if name not in _IDS}}
    return msgspec.structs.replace(context, values=merged, **ids)


def _header(text: str | None) -> str | None:
    """Return `text` where it can be a header's value: with a control character, SQS would refuse the whole message."""
    return text if text and attributes.HEADER.fullmatch(text) else None


def _active_span() -> tuple[str, str | None] | None:
    """Return ``traceparent`` and ``tracestate`` of the span that is active here, where OpenTelemetry is in use."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return None
    state = span.trace_state.to_header()
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags):02x}", state or None
