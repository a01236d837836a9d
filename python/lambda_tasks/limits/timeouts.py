"""How long a task may run, whether it is started at all, and what it means that it was stopped: pure functions.

Lambda kills a function at its timeout, and with it the answer for every message that was finished. So no task runs into
the last part of an invocation, the reporting margin, in which the outcomes are reported.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from typing_extensions import Self

    from lambda_tasks.definition.options import Options
    from lambda_tasks.settings import Settings

# A function with a timeout of 3 s, Lambda's default, cannot spare 2 of them.
LARGEST_MARGIN_PART = 0.2
# What a task misses of a whole invocation because messages are decoded and leases are taken first.
_OVERHEAD_SECONDS = 0.1
_OVERHEAD_PART = 0.02
_SOFT_PART = 0.9
# For an invocation without an end, such as a test's.
_CALL_SECONDS = 3.0
_GRACE_SECONDS = 1.0


class Limits(msgspec.Struct, frozen=True):
    """Seconds until a task is told to finish, and until it is stopped; infinite where nothing limits it."""

    soft: float = math.inf
    hard: float = math.inf


class InvocationTime(msgspec.Struct, frozen=True):
    """The time of one invocation. Readings are of ``time.monotonic``.

    The last task is stopped at `tasks_end_at`. After it was stopped it may clean up for `grace_seconds`, before it
    counts as stuck. A task could run for `fresh_seconds` in an invocation of its own.
    """

    started_at: float
    ends_at: float = math.inf
    margin_seconds: float = 0.0
    fresh_seconds: float = math.inf
    tasks_end_at: float = math.inf
    grace_seconds: float = _GRACE_SECONDS

    @classmethod
    def of(cls, started_at: float, remaining_seconds: float, margin_seconds: float, fresh_seconds: float) -> Self:
        """Return the time of an invocation that has `remaining_seconds` at its start."""
        ends_at = started_at + remaining_seconds
        tasks_end_at, grace_seconds = ends_at - margin_seconds, margin_seconds / 2
        return cls(started_at, ends_at, margin_seconds, fresh_seconds, tasks_end_at, grace_seconds)

    def deadline(self, now: float) -> float:
        """Return when a call of ours that begins `now` has to end, so that the answer still gets through."""
        return min(now + _CALL_SECONDS, self.ends_at - self.margin_seconds / 4)


class FunctionTime:
    """The function's timeout, as it is learnt: the longest time that an invocation was seen to have at its start."""

    def __init__(self) -> None:
        self._longest_seconds = 0.0

    def start(self, remaining_seconds: float, margin_seconds: float, now: float) -> InvocationTime:
        """Return the time of an invocation that begins `now`, a reading of ``time.monotonic``."""
        self._longest_seconds = max(self._longest_seconds, remaining_seconds)
        if self._longest_seconds == math.inf:
            return InvocationTime(now)
        margin = margin_within(remaining_seconds, margin_seconds)
        fresh = self._longest_seconds - margin_within(self._longest_seconds, margin_seconds)
        return InvocationTime.of(now, remaining_seconds, margin, fresh)


def margin_within(remaining_seconds: float, margin_seconds: float) -> float:
    """Return the reporting margin of an invocation: what is set, but not more than a fifth of it."""
    return max(0.0, min(margin_seconds, remaining_seconds * LARGEST_MARGIN_PART))


UNLIMITED = Limits()


def limits(options: Options, settings: Settings, available_seconds: float) -> Limits:
    """Return a task's limits where it has `available_seconds`: its own, else the settings', within what there is.

    Where there is less than the hard timeout, the soft one shrinks in proportion (or to nine tenths, where there is no
    hard one), so that time to clean up is left.
    """
    has_own = options.hard_timeout is not None or options.soft_timeout is not None
    if not has_own and settings.hard_timeout_seconds is None and settings.soft_timeout_seconds is None:
        return UNLIMITED if available_seconds == math.inf else Limits(math.inf, max(0.0, available_seconds))
    wanted_hard = _first(options.hard_timeout, settings.hard_timeout_seconds)
    wanted_soft = _first(options.soft_timeout, settings.soft_timeout_seconds)
    hard = max(0.0, min(wanted_hard, available_seconds))
    if wanted_soft >= wanted_hard and options.soft_timeout is None:
        wanted_soft = math.inf  # a default that a task's own hard timeout undercuts
    part = wanted_soft / max(wanted_soft, wanted_hard) if math.isfinite(wanted_hard) else _SOFT_PART
    return Limits(min(wanted_soft, hard * part), hard) if math.isfinite(wanted_soft) else Limits(hard=hard)


def may_start(options: Options, left_seconds: float, fresh_seconds: float) -> bool:
    """Tell whether a message that is not the invocation's first is started with `left_seconds` for it.

    A task with an explicit hard timeout is, where it could have as much as in a fresh invocation; any other one where
    there is time at all: deferring it for a default would leave a batch undone message by message.
    """
    if options.hard_timeout is None:
        return left_seconds > 0
    return left_seconds >= min(options.hard_timeout, fresh_seconds - _overhead(fresh_seconds))


def was_cut_short(given_seconds: float, fresh_seconds: float) -> bool:
    """Tell whether a limit that stopped a task gave it less time than in a fresh invocation: then it is deferred."""
    return given_seconds < fresh_seconds - _overhead(fresh_seconds)


def _overhead(whole_seconds: float) -> float:
    return max(_OVERHEAD_SECONDS, whole_seconds * _OVERHEAD_PART) if whole_seconds < math.inf else 0.0


def _first(*values: float | None) -> float:
    return next((value for value in values if value is not None), math.inf)
