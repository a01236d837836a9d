"""Read a record: what SQS says about a message, and the message itself, whichever way it came."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec

from lambda_tasks.errors import MalformedMessage, PayloadUnavailable
from lambda_tasks.tasks import message
from lambda_tasks.tasks.event import attribute

if TYPE_CHECKING:
    from lambda_tasks.tasks.event import MessageAttribute, Record
    from lambda_tasks.tasks.message import Message


def read(record: Record) -> tuple[Message | MalformedMessage | PayloadUnavailable, Record]:
    """Return the message in `record`, or why it cannot be read, and the record as the sender meant it.

    For an SNS notification that is the record with the notification's attributes.
    """
    body = record.get("body")
    received = _decode(body)
    notification = _notification(body) if isinstance(received, MalformedMessage) else None
    if notification is None:
        return received, record
    return _decode(notification.Message), _with_attributes(record, notification)


def receive_count(record: Record) -> int:
    """Return how often SQS has delivered the message, this time included."""
    return _number(attribute(record, "ApproximateReceiveCount")) or 1


def first_received_at(record: Record) -> float | None:
    """Return when SQS first delivered the message, in epoch seconds."""
    milliseconds = _number(attribute(record, "ApproximateFirstReceiveTimestamp"))
    return None if milliseconds is None else milliseconds / 1000


def fifo_group(record: Record) -> str | None:
    """Return the message group where order counts: on a FIFO queue (a standard queue's groups are for fairness)."""
    return attribute(record, "MessageGroupId") if attribute(record, "SequenceNumber") else None


class _Notification(msgspec.Struct, tag_field="Type", tag="Notification"):
    """What SNS puts into a body: https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html."""

    Message: str
    MessageAttributes: dict[str, dict[str, str]] = {}


_NOTIFICATION = msgspec.json.Decoder(_Notification)


def _notification(body: object) -> _Notification | None:
    if not isinstance(body, str):
        return None
    try:
        return _NOTIFICATION.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _decode(body: object) -> Message | MalformedMessage | PayloadUnavailable:
    try:
        return message.decode(body)
    except (MalformedMessage, PayloadUnavailable) as error:
        return error


def _with_attributes(record: Record, notification: _Notification) -> Record:
    own: object = record.get("messageAttributes")
    attributes = {name: _attribute(value) for name, value in notification.MessageAttributes.items()}
    merged = {**attributes, **own} if isinstance(own, dict) else attributes
    return cast("Record", {**record, "messageAttributes": merged})


def _attribute(value: dict[str, str]) -> MessageAttribute:
    kind, content = value.get("Type", "String"), value.get("Value", "")
    return (
        {"dataType": kind, "binaryValue": content} if kind == "Binary" else {"dataType": kind, "stringValue": content}
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else None
