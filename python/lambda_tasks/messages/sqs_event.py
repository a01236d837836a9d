"""The shapes that Lambda gives the handler, and readers of a record's system attributes."""

from __future__ import annotations

from typing import Protocol, TypedDict


class MessageAttribute(TypedDict, total=False):
    """One message attribute, in the event's spelling."""

    stringValue: str
    binaryValue: str
    dataType: str


class Record(TypedDict, total=False):
    """One SQS message (https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html)."""

    messageId: str
    receiptHandle: str
    body: str
    attributes: dict[str, str]
    messageAttributes: dict[str, MessageAttribute]
    md5OfBody: str
    eventSource: str
    eventSourceARN: str
    awsRegion: str


class BatchItemFailure(TypedDict):
    """A message that is not to be deleted."""

    itemIdentifier: str


class PartialBatchResponse(TypedDict):
    """The answer to an SQS event.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting
    """

    batchItemFailures: list[BatchItemFailure]


class LambdaContext(Protocol):
    """The part of the runtime's context object that the dispatcher needs."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds that are left before the invocation times out."""


def attribute(record: Record, name: str) -> str | None:
    """Return a system attribute of `record`, or None where it is not there or is not text."""
    attributes: object = record.get("attributes")
    value = attributes.get(name) if isinstance(attributes, dict) else None
    return value if isinstance(value, str) else None


def receive_count(record: Record) -> int:
    """Return how often SQS has delivered the message, this time included."""
    return _number(attribute(record, "ApproximateReceiveCount")) or 1


def sent_at_ms(record: Record) -> int | None:
    """Return when the message was sent, in epoch milliseconds."""
    return _number(attribute(record, "SentTimestamp"))


def first_received_at(record: Record) -> float | None:
    """Return when SQS first delivered the message, in epoch seconds."""
    milliseconds = _number(attribute(record, "ApproximateFirstReceiveTimestamp"))
    return None if milliseconds is None else milliseconds / 1000


def fifo_group(record: Record) -> str | None:
    """Return the message group where order counts: on a FIFO queue. A standard queue's are for fairness alone."""
    attributes: object = record.get("attributes")
    if not isinstance(attributes, dict) or "MessageGroupId" not in attributes:
        return None
    group = attribute(record, "MessageGroupId")
    if group is None:
        return None
    is_fifo = attribute(record, "SequenceNumber") or queue_arn(record).endswith(".fifo")
    return group if is_fifo else None


def queue_arn(record: Record) -> str:
    """Return the ARN of the queue that the record came from, or an empty text."""
    arn = record.get("eventSourceARN")
    return arn if isinstance(arn, str) else ""


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else None
