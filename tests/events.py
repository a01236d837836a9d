"""The events of `lambda_tasks.testing`, and a context object whose time runs out."""

from __future__ import annotations

import time

from lambda_tasks.testing import message_body, sqs_event, sqs_record

__all__ = ["Context", "message_body", "sqs_event", "sqs_record"]


class Context:
    """The context object of an invocation that has `seconds` from now."""

    aws_request_id = "11111111-2222-3333-4444-555555555555"

    def __init__(self, seconds: float = 60) -> None:
        self._ends_at = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return round(min(self._ends_at - time.monotonic(), 1e9) * 1000)
