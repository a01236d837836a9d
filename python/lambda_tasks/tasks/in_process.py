"""A message that runs where it was enqueued, by the same code as on Lambda: ``LAMBDA_TASKS_MODE=eager``, and tests.

Its record names no queue, so the dispatcher has none to change visibility in, or to look up a dead-letter queue of.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from typing import TYPE_CHECKING, cast

from lambda_tasks.errors import MessageDeferred
from lambda_tasks.tasks.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from lambda_tasks.settings import Settings
    from lambda_tasks.tasks.event import Record
    from lambda_tasks.tasks.outcome import Result
    from lambda_tasks.tasks.outgoing import Outgoing


def run(message: Outgoing, settings: Settings) -> str:
    """Run `message` now, and return the message id that it had.

    Raises:
        MessageDeferred: a singleton of the task runs elsewhere, or a payload cannot be had.
        BaseException: what the task raised, or why the message was rejected.

    """
    record = record_of(message)
    result = dispatch(record, settings)
    if result.outcome is Outcome.DEFERRED:
        raise MessageDeferred("the message cannot run now", source=f"task {message.task_name}") from result.error
    if result.error is not None and result.outcome is not Outcome.SUCCEEDED:
        raise result.error
    return record["messageId"]


def dispatch(record: Record, settings: Settings) -> Result:
    """Process one record as the dispatcher does, and return its result."""
    from lambda_tasks import settings as process  # noqa: PLC0415 - `settings` is this function's own
    from lambda_tasks.tasks import dispatcher  # noqa: PLC0415 - a producer in mode sqs needs no dispatcher
    from lambda_tasks.tasks.worker import Worker  # noqa: PLC0415

    # Whatever the process is configured for, nothing of this message goes to a dead-letter queue.
    worker = Worker.from_environ(settings.replace(dead_letter_queue_url=None), process.environ())
    with contextlib.closing(worker):
        return dispatcher.process(record, worker)


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
        "eventSourceARN": f"local:{message.queue}",
        "awsRegion": "local",
    }
    return cast("Record", record)
