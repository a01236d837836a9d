"""What became of each message of a session: how often it was delivered, and how its last delivery ended."""

from __future__ import annotations

import dataclasses
import threading

from lambda_tasks.local.event_source_mapping import Batch
from lambda_tasks.local.log_lines import OutcomeLine

GOOD = ("succeeded", "skipped")


@dataclasses.dataclass(frozen=True)
class MessageReport:
    """One message. `outcome` is the dispatcher's where it logged one, else ``succeeded`` or ``failed``."""

    message_id: str
    outcome: str
    deliveries: int
    task: str | None = None
    duration_ms: float | None = None
    error: str | None = None


class Ledger:
    """The reports of all messages, in the order in which they first came. Usable from several threads."""

    def __init__(self) -> None:
        self._deliveries: dict[str, int] = {}
        self._outcomes: dict[str, OutcomeLine] = {}
        self._failed: set[str] = set()
        self._function_errors: list[str] = []
        self._lock = threading.Lock()

    def outcome(self, line: OutcomeLine) -> None:
        """Note what the dispatcher logged about a message."""
        with self._lock:
            self._outcomes[line.message_id] = line

    def batch(self, batch: Batch) -> None:
        """Note how an invocation ended for its messages."""
        with self._lock:
            for message in batch.messages:
                message_id = message["MessageId"]
                self._deliveries[message_id] = int(message["Attributes"]["ApproximateReceiveCount"])
                self._failed.discard(message_id)
            self._failed |= batch.failed
            if batch.invocation.is_error:
                payload = batch.invocation.payload
                self._function_errors.append(f"{payload.get('errorType')}: {payload.get('errorMessage')}")

    @property
    def function_errors(self) -> list[str]:
        """What the function itself failed with, invocation by invocation."""
        with self._lock:
            return list(self._function_errors)

    def handled(self) -> int:
        """Count the messages that are done with, one way or the other."""
        with self._lock:
            return len(self._deliveries.keys() - self._failed)

    def reports(self) -> list[MessageReport]:
        """Return one report a message."""
        with self._lock:
            return [self._report(message_id, count) for message_id, count in self._deliveries.items()]

    def _report(self, message_id: str, deliveries: int) -> MessageReport:
        line = self._outcomes.get(message_id)
        if line is None:
            outcome = "failed" if message_id in self._failed else "succeeded"
            return MessageReport(message_id, outcome, deliveries)
        return MessageReport(message_id, line.outcome, deliveries, line.task, line.duration_ms, line.error)
