"""What a message carries beside its kwargs, from the producer to the task and on to whatever the task enqueues.

On the wire it is one message attribute, `ATTRIBUTE`, that holds a JSON object, so that seven of SQS's ten attributes
stay free; ``traceparent`` and ``tracestate`` (https://www.w3.org/TR/trace-context/) have attributes of their own, and
``AWSTraceHeader`` is a system attribute of SQS. A producer that is not this package may also send plain attributes,
such as ``tenant``: they count as well. Nothing that is malformed fails a message.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from lambda_tasks.errors import InvalidContext
from lambda_tasks.tasks.event import attribute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextvars import Token

    from lambda_tasks.tasks.event import Record

ATTRIBUTE = "lambda_tasks_context"
MAX_CONTEXT_BYTES = 16 * 1024

_OWN_PREFIX = "lambda_tasks_"  # also that of a dead letter's reason: it must not come back as context
_EXTENDED_CLIENT = ("ExtendedPayloadSize", "SQSLargePayloadSize")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_HEADER = re.compile(r"[\x20-\x7e]{1,512}")
_LONGEST_INVOCATION_MS = 900_000

logger = logging.getLogger("lambda_tasks")


@dataclass(frozen=True)
class Context:
    """What is known while one message is processed. `values` is what the producer put there, not shown by repr.

    The defaults are what a plain call of a task sees.
    """

    message_id: str = ""
    task: str = ""
    attempt: int = 1
    receive_count: int = 1
    correlation_id: str = ""
    remaining_time_ms: Callable[[], int] = field(default=lambda: _LONGEST_INVOCATION_MS, repr=False)
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    traceparent: str | None = None
    tracestate: str | None = None
    aws_trace_header: str | None = None

    @property
    def context(self) -> Context:
        """This context itself, as a `Bearer` of one."""
        return self

    @property
    def group_key(self) -> str:
        """The same text for messages with the same values, whatever their correlation ids and traces are."""
        return json.dumps(self.values, sort_keys=True) if self.values else ""


class Bearer(Protocol):
    """What has a context: one itself, or a message that makes its own when it is first asked for."""

    @property
    def context(self) -> Context:
        """The context."""
        ...


_current: ContextVar[Bearer] = ContextVar("lambda_tasks_context", default=Context())  # noqa: B039 - it is frozen


def from_record(
    record: Record, *, task: str, attempt: int, receive_count: int, remaining_time_ms: Callable[[], int]
) -> Context:
    """Return the context that `record` carries.

    A message without a correlation id has its message id for one, so that all its deliveries have the same.
    """
    message_id = record.get("messageId", "")
    carried = _texts(record.get("messageAttributes"), message_id)
    traceparent, tracestate = carried.pop("traceparent", None), carried.pop("tracestate", None)
    values = _values(carried, message_id)
    if traceparent is not None and not _TRACEPARENT.fullmatch(traceparent):
        _warn("traceparent", message_id)
        traceparent = None
    if traceparent is None or not _HEADER.fullmatch(tracestate or ""):
        tracestate = None
    correlation_id = values.pop("correlation_id", None)
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
        attribute(record, "AWSTraceHeader"),
    )


def of_batch(contexts: Sequence[Context]) -> Context:
    """Return the one context of messages that run as one call: what they share, and the first one's ids otherwise."""
    first = contexts[0]
    if all(one.traceparent == first.traceparent for one in contexts):
        return first
    return replace(first, traceparent=None, tracestate=None, aws_trace_header=None)


def activate(bearer: Bearer) -> Token[Bearer]:
    """Make the context of `bearer` the current one, until `deactivate` is called with what this returns.

    It is that of this thread or asyncio task, and of what copies its contextvars.
    """
    return _current.set(bearer)


def deactivate(token: Token[Bearer]) -> None:
    """Make the context current that was so before."""
    _current.reset(token)


@contextlib.contextmanager
def activated(bearer: Bearer) -> Iterator[None]:
    """Make the context of `bearer` the current one within a ``with`` block."""
    token = activate(bearer)
    try:
        yield
    finally:
        deactivate(token)


def current() -> Context:
    """Return the context of the message that is processed here, or an empty one."""
    return _current.get().context


