"""The turns of rate limits in a DynamoDB table: one conditional write for each decision.

Most writes add to what is there, under a condition by which the decision holds whatever others add meanwhile: any
number of messages get their turns at the same time, without a second try. The times are whole microseconds, which add
up exactly.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from msgspec import structs

from lambda_tasks.errors import StateUnavailable
from lambda_tasks.state import table
from lambda_tasks.state.turns import Decision, decide

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lambda_tasks.state.dynamodb_items import Items
    from lambda_tasks.state.table import Item
    from lambda_tasks.state.turns import RateLimit

_TRIES = 20
_MOST_LIMITS = 1000
_KEPT_SECONDS = 86400.0  # an item that is gone is a limit without turns, as one whose times have passed
_SECOND = 1e6  # in microseconds


class DynamoDbTurns:
    """The `Turns` in a DynamoDB table. `clock` gives epoch seconds."""

    def __init__(self, items: Items, clock: Callable[[], float]) -> None:
        self._items = items
        self._clock = clock
        self._seen: dict[str, Item] = {}  # as a first guess, which the write's condition confirms or corrects

    def turn(
        self, limit: RateLimit, *, turn_at: float | None = None, patience_seconds: float = 0.0, deadline: float
    ) -> float | None:
        """See `Turns.turn`."""
        key = table.turns_key(limit)
        item = self._seen.get(key, {})
        whole = structs.replace(limit, interval_seconds=math.ceil(limit.interval_seconds * _SECOND))
        mine_at, patience = None if turn_at is None else round(turn_at * _SECOND), round(patience_seconds * _SECOND)
        for _ in range(_TRIES):
            now = round(self._clock() * _SECOND)
            times = [round(table.number(item, name) or 0) for name in ("given_to", "used_to")]
            decision = decide(whole, times, now, turn_at=mine_at, patience_seconds=patience)
            write = _write(whole, decision, times, now, has_item=bool(item))
            if write is None:
                return _seconds(decision.at)
            expires_at = math.ceil(max(decision.given_to, decision.used_to) / _SECOND + _KEPT_SECONDS)
            written, item = self._items.update(
                key,
                condition=write.condition,
                operands=write.operands,
                values={**write.values, "expires_at": expires_at},
                increments=write.increments,
                is_read=True,
                deadline=deadline,
            )
            self._note(key, item)
            if written and decision.at is None:
                return None
            if written:  # others may have been given turns meanwhile
                return _seconds(round(table.number(item, "given_to") or 0) - whole.burst_seconds)
        remedy = "have fewer messages share one limit: DynamoDB takes 1,000 writes of an item a second"
        raise StateUnavailable("too many messages wait for one rate limit", source="the rate limit", remedy=remedy)

    def _note(self, key: str, item: Item) -> None:
        if len(self._seen) >= _MOST_LIMITS:
            self._seen.clear()
        self._seen[key] = item


class _Write(NamedTuple):
    """The write of a decision: its condition and operands, and what is set or added."""

    condition: str
    operands: Mapping[str, int]
    values: Mapping[str, float] = {}
    increments: Mapping[str, int] = {}


def _write(limit: RateLimit, decision: Decision, times: list[int], now: int, *, has_item: bool) -> _Write | None:
    """Return the write of a decision that was made by `times`, or None where nothing changes. All is microseconds."""
    given_to, used_to = times
    interval = int(limit.interval_seconds)
    is_given, is_used = decision.given_to != given_to, decision.used_to != used_to
    last = now + (limit.burst - 1) * interval
    used_by = last if limit.burst > 1 else now + interval - 1
    if not (is_given or is_used):
        return None
    if is_used and not is_given and used_to > now:
        operands = {"now": now, "used_by": used_by}
        return _Write("#used_to > :now AND #used_to <= :used_by", operands, increments={"used_to": interval})
    if is_given and not is_used and given_to > last and given_to >= used_to:
        condition = "#given_to > :last AND #given_to >= #used_to"
        return _Write(condition, {"last": last}, increments={"given_to": interval})
    if is_given and is_used and given_to >= used_to > now:
        condition = "#used_to > :now AND #given_to >= #used_to AND #given_to <= :last"
        return _Write(condition, {"now": now, "last": last}, increments={"given_to": interval, "used_to": interval})
    values = {"given_to": decision.given_to, "used_to": decision.used_to}
    if not has_item:
        return _Write("attribute_not_exists(#id)", {}, values)
    condition = "#given_to = :given_before AND #used_to = :used_before"
    return _Write(condition, {"given_before": given_to, "used_before": used_to}, values)


def _seconds(microseconds: float | None) -> float | None:
    return None if microseconds is None else microseconds / _SECOND
