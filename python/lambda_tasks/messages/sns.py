"""The envelope that SNS puts around a message: https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec

if TYPE_CHECKING:
    from lambda_tasks.messages.sqs_event import MessageAttribute, Record


class _Notification(msgspec.Struct, tag_field="Type", tag="Notification"):
    """The body of a queue's message that came from a topic, without raw message delivery."""

    Message: str
    MessageAttributes: dict[str, dict[str, str]] = {}


_DECODER = msgspec.json.Decoder(_Notification)


def unwrapped(record: Record) -> tuple[object, Record]:
    """Return the body inside a notification, and the record with the notification's attributes as its own.

    Any other record is returned as it is, with its body.
    """
    body: object = record.get("body")
    if not isinstance(body, str):
        return body, record
    try:
        notification = _DECODER.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return body, record
    return notification.Message, _with_attributes(record, notification)


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
