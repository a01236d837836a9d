"""What became of a message: the table of outcomes as data."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Outcome(enum.Enum):
    """What happened to a message."""

    SUCCEEDED = "succeeded"
    SKIPPED = "skipped"
    RETRYING = "retrying"
    FAILED = "failed"
    REJECTED = "rejected"
    DEFERRED = "deferred"

    @property
    def deletes_message(self) -> bool:
        """Whether SQS may delete the message. A failed or rejected one has to be sent to a dead-letter queue first."""
        return self in (Outcome.SUCCEEDED, Outcome.SKIPPED)

    @property
    def is_dead(self) -> bool:
        """Whether the message belongs into the dead-letter queue."""
        return self in (Outcome.FAILED, Outcome.REJECTED)


@dataclass(frozen=True)
class Result:
    """The outcome of one message; `error` says why, `value` is what the task returned. Neither is shown by repr.

    `visible_after_seconds` is when a message that stays is to be delivered again, or None for when its visibility
    timeout ends. `ran` tells whether the task was started.
    """

    outcome: Outcome
    task_name: str | None = None
    error: BaseException | None = None
    value: object = None
    duration_ms: float = 0.0
    visible_after_seconds: float | None = None
    ran: bool = False

    def __repr__(self) -> str:
        return f"Result({self.task_name}: {self.outcome.value})"
