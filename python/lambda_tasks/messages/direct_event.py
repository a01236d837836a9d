"""An event that is one message itself, as a record: from ``aws lambda invoke``, EventBridge Scheduler, or a rule.

Beside the message it may have ``context``, an object; ``messageAttributes``, as SQS, SNS or SendMessage spell them, or
as plain texts; and ``idempotency_key``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import msgspec

from lambda_tasks.errors import InvalidEvent
from lambda_tasks.messages.attributes import ATTRIBUTE, IDEMPOTENCY_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambda_tasks.messages.sqs_event import Record

# https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
_KEYWORD = "<aws.scheduler."
_BESIDE = ("context", "messageAttributes", "idempotency_key")
_IDS = ("traceparent", "tracestate")  # of a context, which have attributes of their own


def record_of(event: Mapping[str, Any], message_id: str) -> Record:
    """Return the record of the message that `event` is, as if SQS had delivered it.

    Raises:
        InvalidEvent: what it has beside the message is not of its type, or is a keyword that nobody replaced.

    """
    message = {name: value for name, value in event.items() if name not in _BESIDE}
    record: dict[str, Any] = {"messageId": message_id, "body": msgspec.json.encode(message).decode()}
    attributes = {name: _attribute(value) for name, value in _object(event, "messageAttributes").items()}
    context = _object(event, "context")
    if context:
        for name in _IDS:
            if isinstance(context.get(name), str):
                attributes[name] = _text(context.pop(name))
        attributes[ATTRIBUTE] = _text(json.dumps({**_own_context(attributes), **context}))
    key = event.get("idempotency_key")
    if key is not None:
        if not isinstance(key, str):
            raise InvalidEvent(f"its idempotency_key is of type {type(key).__name__}", remedy="give a text")
        attributes[IDEMPOTENCY_KEY] = _text(key)
    _check_key(attributes.get(IDEMPOTENCY_KEY))
    if attributes:
        record["messageAttributes"] = attributes
    return cast("Record", record)


def _object(event: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = event.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        remedy = 'give an object, such as {"tenant": "acme"}'
        raise InvalidEvent(f"its {name} is of type {type(value).__name__}", remedy=remedy)
    return dict(value)


def _attribute(value: object) -> object:
    """Return one attribute as an event of SQS spells it. What is none is left to the reader, who leaves it out."""
    if isinstance(value, str):
        return _text(value)
    if not isinstance(value, dict):
        return value
    text = next((value[name] for name in ("stringValue", "StringValue", "Value") if value.get(name) is not None), None)
    kind = next((value[name] for name in ("dataType", "DataType", "Type") if value.get(name) is not None), "String")
    return {**value, "stringValue": text, "dataType": kind} if text is not None else value


def _text(value: str) -> dict[str, str]:
    return {"stringValue": value, "dataType": "String"}


def _own_context(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the context that the attributes have already, as a producer of this package gives it."""
    given = attributes.get(ATTRIBUTE)
    try:
        found = json.loads(given["stringValue"]) if isinstance(given, dict) else {}
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _check_key(attribute: object) -> None:
    """Refuse a key that would be the same at every firing: after one success no other one would run."""
    key = attribute.get("stringValue") if isinstance(attribute, dict) else None
    if isinstance(key, str) and _KEYWORD in key:
        problem = f"its idempotency_key has {_KEYWORD}...>, which nobody has replaced"
        remedy = (
            "use EventBridge Scheduler (ScheduleV2), which does; a rule gives its event's id by an InputTransformer"
        )
        raise InvalidEvent(problem, remedy=remedy)
