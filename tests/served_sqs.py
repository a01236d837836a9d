"""The simulated SQS in real time, for functions in processes of their own: the embedded one does not keep FIFO's order.

A fault proxy serves it: what a function asks of a queue that is here never reaches the embedded SQS.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lambda_tasks.aws.transport import CallFailed
from lambda_tasks.local.queue import Message
from simulated_sqs import Queue, SimulatedSqs


class _RealTime:
    """A clock that passes by itself, and whom to wake when a queue changes."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.epoch_seconds = time.time()
        self.changed = threading.Condition(threading.RLock())

    @property
    def now(self) -> float:
        return time.monotonic() - self._started

    def notify(self, _: object) -> None:
        with self.changed:
            self.changed.notify_all()


@dataclass(frozen=True)
class ServedQueue:
    """A queue, with what `lambda_tasks.local.queue.Queue` offers to an event source mapping. Safe in several threads."""

    _queue: Queue
    _time: _RealTime

    @property
    def arn(self) -> str:
        """The queue's ARN."""
        return self._queue.arn

    def send(self, body: str, **options: Any) -> str:
        """Send a message and return its id."""
        with self._time.changed:
            return self._queue.send(body, group=options.get("MessageGroupId")).message_id

    def receive(self, limit: int = 10, wait_seconds: int = 0) -> list[Message]:
        """Receive up to `limit` messages with all their attributes."""
        ends_at = self._time.now + wait_seconds
        with self._time.changed:
            while True:
                received = self._queue.receive(limit)
                left = min(ends_at, self._queue.next_visible_at()) - self._time.now
                if received or self._time.now >= ends_at:
                    return [self._spelled(message) for message in received]
                self._time.changed.wait(max(left, 0.001))

    def delete(self, messages: Sequence[Message]) -> None:
        """Delete messages."""
        with self._time.changed:
            for message in messages:
                self._queue.delete(message["ReceiptHandle"])

    def depth(self) -> int:
        """Count the messages, those in flight included."""
        with self._time.changed:
            return len(self._queue.messages)

    def _spelled(self, message: Any) -> Message:
        record = self._queue.record(message)
        return {
            "MessageId": message.message_id,
            "ReceiptHandle": message.handle,
            "Body": message.body,
            "MD5OfBody": "",
            "Attributes": record["attributes"],
            "MessageAttributes": message.attributes,
        }


class ServedSqs:
    """Queues that are made as they are needed, and what a proxy answers for them."""

    def __init__(self) -> None:
        self._time = _RealTime()
        self._queues: dict[str, Queue] = {}
        self._sqs = SimulatedSqs(self._queues)

    def create(
        self, name: str, *, visibility_seconds: float, max_receive_count: int
    ) -> tuple[ServedQueue, ServedQueue]:
        """Create a queue and its dead-letter queue; both are FIFO where the name ends so."""
        base, dot, suffix = name.partition(".fifo")
        dead = Queue(self._time, f"{base}-dead{dot}{suffix}", visibility_seconds=30)
        queue = Queue(
            self._time,
            name,
            visibility_seconds=visibility_seconds,
            max_receive_count=max_receive_count,
            dead_letters=dead,
        )
        self._queues |= {one.name: one for one in (queue, dead)}
        return ServedQueue(queue, self._time), ServedQueue(dead, self._time)

    def answer(self, operation: str, body: bytes) -> tuple[int, bytes] | None:
        """Return status and body of what SQS answers; None for what is not for a queue of these."""
        request = json.loads(body) if body[:1] == b"{" else {}
        if str(request.get("QueueUrl", "")).rpartition("/")[2] not in self._queues:
            return None
        with self._time.changed:
            try:
                return 200, json.dumps(self._sqs.answer(operation, request)).encode()
            except CallFailed as error:
                return 400, json.dumps({"__type": f"com.amazonaws.sqs#{error.code}", "message": str(error)}).encode()
