"""A message that runs where it was enqueued, by the same code as on Lambda: ``LAMBDA_TASKS_MODE=eager``, and tests."""

from __future__ import annotations

import hashlib
import time
import uuid
from typing import TYPE_CHECKING, cast

from lambda_tasks.tasks.execution import Outcome, Result, execute
from lambda_tasks.tasks.telemetry import log_result

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from lambda_tasks.settings import Settings
    from lambda_tasks.tasks.event import Record
    from lambda_tasks.tasks.outgoing import Outgoing

_QUEUE_ARN = "arn:aws:sqs:eu-west-1:123456789012:{queue}"


def run(message: Outgoing, settings: Settings) -> str:
    """Run `message` now, and return the message id that it had.

    Raises:
        BaseException: what the task raised, or why the message was rejected.

    """
    record = record_of(message)
    result = dispatch(record, settings)
    if result.error is not None and result.outcome is not Outcome.SUCCEEDED:
        raise result.error
    return record["messageId"]


def dispatch(record: Record, settings: Settings) -> Result:
    """Process one record as the dispatcher does, and return its result."""
    result = execute(record.get("body"), settings)
    log_result(record, result)
    return result


def record_of(message: Outgoing, *, receive_count: int = 1, message_id: str | None = None) -> Record:
    """Return the record of an SQS event that `message` would arrive as."""
    now_ms = str(round(time.time() * 1000))
    attributes = {
        "ApproximateReceiveCount": str(receive_count),
        "SentTimestamp": now_ms,
        "SenderId": "AIDAEXAMPLE",
        "ApproximateFirstReceiveTimestamp": now_ms,
        **{name: value["StringValue"] for name, value in message.system_attributes.items()},
        **({"MessageGroupId": message.group} if message.group else {}),
    }
    record: Mapping[str, Any] = {
        "messageId": message_id or str(uuid.uuid4()),
        "receiptHandle": "",
        "body": message.body,
        "attributes": attributes,
        "messageAttributes": {
            name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
            for name, value in message.attributes.items()
        },
        "md5OfBody": hashlib.md5(message.body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": _QUEUE_ARN.format(queue=message.queue),
        "awsRegion": "eu-west-1",
    }
    return cast("Record", record)
