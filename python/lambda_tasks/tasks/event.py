"""The shapes that Lambda gives the handler: events as `TypedDict`, the context as a `Protocol`."""

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
    """What the dispatcher needs of the context object that the runtime passes."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds that are left before the invocation times out."""


def attribute(record: Record, name: str) -> str | None:
    """Return a system attribute of `record`, or None where it is not there or is not text."""
    attributes: object = record.get("attributes")
    value = attributes.get(name) if isinstance(attributes, dict) else None
    return value if isinstance(value, str) else None
