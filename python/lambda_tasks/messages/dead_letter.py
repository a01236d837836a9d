"""A dead letter: the message as it was, with the reason as message attributes."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from lambda_tasks.errors import text_of, type_name_of
from lambda_tasks.messages.attributes import CONTINUES
from lambda_tasks.messages.payload import MAX_MESSAGE_BYTES, size_attribute, size_bytes
from lambda_tasks.messages.sqs_event import attribute, first_received_at, receive_count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lambda_tasks.messages.outcome import Result
    from lambda_tasks.messages.sqs_event import Record

PREFIX = "lambda_tasks_"
MAX_ATTRIBUTES = (
    10  # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
)
MAX_ERROR_MESSAGE_CHARACTERS = 1024
_REASON = frozenset(
    f"{PREFIX}{part}"
    for part in (
        "error_type",
        "error_message",
        "task",
        "outcome",
        "receive_count",
        "request_id",
        "first_failure",
        "message_id",
    )
)
_MAX_NAME_CHARACTERS = 256
_SHORT_CHARACTERS = 64
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
_NOT_ALLOWED = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def dead_letter(
    record: Record,
    result: Result,
    *,
    request_id: str,
    first_failed_at: float | None,
    is_fifo: bool,
    offload: Callable[[str], str | None] = lambda _: None,
    continues: str | None = None,
) -> dict[str, Any] | None:
    """Return the ``SendMessage`` request, but for the queue, that puts a message into a dead-letter queue.

    The message's own attributes are kept, all of them. The reason's fill what is left of SQS's ten, in this order:
    error type, error message, task, outcome, receive count, request id, first failure, message id. Where that would be
    more than SQS takes, the error's message is shortened, then the reason is left out but for the error's type, then
    the body goes where `offload` puts it, which returns the pointer to it. None where nothing is small enough.
    """
    own, body = own_attributes(record), str(record.get("body"))
    if continues is not None and len(own) < MAX_ATTRIBUTES:  # a redrive goes on where its steps have come
        own[CONTINUES] = _string(continues, _MAX_NAME_CHARACTERS)
    reason = list(_reason(record, result, request_id, first_failed_at).items())
    reason = [(PREFIX + name, value) for name, value in reason[: max(0, MAX_ATTRIBUTES - len(own))]]
    short = [(name, _string(value["StringValue"], _SHORT_CHARACTERS)) for name, value in reason[:2]]
    for some in (reason, [*short, *reason[2:]], short, short[:1]):
        if size_bytes(body, attributes := {**own, **dict(some)}) <= MAX_MESSAGE_BYTES:
            break
    else:
        pointer = offload(body)
        if pointer is None:
            return None
        size = size_attribute(body.encode())
        body, attributes = pointer, {**own, **dict(reason[: MAX_ATTRIBUTES - len(own) - 1]), **size}
        if len(attributes) > MAX_ATTRIBUTES or size_bytes(body, attributes) > MAX_MESSAGE_BYTES:
            return None
    request: dict[str, Any] = {"MessageBody": body}
    if attributes:
        request["MessageAttributes"] = attributes
    if is_fifo:
        request["MessageGroupId"] = attribute(record, "MessageGroupId") or record["messageId"]
        request["MessageDeduplicationId"] = record["messageId"]
    return request


def _reason(
    record: Record, result: Result, request_id: str, first_failed_at: float | None
) -> dict[str, dict[str, str]]:
    error = result.error
    message = text_of(error) if error is not None else ""
    received = receive_count(record)
    first = first_failed_at or (first_received_at(record) if received > 1 else None) or time.time()
    return {
        "error_type": _string(type_name_of(error) if error is not None else "none", _MAX_NAME_CHARACTERS),
        "error_message": _string(message, MAX_ERROR_MESSAGE_CHARACTERS),
        "task": _string(result.task_name or "unknown", _MAX_NAME_CHARACTERS),
        "outcome": _string(result.outcome.value, _MAX_NAME_CHARACTERS),
        "receive_count": {"DataType": "Number", "StringValue": str(received)},
        "request_id": _string(request_id or "unknown", _MAX_NAME_CHARACTERS),
        "first_failure": _earlier(record) or _string(_utc(first), _MAX_NAME_CHARACTERS),
        "message_id": _string(record["messageId"], _MAX_NAME_CHARACTERS),
    }


def own_attributes(record: Record) -> dict[str, Any]:
    """Return the attributes that a message was sent with, in the spelling of SendMessage, and none of a dead letter."""
    attributes: Any = record.get("messageAttributes")
    if not isinstance(attributes, dict):
        return {}
    spelled = {
        name: _spelled(value)
        for name, value in attributes.items()
        if isinstance(name, str) and isinstance(value, dict) and name not in _REASON
    }
    return {name: value for name, value in spelled.items() if value}


def _spelled(value: Mapping[str, Any]) -> dict[str, Any] | None:
    kind = value.get("dataType")
    if not isinstance(kind, str):
        return None
    for theirs, ours in (("stringValue", "StringValue"), ("binaryValue", "BinaryValue")):
        if isinstance(value.get(theirs), str):
            return {"DataType": kind, ours: value[theirs]}
    return None


def _earlier(record: Record) -> dict[str, Any] | None:
    """Return when the message first failed, as its earlier dead letter says, where it was redriven since."""
    attributes: Any = record.get("messageAttributes")
    value = attributes.get(f"{PREFIX}first_failure") if isinstance(attributes, dict) else None
    return _spelled(value) if isinstance(value, dict) else None


def _string(text: str, max_characters: int) -> dict[str, str]:
    """Return a string attribute: never empty, of characters that SQS takes, and bounded."""
    clean = _NOT_ALLOWED.sub("\N{REPLACEMENT CHARACTER}", text[:max_characters])
    return {"DataType": "String", "StringValue": clean or "(empty)"}


def _utc(epoch_seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch_seconds))
