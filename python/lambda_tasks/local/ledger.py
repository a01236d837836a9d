"""What became of each message of a session: how often it was delivered, and how its last delivery ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from lambda_tasks.local.events import MessageOutcome
from lambda_tasks.local.mapping.event_source_mapping import Batch
from lambda_tasks.local.runtime.process import Invocation

GOOD = ("succeeded", "skipped")


@dataclass(frozen=True)
class MessageReport:
    """One message. `outcome` is the dispatcher's where it gave one, else ``succeeded`` or ``failed``."""

    message_id: str
    outcome: str
    deliveries: int
    task: str | None = None
    duration_ms: float | None = None
    error: str | None = None


def _nobody(report: MessageReport) -> None:
    """Hear a report, and leave it."""


class Ledger:
    """The reports of all messages, in the order in which they first came. Usable from several threads.

    `on_report` hears how each delivery ended.
    """

    def __init__(self) -> None:
        self.on_report: Callable[[MessageReport], None] = _nobody
        self._outcomes: dict[tuple[str, int], MessageOutcome] = {}
        self._reports: dict[str, MessageReport] = {}
        self._function_errors: list[str] = []
        self._init_error: str | None = None
        self._filtered = 0
        self._lock = threading.Lock()

    def outcome(self, outcome: MessageOutcome) -> None:
        """Note what the dispatcher made of a message. It comes before the batch that the message was in.

        The next delivery's may come before that batch, too: a message that is to be retried at once is.
        """
        with self._lock:
            self._outcomes[outcome.message_id, outcome.receive_count] = outcome

    def batch(self, batch: Batch) -> None:
        """Note how an invocation ended for its messages."""
        invocation = batch.invocation
        reports = []
        with self._lock:
            for message in batch.messages:
                message_id = message["MessageId"]
                deliveries = int(message["Attributes"]["ApproximateReceiveCount"])
                told = self._outcomes.pop((message_id, deliveries), None)
                if told is not None:
                    report = MessageReport(
                        message_id, told.outcome, deliveries, told.task, told.duration_ms, told.error
                    )
                else:
                    outcome = "failed" if message_id in batch.failed else "succeeded"
                    duration_ms = invocation.duration_ms if len(batch.messages) == 1 else None
                    report = MessageReport(
                        message_id, outcome, deliveries, duration_ms=duration_ms, error=invocation.reason
                    )
                before = self._reports.get(message_id)
                if before is None or before.deliveries <= deliveries:
                    self._reports[message_id] = report
                reports.append(report)
            if invocation.reason is not None:
                self._function_errors.append(invocation.reason)
            if invocation.failed_in_init:
                self._init_error = invocation.reason
        for report in reports:
            self.on_report(report)

    def fired(self, name: str, invocation: Invocation) -> None:
        """Note how an invocation ended that no queue made: a schedule's, by the `name` of its firing."""
        told = invocation.told
        if told is None:
            outcome = "failed" if invocation.is_error else "succeeded"
            report = MessageReport(name, outcome, 1, duration_ms=invocation.duration_ms, error=invocation.reason)
        else:
            report = MessageReport(told.message_id, told.outcome, 1, told.task, told.duration_ms, told.error)
        with self._lock:
            self._reports[report.message_id] = report
            if invocation.reason is not None and told is None:
                self._function_errors.append(invocation.reason)
            if invocation.failed_in_init:
                self._init_error = invocation.reason
        self.on_report(report)

    def filtered(self, count: int) -> None:
        """Note that a mapping's filter has deleted messages."""
        with self._lock:
            self._filtered += count

    @property
    def filtered_count(self) -> int:
        """How many messages the filters of the mappings have deleted."""
        with self._lock:
            return self._filtered

    @property
    def function_errors(self) -> list[str]:
        """The errors of the function itself, invocation by invocation."""
        with self._lock:
            return list(self._function_errors)

    @property
    def init_error(self) -> str | None:
        """The last error of an init phase, if there was one."""
        with self._lock:
            return self._init_error

    def reports(self) -> list[MessageReport]:
        """Return one report a message."""
        with self._lock:
            return list(self._reports.values())
