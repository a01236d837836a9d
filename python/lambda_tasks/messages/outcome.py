"""The outcome of a message: the table of outcomes as data."""

from __future__ import annotations

import enum
import logging

import msgspec


class Outcome(enum.Enum):
    """The outcome of a message. One that `deletes_message` or `is_dead` is final; a dead one needs its letter first."""

    SUCCEEDED = "succeeded"
    SKIPPED = "skipped"
    RETRYING = "retrying"
    FAILED = "failed"
    REJECTED = "rejected"
    DEFERRED = "deferred"

    def __init__(self, text: str) -> None:
        self.deletes_message = text in ("succeeded", "skipped")
        self.is_dead = text in ("failed", "rejected")
        self.is_final = self.deletes_message or self.is_dead
        self.log_level = logging.ERROR if self.is_dead else logging.WARNING if text == "retrying" else logging.INFO


# Why a message was deferred.
ELSEWHERE = "another delivery of it was under way"
BUSY = "the singleton was busy"
KEY_BUSY = "another message with its key was under way"
RATED = "it waits for its turn within the rate limit"
NO_STATE = "the table did not answer"
NO_TIME = "there was not enough time left"
OUT_OF_ORDER = "an earlier message of its group did not finish"
STUCK = "another task was stuck, or used up the memory"
CUT_SHORT = "the invocation's end stopped it"
DRAINED = "its worker ended"
GOES_ON = "its steps go on in another invocation"


# A delivery that ended so is no attempt: what kept it from its end was neither the task nor its message.
NO_ATTEMPT = (GOES_ON, NO_STATE)


class PutOff(BaseException):
    """The end of a delivery whose task is to go on in another one. It is no `Exception`: no task swallows it.

    `error` is why, where something went wrong. The message is visible again after so many `seconds`, or when the
    settlement says.
    """

    def __init__(self, reason: str, *, seconds: float | None = None, error: BaseException | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.seconds = seconds
        self.error = error


class Result(msgspec.Struct, frozen=True):
    """The outcome of one message, with the `error` that caused it or the `value` that the task returned.

    ``repr`` shows neither.

    `visible_after_seconds` is when a message that stays is to be delivered again, or None for when its visibility
    timeout ends. `reason` says why it was deferred, or skipped. `duplicate_of` is the id of the message that succeeded
    in its place.
    """

    outcome: Outcome
    task_name: str | None = None
    error: BaseException | None = None
    value: object = None
    duration_ms: float = 0.0
    visible_after_seconds: float | None = None
    reason: str = ""
    duplicate_of: str | None = None

    def __repr__(self) -> str:
        return f"Result({self.task_name}: {self.outcome.value})"
