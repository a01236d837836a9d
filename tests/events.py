"""Events as Lambda sends them, with what a test does not care about filled in."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from typing import Any

from lambda_tasks.tasks.event import Record

_NUMBERS = itertools.count(1)


def message_body(task_name: str, /, **kwargs: object) -> str:
    return json.dumps({"task_name": task_name, "kwargs": kwargs, "n_retries": 0})


def sqs_record(body: object, *, message_id: str | None = None, **attributes: str) -> Record:
    """Return a record; `attributes` are SQS's own, such as ``MessageGroupId``."""
    number = next(_NUMBERS)
    record: Any = {
        "messageId": message_id or f"00000000-0000-0000-0000-{number:012}",
        "receiptHandle": f"handle-{number}",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1790000000000",
            "SenderId": "AIDAEXAMPLE",
            "ApproximateFirstReceiveTimestamp": "1790000000001",
            **attributes,
        },
        "messageAttributes": {},
        "md5OfBody": hashlib.md5(str(body).encode("utf-8", "replace"), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:queue",
        "awsRegion": "eu-west-1",
    }
    return record  # type: ignore[no-any-return]


def sqs_event(*records: Record) -> dict[str, Any]:
    return {"Records": list(records)}


class Context:
    """The context object of an invocation that has `seconds` from now."""

    aws_request_id = "11111111-2222-3333-4444-555555555555"

    def __init__(self, seconds: float = 60) -> None:
        self._ends_at = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return round(min(self._ends_at - time.monotonic(), 1e9) * 1000)
