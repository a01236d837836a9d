"""Read a record: what SQS says about a message, and the message itself, whichever way it came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambda_tasks.errors import MalformedMessage, PayloadUnavailable
from lambda_tasks.tasks import message
from lambda_tasks.tasks.event import attribute

if TYPE_CHECKING:
    from lambda_tasks.tasks.event import Record
    from lambda_tasks.tasks.message import Message


def read(record: Record) -> tuple[Message | MalformedMessage | PayloadUnavailable, Record]:
    """Return the message in `record`, or why it cannot be read, and the record as the sender meant it.

    For an SNS notification that is the record with the notification's attributes.
    """
    try:
        return message.decode(record.get("body")), record
    except PayloadUnavailable as error:
        return error, record
    except MalformedMessage as error:
        from lambda_tasks.tasks import sns  # noqa: PLC0415 - for a body that is no message itself

        return sns.unwrap(record) or (error, record)


def receive_count(record: Record) -> int:
    """Return how often SQS has delivered the message, this time included."""
    return _number(attribute(record, "ApproximateReceiveCount")) or 1


def first_received_at(record: Record) -> float | None:
    """Return when SQS first delivered the message, in epoch seconds."""
    milliseconds = _number(attribute(record, "ApproximateFirstReceiveTimestamp"))
    return None if milliseconds is None else milliseconds / 1000


def fifo_group(record: Record) -> str | None:
    """Return the message group where order counts: on a FIFO queue (a standard queue's groups are for fairness)."""
    group = attribute(record, "MessageGroupId")
    if group is None:
        return None
    is_fifo = attribute(record, "SequenceNumber") or str(record.get("eventSourceARN")).endswith(".fifo")
    return group if is_fifo else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else None
