"""The turns of messages that wait: for a singleton, or so that a task runs no more often than its rate limit says.

Two times are kept of a limit, in epoch seconds. Each goes ahead by the limit's interval: `given_to` with every turn
that a message gets, and `used_to` with every message that runs. Both may be ahead of now by as much as a burst. Beyond
it messages get turns to come, and those that are late with theirs get other ones. So any window holds no more messages
than the rate allows in it, and one burst, however late those come that waited. (A burst of one would leave those no
room: it counts as two where they are late.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


class RateLimit(msgspec.Struct, frozen=True):
    """A rate limit: one turn each `interval_seconds`, and up to `burst` of them at once after a time without any.

    `key` is a hash of the task and of the values that share the limit.
    """

    key: str
    interval_seconds: float
    burst: int

    @property
    def burst_seconds(self) -> float:
        """The time in which as many turns come as a burst has."""
        return self.burst * self.interval_seconds


class Decision(NamedTuple):
    """The decision about one message: it runs now (`at` is None) or at `at`; and both times of the limit after that."""

    given_to: float
    used_to: float
    at: float | None


class Turns(Protocol):
    """A store of the turns of rate limits. Usable from several threads."""

    def turn(
        self, limit: RateLimit, *, turn_at: float | None = None, patience_seconds: float = 0.0, deadline: float
    ) -> float | None:
        """Return None where a message may run now, which is counted; or when its turn is, in epoch seconds.

        That turn is its own: nobody else is given it, and the message comes with it, as `turn_at`, once it has come.
        Where so many come late with theirs that the limit would be exceeded, it gets another one; or the same again,
        where that is due within `patience_seconds`. `decide` says it exactly; a store applies it in one step.

        Raises:
            StateUnavailable: the store did not answer. A turn may have been taken.

        """
        ...


def decide(
    limit: RateLimit, times: Sequence[float], now: float, *, turn_at: float | None, patience_seconds: float
) -> Decision:
    """Decide when a message may run, by both `times` of the limit: `given_to` and `used_to`, 0 for none."""
    given_to, used_to = times
    used, interval = max(used_to, now), limit.interval_seconds
    has_turn = turn_at is not None and turn_at <= now
    if has_turn:
        due_at = used - max(limit.burst - 1, 1) * interval
        if due_at < now or (due_at == now and limit.burst > 1):
            return Decision(given_to, used + interval, None)
        if due_at < now + patience_seconds:
            return Decision(given_to, used_to, due_at)
    given = max(given_to, used)  # what came late is behind those that are given turns now
    due_at = given - limit.burst_seconds + interval
    if due_at <= now:
        return Decision(given + interval, used + interval, None)
    return Decision(given + interval, used_to, due_at)


def turn_after(next_at: float, seconds: float | None, spacing_seconds: float, now: float) -> tuple[float, float]:
    """Return the turn of a message that waits for a singleton, and the turn of the one after it, in epoch seconds.

    Turns are as far apart as the singleton took the last time (`seconds`), and a little, or else `spacing_seconds`.
    """
    apart = spacing_seconds if seconds is None else seconds * 1.1 + 1
    turn_at = max(next_at, now + apart)
    return turn_at, turn_at + apart
