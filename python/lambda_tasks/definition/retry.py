"""Whether a message is tried again, and when: pure functions of its error, its task's options and its attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambda_tasks.definition.error_groups import is_all, rejects, retry_delay_seconds
from lambda_tasks.errors import MAX_VISIBILITY_SECONDS, Retry
from lambda_tasks.messages.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_tasks.definition.options import Options

# SQS counts the 12 hours from the receipt, which is this much before the invocation where messages are batched.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
LONGEST_BATCHING_WINDOW_SECONDS = 300
_LARGEST_EXPONENT = 32
# Of a store that does not answer: its messages are hidden for longer and longer.
_OUTAGE_SECONDS = 3600.0
_FIRST_OUTAGE_DELAY_SECONDS = 30.0
_LONGEST_OUTAGE_DELAY_SECONDS = 900.0


def decide(
    error: BaseException, options: Options, retries: int, jitter: Callable[[], float]
) -> tuple[Outcome, float | None]:
    """Return what becomes of a message whose task raised `error` after `retries` retries, and its delay in seconds."""
    outcome = outcome_of(error, options, retries)
    if outcome is not Outcome.RETRYING:
        return outcome, None
    return outcome, delay_seconds(error, options, retries, jitter())


def outcome_of(error: BaseException, options: Options, retries: int) -> Outcome:
    """Return what becomes of a message whose task raised `error` after `retries` retries."""
    if rejects(error):
        return Outcome.REJECTED
    if is_all(error, options.ignore_errors):
        return Outcome.SUCCEEDED
    if retries < options.max_retries and is_all(error, (Retry, *options.retry_on)):
        return Outcome.RETRYING
    return Outcome.FAILED


def delay_seconds(error: BaseException, options: Options, retries: int, jitter: float) -> float:
    """Return the seconds until the next try: what `error` asks for, else the backoff."""
    asked_for = retry_delay_seconds(error)
    if asked_for is not None:
        return asked_for
    return backoff_seconds(options.retry_delay, retries, jitter)


def backoff_seconds(retry_delay: float, retries: int, jitter: float) -> float:
    """Return an exponential backoff with full jitter, of which `jitter` is the part from 0 to 1.

    Source: https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    """
    return min(float(MAX_VISIBILITY_SECONDS), retry_delay * 2.0 ** min(retries, _LARGEST_EXPONENT)) * jitter


def visibility_timeout(seconds: float, since_receipt_seconds: float) -> int:
    """Return the ``VisibilityTimeout`` that makes a message visible after `seconds`: whole, and within SQS's limit."""
    longest = MAX_VISIBILITY_SECONDS - LONGEST_BATCHING_WINDOW_SECONDS - since_receipt_seconds
    return round(max(0.0, min(seconds, longest)))


def deferral_seconds(delay_seconds: float, deliveries: int, jitter: float) -> float:
    """Return the seconds until a message is delivered again that was deferred, growing with each delivery."""
    grown = delay_seconds * 2.0 ** min(max(0, deliveries - 1), _LARGEST_EXPONENT)
    return min(float(MAX_VISIBILITY_SECONDS), grown) * (1 + jitter) / 2


def outage_seconds(deliveries: int, deliveries_left: int | None, jitter: float) -> float:
    """Return the seconds for which a message is hidden whose store did not answer.

    They double with each delivery, up to 15 minutes. Where the queue allows only so many `deliveries_left`, an outage
    of an hour is over before the last of them.
    """
    delay = _FIRST_OUTAGE_DELAY_SECONDS * 2.0 ** min(max(0, deliveries - 1), _LARGEST_EXPONENT)
    longest = _LONGEST_OUTAGE_DELAY_SECONDS
    if deliveries_left is not None and deliveries_left > 0:
        longest = max(longest, _OUTAGE_SECONDS / deliveries_left)
        while sum(min(delay * 2**n, longest) for n in range(min(deliveries_left, 12))) < _OUTAGE_SECONDS:
            delay *= 2
    return min(delay, longest) * (1 + jitter / 4)
