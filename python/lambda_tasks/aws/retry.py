"""When to try again: how long one try may stay without an answer, and how long to wait before the next one."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PROGRESS_BYTES = 64 * 1024
# What a producer's call may take with all its tries: of SQS and Scheduler, and of S3.
CALL_SECONDS = 10.0
PAYLOAD_SECONDS = 60.0

# Codes of AWS's "try again later" answers that come with status 400: botocore's list.
_THROTTLING_CODES = frozenset({
    "BandwidthLimitExceeded", "EC2ThrottledException", "LimitExceededException", "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException", "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException",
    "SlowDown", "ThrottledException", "Throttling", "ThrottlingException", "TooManyRequestsException",
    "TransactionInProgressException",
})  # fmt: skip
_BACKOFF_BASE_SECONDS = 0.05
_BACKOFF_MAX_SECONDS = 2.0
_LAST_TRY_SECONDS = 0.5
_CLOCK_SECONDS = 0.005  # so much a wait may end too early


def may_pass(status: int, code: str) -> bool:
    """Tell by the status and the code of an error whether the same request may succeed later."""
    return status >= 500 or status == 429 or code in _THROTTLING_CODES or code == "KmsThrottled"


def backoff(attempt: int) -> float:
    """Return the seconds to wait before the try after `attempt` (1 for the first): exponential, with full jitter."""
    ceiling = min(_BACKOFF_MAX_SECONDS, _BACKOFF_BASE_SECONDS * (1 << min(attempt, 16)))
    return ceiling * int.from_bytes(os.urandom(4), "big") / 2**32  # importing random would cost 3 ms


def patience_seconds(budget_seconds: float) -> float:
    """Return how long one try may stay without an answer: a third of the budget, and of a short one at most half."""
    return max(budget_seconds / 3, min(1.0, budget_seconds / 2))


def pause(seconds: float, remaining_seconds: float, budget_seconds: float) -> float | None:
    """Return how many of `seconds` to wait before another try, or None where the last one was made.

    A wait that would end the budget ends early instead: the last try belongs to the budget, since a service that
    recovers late is one that recovers.
    """
    longest = remaining_seconds - min(_LAST_TRY_SECONDS, budget_seconds / 4)
    return min(seconds, longest) if longest > _CLOCK_SECONDS else None


class Patience:
    """How long one try may still take: until the deadline, and not for long while nothing moves."""

    def __init__(self, deadline: float, seconds: float | None, clock: Callable[[], float]) -> None:
        self._deadline = deadline
        self._seconds = seconds
        self._clock = clock
        self._moved_bytes = 0
        self._end = self._renewed()

    def remaining(self) -> float:
        """Return the seconds that are left.

        Raises:
            TimeoutError: there are none.

        """
        seconds = self._end - self._clock()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    @property
    def is_deadline_over(self) -> bool:
        """Whether no further try is possible either."""
        return self._deadline - self._clock() < _CLOCK_SECONDS

    def moved(self, size_bytes: int) -> None:
        """Take note of bytes that were sent or received: enough of them renew the patience."""
        self._moved_bytes += size_bytes
        if self._moved_bytes >= PROGRESS_BYTES:
            self._moved_bytes = 0
            self._end = self._renewed()

    def _renewed(self) -> float:
        return self._deadline if self._seconds is None else min(self._deadline, self._clock() + self._seconds)
