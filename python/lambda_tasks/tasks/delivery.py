"""One delivery of a message: what SQS says about it, whichever way the message came."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec

from lambda_tasks.errors import MalformedMessage, PayloadUnavailable
from lambda_tasks.tasks import message
from lambda_tasks.tasks.event import attribute

if TYPE_CHECKING:
    from lambda_tasks.tasks.event import MessageAttribute, Record
    from lambda_tasks.tasks.message import Message


class Delivery(NamedTuple):
    """A record, read. `record` is as it came; `sent` is the same with the attributes of an SNS notification in it."""

    record: Record
    sent: Record
    received: Message | MalformedMessage | PayloadUnavailable
    receive_count: int
    group: str | None

    @property
    def message_id(self) -> str:
        """SQS's id of the message."""
        return self.record["messageId"]

    @property
    def first_received_at(self) -> float | None:
        """When SQS first delivered the message, in epoch seconds."""
        milliseconds = _number(attribute(self.record, "ApproximateFirstReceiveTimestamp"))
        return None if milliseconds is None else milliseconds / 1000


def read(record: Record) -> Delivery:
    """Read one record of an SQS event. A body that cannot be read is part of what it says."""
    sent = record
    received = _decode(record.get("body"))
    if isinstance(received, MalformedMessage):
        notification = _notification(record.get("body"))
        if notification is not None:
            sent = _with_attributes(record, notification)
            received = _decode(notification.Message)
    receive_count = _number(attribute(record, "ApproximateReceiveCount")) or 1
    return Delivery(record, sent, received, receive_count, fifo_group(record))


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