def outgoing_attributes() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the ``MessageAttributes`` and ``MessageSystemAttributes`` that SQS is to take with a message sent now."""
    context = _current.get().context
    traceparent, tracestate = _active_span() or (context.traceparent, context.tracestate)
    carried = {"correlation_id": context.correlation_id} if context.correlation_id else {}
    texts = {
        ATTRIBUTE: _encoded(carried | dict(context.values)),
        "traceparent": traceparent,
        "tracestate": tracestate,
    }
    return _as_attributes(texts), _as_attributes({"AWSTraceHeader": context.aws_trace_header})


class CurrentContext(Mapping[str, Any]):
    """The public accessor, `lambda_tasks.context`: a mapping of what the producer put there, and attributes.

    Outside of a task, and in a plain call of one, the ids are empty texts and the counts are 1.
    """

    @property
    def message_id(self) -> str:
        """SQS's id of the message, or the request id of an invocation that is a message itself."""
        return _current.get().context.message_id

    @property
    def task(self) -> str:
        """The dotted path of the task."""
        return _current.get().context.task

    @property
    def attempt(self) -> int:
        """Which attempt this is; 1 is the first."""
        return _current.get().context.attempt

    @property
    def receive_count(self) -> int:
        """How often SQS has delivered the message, deferred deliveries included."""
        return _current.get().context.receive_count

    @property
    def correlation_id(self) -> str:
        """The id that this message shares with what it was enqueued by, and with what it enqueues."""
        return _current.get().context.correlation_id

    @property
    def remaining_time_ms(self) -> int:
        """The milliseconds that the task may still run, as of now."""
        return _current.get().context.remaining_time_ms()

    @contextlib.contextmanager
    def bind(self, **values: Any) -> Iterator[None]:  # noqa: ANN401 - anything that JSON can hold
        """Add `values`, such as ``tenant="acme"``, to what every message enqueued within the ``with`` block carries.

        ``correlation_id`` may be one of them, and so may ``traceparent`` and ``tracestate``.

        Raises:
            InvalidContext: a value has no form in JSON, they are too large, or a name is the message's own.

        """
        with activated(_bound(_current.get().context, values)):
            yield

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401
        return _current.get().context.values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_current.get().context.values)

    def __len__(self) -> int:
        return len(_current.get().context.values)

    def __repr__(self) -> str:
        return f"<lambda_tasks.context {_current.get().context!r}>"


context = CurrentContext()

_IDS = ("correlation_id", "traceparent", "tracestate")
_MESSAGES_OWN = ("message_id", "task", "attempt", "receive_count", "remaining_time_ms", "bind")


def _bound(context: Context, values: dict[str, Any]) -> Context:
    for name in values:
        if name in _MESSAGES_OWN:
            raise InvalidContext(f"{name} cannot be bound", remedy="use another name: this one is the message's own")
    ids = {name: values.pop(name) for name in _IDS if name in values}
    for name, value in ids.items():
        if not isinstance(value, str) or not value:
            raise InvalidContext(f"{name} is not a text", remedy="use a text that is not empty")
    if "traceparent" in ids and not _TRACEPARENT.fullmatch(ids["traceparent"]):
        raise InvalidContext("traceparent is malformed", remedy="see https://www.w3.org/TR/trace-context/")
    merged = {**context.values, **values}
    _encoded(merged | ids)
    return replace(context, values=merged, **ids)


def _encoded(values: dict[str, Any]) -> str | None:
    """Return the JSON of `values`, in ASCII, since SQS takes no control characters; None for no values."""
    if not values:
        return None
    try:
        encoded = json.dumps(values, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        # The error would name the value.
        remedy = "bind what JSON can hold: text, numbers, true, false, null, and lists and objects of them"
        raise InvalidContext(f"the context has no form in JSON ({type(error).__name__})", remedy=remedy) from None
    if len(encoded) > MAX_CONTEXT_BYTES:
        remedy = f"bind at most {MAX_CONTEXT_BYTES} bytes, and pass more as kwargs"
        raise InvalidContext(f"the context has {len(encoded)} bytes of JSON", remedy=remedy)
    return encoded


def _as_attributes(texts: Mapping[str, str | None]) -> dict[str, Any]:
    return {name: {"DataType": "String", "StringValue": text} for name, text in texts.items() if text}


def _texts(attributes: object, message_id: str) -> dict[str, str]:
    """Return the textual attributes that may be context, from an SQS record or an SNS notification."""
    if not attributes:
        return {}
    if not isinstance(attributes, dict):
        _warn("messageAttributes", message_id)
        return {}
    texts = {}
    for name, value in attributes.items():
        text = (value.get("stringValue") or value.get("Value")) if isinstance(value, dict) else None
        kind = (value.get("dataType") or value.get("Type")) if isinstance(value, dict) else None
        if isinstance(text, str) and isinstance(kind, str) and not kind.startswith("Binary") and _is_context(name):
            texts[name] = text
    return texts


def _is_context(name: str) -> bool:
    return name == ATTRIBUTE or not (name.startswith(_OWN_PREFIX) or name in _EXTENDED_CLIENT or name in _MESSAGES_OWN)


def _values(carried: dict[str, str], message_id: str) -> dict[str, Any]:
    """Return the values that the textual attributes `carried` hold, or none where they could not be carried on."""
    if not carried:
        return {}
    own = carried.pop(ATTRIBUTE, "{}")
    try:
        values = json.loads(own)
        merged = carried | {name: value for name, value in values.items() if name not in _MESSAGES_OWN}
        _encoded(merged)
    except (ValueError, AttributeError, RecursionError):
        _warn(ATTRIBUTE, message_id)
        return {}
    return merged


def _warn(attribute_name: str, message_id: str) -> None:
    logger.warning("the attribute %s of message %s is malformed and ignored", attribute_name, message_id)


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
