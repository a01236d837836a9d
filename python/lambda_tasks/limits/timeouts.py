"""The time limits of tasks, as pure functions: how long one may run, whether it starts, and why it was stopped.

Lambda kills a function at its timeout, and with it the answer for every message that was finished. So no task runs into
the last part of an invocation, the reporting margin, in which the outcomes are reported.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from lambda_tasks.definition.error_groups import all_match, is_a
from lambda_tasks.errors import HardTimeLimitExceeded, SoftTimeLimitExceeded

if TYPE_CHECKING:
    from typing_extensions import Self

    from lambda_tasks.definition.options import Options
    from lambda_tasks.settings import Settings

# A function with a timeout of 3 s, Lambda's default, cannot spare 2 of them.
LARGEST_MARGIN_PART = 0.2
# The part of an invocation that passes before the first task: messages are decoded, and leases taken.
_OVERHEAD_SECONDS = 0.1
_OVERHEAD_PART = 0.02
_SOFT_PART = 0.9
# For an invocation without an end, such as a test's.
_CALL_SECONDS = 3.0
# The reporting margin is divided, so that a phase that needs longer takes nothing from the next: parts of it before its
# end by which messages are settled, their visibility is changed, failures are told, and the invocation is answered. A
# call that settles a message ends at its deadline at the earliest: what came of it is known a little later.
_SETTLED_PART = 0.3
_KNOWN_PART = 0.25
_CHANGED_PART = 0.15
_TOLD_PART = 0.06
_ANSWERED_PART = 0.02
_GRACE_SECONDS = 1.0


class Limits(msgspec.Struct, frozen=True):
    """Seconds until a task is told to finish, and until it is stopped; infinite where nothing limits it."""

    soft: float = math.inf
    hard: float = math.inf


class InvocationTime(msgspec.Struct, frozen=True):
    """The time of one invocation. Readings are of ``time.monotonic``.

    The last task is stopped at `tasks_end_at`. After it was stopped it may clean up for `grace_seconds`, before it
    counts as stuck. A task could run for `fresh_seconds` in an invocation of its own. Messages are settled until
    `settle_by`, all of which is known by `known_by`; their visibility is changed until `change_by`, failures are told
    until `tell_by`, and the invocation is answered until `answer_by`.
    """

    started_at: float
    ends_at: float = math.inf
    margin_seconds: float = 0.0
    fresh_seconds: float = math.inf
    tasks_end_at: float = math.inf
    grace_seconds: float = _GRACE_SECONDS
    settle_by: float = math.inf
    known_by: float = math.inf
    change_by: float = math.inf
    tell_by: float = math.inf
    answer_by: float = math.inf

    @classmethod
    def of(cls, started_at: float, remaining_seconds: float, margin_seconds: float, fresh_seconds: float) -> Self:
        """Return the time of an invocation that has `remaining_seconds` at its start."""
        ends_at = started_at + remaining_seconds
        return cls(
            started_at,
            ends_at,
            margin_seconds,
            fresh_seconds,
            tasks_end_at=ends_at - margin_seconds,
            grace_seconds=margin_seconds / 2,
            settle_by=ends_at - margin_seconds * _SETTLED_PART,
            known_by=ends_at - margin_seconds * _KNOWN_PART,
            change_by=ends_at - margin_seconds * _CHANGED_PART,
            tell_by=ends_at - margin_seconds * _TOLD_PART,
            answer_by=ends_at - margin_seconds * _ANSWERED_PART,
        )

    def settle_deadline(self, now: float) -> float:
        """Return when a call that settles a message, and begins `now`, has to end."""
        return min(now + _CALL_SECONDS, self.settle_by)

    def change_deadline(self, now: float) -> float:
        """Return when a call that changes visibility, and begins `now`, has to end."""
        return min(now + _CALL_SECONDS, self.change_by)


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
    """Return the reporting margin of an invocation: the setting, but at most a fifth of the invocation."""
    return max(0.0, min(margin_seconds, remaining_seconds * LARGEST_MARGIN_PART))


UNLIMITED = Limits()
_NEVER = math.inf


def limits(options: Options, settings: Settings, available_seconds: float) -> Limits:
    """Return a task's limits where it has `available_seconds`: its own, else the settings', within that time.

    If there is less than the hard timeout, the soft one shrinks in proportion (or to nine tenths, where there is no
    hard one), so that time to clean up is left.
    """
    has_own = options.hard_timeout is not None or options.soft_timeout is not None
    if not has_own and settings.hard_timeout_seconds is None and settings.soft_timeout_seconds is None:
        if available_seconds == _NEVER:
            return UNLIMITED
        hard = available_seconds if available_seconds > 0.0 else 0.0  # noqa: FURB136 - half the price, for every message
        return Limits(_NEVER, hard)
    wanted_hard = _first(options.hard_timeout, settings.hard_timeout_seconds)
    wanted_soft = _first(options.soft_timeout, settings.soft_timeout_seconds)
    hard = max(0.0, min(wanted_hard, available_seconds))
    if wanted_soft >= wanted_hard and options.soft_timeout is None:
        wanted_soft = math.inf  # a default that a task's own hard timeout undercuts
    part = wanted_soft / max(wanted_soft, wanted_hard) if math.isfinite(wanted_hard) else _SOFT_PART
    return Limits(min(wanted_soft, hard * part), hard) if math.isfinite(wanted_soft) else Limits(hard=hard)


def may_start(options: Options, left_seconds: float, fresh_seconds: float) -> bool:
    """Tell whether a message that is not the invocation's first is started with `left_seconds` for it.

    A task with an explicit hard timeout is, where it could have as much as in a fresh invocation. Any other one is,
    where there is time at all: deferring it for a default would leave a batch undone message by message.
    """
    if options.hard_timeout is None:
        return left_seconds > 0
    return left_seconds >= min(options.hard_timeout, fresh_seconds - _overhead(fresh_seconds))


def stopped_early(
    error: BaseException, given: Limits, options: Options, settings: Settings, fresh_seconds: float, *, goes_on: bool
) -> bool:
    """Tell whether the invocation's end stopped a task with `error`, before it had what a fresh one would give it.

    Of a task that `goes_on` where it was stopped, because of its steps, that is any limit which is not its own.
    """
    fresh = limits(options, settings, math.inf if goes_on else fresh_seconds)

    def is_early(one: BaseException) -> bool:
        if is_a(one, HardTimeLimitExceeded):
            had, wanted = given.hard, fresh.hard
        elif is_a(one, SoftTimeLimitExceeded):
            had, wanted = given.soft, fresh.soft
        else:
            return False
        return had < wanted if goes_on else was_cut_short(had, wanted)

    return all_match(error, is_early)


def was_cut_short(given_seconds: float, fresh_seconds: float) -> bool:
    """Tell whether a limit that stopped a task gave it less time than in a fresh invocation: then it is deferred."""
    return given_seconds < fresh_seconds - _overhead(fresh_seconds)


def _overhead(whole_seconds: float) -> float:
    return max(_OVERHEAD_SECONDS, whole_seconds * _OVERHEAD_PART) if whole_seconds < math.inf else 0.0


def _first(*values: float | None) -> float:
    return next((value for value in values if value is not None), math.inf)
