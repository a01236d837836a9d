"""What Lambda's event source mapping does for SQS: poll, invoke, delete what the function finished.

Source: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html and services-sqs-errorhandling.html there.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lambda_tasks.local.mapping.filter_criteria import FilterCriteria
from lambda_tasks.local.mapping.message_groups import MessageGroups
from lambda_tasks.local.queue import Message, Queue
from lambda_tasks.local.runtime.process import Invocation

_LONGEST_POLL_SECONDS = 20
_SHORT_WAIT_SECONDS = 0.1


@dataclass(frozen=True)
class Batch:
    """The messages of one invocation, its answer, and the ids of those that stay in the queue."""

    messages: Sequence[Message]
    invocation: Invocation
    failed: frozenset[str]


def _never() -> bool:
    return False


def _nobody(count: int) -> None:
    """Hear a number of messages, and leave it."""


@dataclass(frozen=True)
class EventSourceMapping:
    """A queue and the function that it invokes.

    A batch is handed on when it has `batch_size` messages, or `window_seconds` after its first one was received. What
    `filter_criteria` do not match is deleted. Without `reports_failures` (``ReportBatchItemFailures``) an answer, of
    whatever kind, deletes the batch. Several threads may poll: they are what ``MaximumConcurrency`` limits.
    `groups` are those of the queue, for all of its mappings. One poller at a time gathers a batch, so that it fills.
    `on_filtered` hears how many messages the filter has deleted.
    """

    queue: Queue
    invoke: Callable[[dict[str, Any]], Invocation]
    batch_size: int = 10
    window_seconds: float = 0
    filter_criteria: FilterCriteria = field(default_factory=FilterCriteria)
    reports_failures: bool = True
    groups: MessageGroups = field(default_factory=MessageGroups)
    on_filtered: Callable[[int], None] = _nobody
    gathering: threading.Lock = field(default_factory=threading.Lock, repr=False)
    clock: Callable[[], float] = time.monotonic

    def poll(
        self, wait_seconds: int = _LONGEST_POLL_SECONDS, *, is_stopping: Callable[[], bool] = _never
    ) -> Batch | None:
        """Handle one batch; return None where no message became visible in time, or `is_stopping` said so.

        What failed is left as it is: it becomes visible when its visibility timeout ends, or when the function said.
        """
        while not self.gathering.acquire(timeout=_SHORT_WAIT_SECONDS):
            if is_stopping():
                return None
        try:
            gathered = self._gather(wait_seconds, is_stopping)
        finally:
            self.gathering.release()
        with self.groups.in_hand(gathered) as messages:
            if not messages or is_stopping():
                return None
            invocation = self.invoke(event(messages, self.queue.arn))
            message_ids = [message["MessageId"] for message in messages]
            counts = self.reports_failures or invocation.is_error
            failed = failures(invocation, message_ids) if counts else frozenset()
            finished = [message for message in messages if message["MessageId"] not in failed]
            self.queue.delete(finished)
            self.groups.finish(finished)
        return Batch(messages, invocation, failed)

    def _gather(self, wait_seconds: int, is_stopping: Callable[[], bool]) -> list[Message]:
        """Receive a batch. Its window begins with its first message, and is not waited for once it is full."""
        messages = self._matching(self.queue.receive(self.batch_size, wait_seconds))
        window_ends_at = self.clock() + self.window_seconds
        while messages and len(messages) < self.batch_size and not is_stopping():
            left = window_ends_at - self.clock()
            if left <= 0:
                break
            wait = max(0, min(_LONGEST_POLL_SECONDS, int(left)))
            received = self.queue.receive(self.batch_size - len(messages), wait)
            messages += self._matching(received)
            if not received and wait == 0:
                time.sleep(min(left, _SHORT_WAIT_SECONDS))
        return messages

    def _matching(self, messages: list[Message]) -> list[Message]:
        if not self.filter_criteria.patterns:
            return messages
        matching = [one for one in messages if self.filter_criteria.match(record(one, self.queue.arn))]
        if dropped := [one for one in messages if one not in matching]:
            self.queue.delete(dropped)
            self.on_filtered(len(dropped))
        return matching


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
