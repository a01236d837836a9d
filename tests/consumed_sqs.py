"""An SQS in memory, for consumers of this process: it gives each message once, and notes what becomes of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

from lambda_tasks.aws.transport import CallFailed, Transport


class ConsumedSqs(Transport):
    """A transport to one queue. The handle of a message is its number."""

    def __init__(self, bodies: Sequence[str], *, groups: Sequence[str] = (), refusals: int = 0) -> None:
        self.changed = threading.Condition()
        self.waiting = [self._message(number, body, groups) for number, body in enumerate(bodies)]
        self.deleted: list[str] = []
        self.visibilities: list[tuple[str, int]] = []
        self.received: list[int] = []
        self.is_over = False
        self.is_polled = threading.Event()
        self._refusals = refusals

    def call(self, *asked: Any, **_: Any) -> dict[str, Any]:
        _, operation, request = asked
        with self.changed:
            answer: dict[str, Any] = getattr(self, f"_{operation}")(request)
            self.changed.notify_all()
            return answer

    def close(self) -> None:
        """End the long poll that waits."""
        with self.changed:
            self.is_over = True
            self.changed.notify_all()

    def wait_for(self, handles: int) -> None:
        """Wait until so many messages were deleted, or are visible again."""
        with self.changed:
            assert self.changed.wait_for(lambda: len({*self.deleted, *self.given_back}) >= handles, 30)

    @property
    def given_back(self) -> list[str]:
        """The messages that were made visible at once."""
        return [handle for handle, seconds in self.visibilities if seconds == 0]

    def _message(self, number: int, body: str, groups: Sequence[str]) -> dict[str, Any]:
        attributes = {"ApproximateReceiveCount": "1", "SentTimestamp": "1790000000000"}
        if groups:
            attributes |= {"MessageGroupId": groups[number], "SequenceNumber": str(number)}
        return {
            "MessageId": f"id-{number}",
            "ReceiptHandle": str(number),
            "Body": body,
            "Attributes": attributes,
            "MessageAttributes": {"LambdaTasks": {"DataType": "String", "StringValue": json.dumps({"n": number})}},
        }

    def _ReceiveMessage(self, request: Any) -> dict[str, Any]:  # noqa: N802 - AWS's name
        self.is_polled.set()
        self.changed.wait_for(lambda: self.waiting or self.is_over, 30)
        limit = request["MaxNumberOfMessages"]
        given, self.waiting = self.waiting[:limit], self.waiting[limit:]
        self.received.append(len(given))
        return {"Messages": given} if given else {}

    def _DeleteMessageBatch(self, request: Any) -> dict[str, Any]:  # noqa: N802
        entries = request["Entries"]
        refused = entries[: self._refusals]
        self._refusals -= len(refused)
        self.deleted += [one["ReceiptHandle"] for one in entries[len(refused) :]]
        return {"Failed": [{"Id": one["Id"], "SenderFault": False, "Code": "InternalError"} for one in refused]}

    def _ChangeMessageVisibilityBatch(self, request: Any) -> dict[str, Any]:  # noqa: N802
        self.visibilities += [(one["ReceiptHandle"], one["VisibilityTimeout"]) for one in request["Entries"]]
        return {}

    def _GetQueueAttributes(self, _: Any) -> dict[str, Any]:  # noqa: N802
        raise CallFailed("not allowed", code="AccessDenied")
