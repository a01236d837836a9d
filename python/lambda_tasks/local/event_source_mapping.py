"""What Lambda's event source mapping does for SQS: poll, invoke, delete what the function finished.

Source: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html and services-sqs-errorhandling.html there.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lambda_tasks.local.queue import Message, Queue
from lambda_tasks.local.runtime import Invocation

_LONGEST_POLL_SECONDS = 20


@dataclass(frozen=True)
class Batch:
    """What one invocation was given, and which of it stays in the queue."""

    messages: Sequence[Message]
    invocation: Invocation
    failed: frozenset[str]


@dataclass(frozen=True)
class EventSourceMapping:
    """A queue and the function that it invokes, with ``ReportBatchItemFailures``."""

    queue: Queue
    invoke: Callable[[dict[str, Any]], Invocation]
    batch_size: int = 10

    def poll(self, wait_seconds: int = _LONGEST_POLL_SECONDS) -> Batch | None:
        """Handle one batch; return None where no message became visible in time.

        What failed is left as it is: it becomes visible when its visibility timeout ends, or when the function said.
        """
        messages = self.queue.receive(self.batch_size, wait_seconds)
        if not messages:
            return None
        invocation = self.invoke(event(messages, self.queue.arn))
        failed = failures(invocation, [message["MessageId"] for message in messages])
        self.queue.delete([message for message in messages if message["MessageId"] not in failed])
        return Batch(messages, invocation, failed)


def event(messages: Sequence[Message], queue_arn: str) -> dict[str, Any]:
    """Return the event that Lambda makes of messages: ``{"Records": [{"messageId", "body", "attributes", ...}]}``."""
    return {"Records": [record(message, queue_arn) for message in messages]}


def record(message: Message, queue_arn: str) -> dict[str, Any]:
    """Return one message in Lambda's spelling."""
    attributes = message.get("MessageAttributes", {})
    fields = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": dict(message.get("Attributes", {})),
        "messageAttributes": {name: message_attribute(value) for name, value in attributes.items()},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": queue_arn.split(":")[3],
    }
    if "MD5OfMessageAttributes" in message:
        fields["md5OfMessageAttributes"] = message["MD5OfMessageAttributes"]
    return fields


def message_attribute(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return one message attribute in Lambda's spelling; binary values are base64."""
    fields: dict[str, Any] = {"stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]}
    if "StringValue" in value:
        fields["stringValue"] = value["StringValue"]
    if "BinaryValue" in value:
        fields["binaryValue"] = base64.b64encode(value["BinaryValue"]).decode()
    return fields


def failures(invocation: Invocation, message_ids: Sequence[str]) -> frozenset[str]:
    """Return the ids of the messages that stay in the queue: all of them after a function error or a malformed answer.

    Nothing at all (null, an empty object, no list, an empty list) means that everything succeeded.
    Source: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    """
    everything = frozenset(message_ids)
    answer = invocation.payload
    if invocation.is_error:
        return everything
    if answer is None:
        return frozenset()
    if not isinstance(answer, dict):
        return everything
    items = answer.get("batchItemFailures")
    if items is None:
        return frozenset()
    if not isinstance(items, list):
        return everything
    failed = set()
    for item in items:
        identifier = item.get("itemIdentifier") if isinstance(item, dict) else None
        if not isinstance(identifier, str) or identifier not in everything:
            return everything  # it is missing, empty, or not of this batch
        failed.add(identifier)
    return frozenset(failed)
