"""A message that takes over from another one, whose deliveries are used up: the same content, and the same record."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lambda_tasks.messages.attributes import CONTINUES, as_attributes
from lambda_tasks.messages.dead_letter import MAX_ATTRIBUTES, own_attributes
from lambda_tasks.messages.payload import MAX_MESSAGE_BYTES, size_bytes
from lambda_tasks.messages.sqs_event import attribute

if TYPE_CHECKING:
    from lambda_tasks.messages.sqs_event import Record


def successor(record: Record, record_id: str, after_seconds: float) -> dict[str, Any] | None:
    """Return the ``SendMessage`` request, but for the queue, of a message that goes on with the record `record_id`.

    It has the body and the attributes of the message in `record`, and is delivered after `after_seconds`. The queue is
    a standard queue. None where there is no room for one attribute more: SQS takes ten, and 1 MiB in all.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
    """
    body = record.get("body")
    attributes = {**own_attributes(record), **as_attributes({CONTINUES: record_id})}
    if not isinstance(body, str) or len(attributes) > MAX_ATTRIBUTES:
        return None
    if size_bytes(body, attributes) > MAX_MESSAGE_BYTES:
        return None
    request: dict[str, Any] = {
        "MessageBody": body,
        "MessageAttributes": attributes,
        "DelaySeconds": math.ceil(after_seconds),  # 0 too, which overrides the queue's own
    }
    trace, group = attribute(record, "AWSTraceHeader"), attribute(record, "MessageGroupId")
    if trace:
        request["MessageSystemAttributes"] = as_attributes({"AWSTraceHeader": trace})
    if group:
        request["MessageGroupId"] = group
    return request
