"""The wire format of a message's context: message attributes to values, and values to attributes.

One message attribute, `ATTRIBUTE`, holds a JSON object, so that seven of SQS's ten attributes stay free.
``traceparent`` and ``tracestate`` (https://www.w3.org/TR/trace-context/) have attributes of their own.
``AWSTraceHeader`` is a system attribute of SQS. A producer that is not this package may also send plain attributes,
such as ``tenant``: they count as well. A malformed attribute never fails a message.
"""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any

from lambda_tasks.errors import InvalidContext

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambda_tasks.messages.sqs_event import Record

ATTRIBUTE = "lambda_tasks_context"
MAX_CONTEXT_BYTES = 16 * 1024
MESSAGES_OWN = ("message_id", "task", "attempt", "receive_count", "remaining_time_ms", "bind")
TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

EXPIRES_AT = "lambda_tasks_expires_at"
REPLAY_OF = "lambda_tasks_replay_of"
IDEMPOTENCY_KEY = "lambda_tasks_idempotency_key"
CONTINUES = "lambda_tasks_continues"

CORRELATION_ID = "correlation_id"
_CORRELATION_ID_BYTES = 1024  # on top of the values: a message without one gets its own id when it is received
_OWN_PREFIX = "lambda_tasks_"  # also that of a dead letter's reason: it must not come back as context
_EXTENDED_CLIENT = ("ExtendedPayloadSize", "SQSLargePayloadSize")
_SURROGATE = "\\ud"  # as JSON in ASCII spells one, alone or as half of a character
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")
HEADER = re.compile(r"[\x20-\x7e]{1,512}")

logger = logging.getLogger("lambda_tasks")


def read(attributes: object, message_id: str) -> tuple[dict[str, Any], str | None, str | None]:
    """Return the values that the attributes of a record hold, its ``traceparent`` and its ``tracestate``."""
    texts = _texts(attributes, message_id)
    if not texts:
        return {}, None, None
    traceparent, tracestate = texts.pop("traceparent", None), texts.pop("tracestate", None)
    if traceparent is not None and not TRACEPARENT.fullmatch(traceparent):
        _warn("traceparent", message_id)
        traceparent = None
    if traceparent is None or not HEADER.fullmatch(tracestate or ""):
        tracestate = None
    return _values(texts, message_id), traceparent, tracestate


def own(record: Record, name: str) -> str | None:
    """Return an attribute of the message's own, such as `EXPIRES_AT`; None where it has none."""
    attributes = record.get("messageAttributes")
    value = attributes.get(name) if isinstance(attributes, dict) else None
    text = (value.get("stringValue") or value.get("Value")) if isinstance(value, dict) else None
    return text if isinstance(text, str) else None


def expires_at(record: Record) -> float | None:
    """Return the time after which a message is not to start, in epoch seconds; None where it has none."""
    text = own(record, EXPIRES_AT)
    if text is None:
        return None
    if _NUMBER.fullmatch(text):
        return float(text)
    _warn(EXPIRES_AT, record.get("messageId", ""))
    return None


def encoded(values: dict[str, Any]) -> str | None:
    """Return the JSON of `values`, in ASCII, since SQS takes no control characters; None for no values."""
    if not values:
        return None
    try:
        encoded = json.dumps(values, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        # The error would name the value.
        remedy = "bind what JSON can hold: text, numbers, true, false, null, and lists and objects of them"
        raise InvalidContext(f"the context has no form in JSON ({type(error).__name__})", remedy=remedy) from None
    if _SURROGATE in encoded:
        try:
            json.dumps(values, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # half a character could not be logged, nor sent on
            raise InvalidContext("the context holds half a character", remedy="bind text that UTF-8 can hold") from None
    own_room = len(json.dumps({CORRELATION_ID: values[CORRELATION_ID]})) if CORRELATION_ID in values else 0
    if len(encoded) > MAX_CONTEXT_BYTES + min(own_room, _CORRELATION_ID_BYTES):
        remedy = f"bind at most {MAX_CONTEXT_BYTES} bytes, and pass more as kwargs"
        raise InvalidContext(f"the context has {len(encoded)} bytes of JSON", remedy=remedy)
    return encoded


def as_attributes(texts: Mapping[str, str | None]) -> dict[str, Any]:
    """Return `texts` as SendMessage takes attributes, without those that are empty."""
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
    return name == ATTRIBUTE or not (name.startswith(_OWN_PREFIX) or name in _EXTENDED_CLIENT or name in MESSAGES_OWN)


def _values(texts: dict[str, str], message_id: str) -> dict[str, Any]:
    """Return the values that the textual attributes `texts` hold, or none where they could not be carried on."""
    if not texts:
        return {}
    own = texts.pop(ATTRIBUTE, "{}")
    try:
        values = json.loads(own)
        merged = texts | {name: value for name, value in values.items() if name not in MESSAGES_OWN}
        encoded(merged)
    except (ValueError, AttributeError, RecursionError):
        _warn(ATTRIBUTE, message_id)
        return {}
    return merged


def _warn(attribute_name: str, message_id: str) -> None:
    logger.warning("the attribute %s of message %s is malformed and ignored", attribute_name, message_id)
