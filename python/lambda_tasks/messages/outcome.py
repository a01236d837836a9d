"""The outcome of a message: the table of outcomes as data."""

from __future__ import annotations

import enum
import logging

import msgspec


class Outcome(enum.Enum):
    """The outcome of a message. One that `deletes_message` is final; a dead message has to be sent away first."""

    SUCCEEDED = "succeeded"
    SKIPPED = "skipped"
    RETRYING = "retrying"
    FAILED = "failed"
    REJECTED = "rejected"
    DEFERRED = "deferred"

    def __init__(self, text: str) -> None:
        self.deletes_message = text in ("succeeded", "skipped")
        self.is_dead = text in ("failed", "rejected")
        self.log_level = logging.ERROR if self.is_dead else logging.WARNING if text == "retrying" else logging.INFO


class Result(msgspec.Struct, frozen=True):
    """The outcome of one message; `error` says why, `value` is what the task returned. Neither is shown by repr.

    `visible_after_seconds` is when a message that stays is to be delivered again, or None for when its visibility
    timeout ends.
    """

    outcome: Outcome
    task_name: str | None = None
    error: BaseException | None = None
    value: object = None
    duration_ms: float = 0.0
    visible_after_seconds: float | None = None

    def __repr__(self) -> str:
        return f"Result({self.task_name}: {self.outcome.value})"
