"""The turns of rate limits in a database of Django's. The times are whole microseconds, which add up exactly."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from django.db import connections, transaction
from msgspec import structs

from lambda_tasks.django.models import TaskKey
from lambda_tasks.django.store.store import Store
from lambda_tasks.state import table
from lambda_tasks.state.turns import decide

if TYPE_CHECKING:
    from lambda_tasks.state.turns import RateLimit

_SECOND = 1e6  # in microseconds
_KEPT_SECONDS = 86400.0  # a row that is gone is a limit without turns, as one whose times have passed


class OrmTurns(Store):
    """The `Turns` in a database of Django's."""

    def turn(
        self, limit: RateLimit, *, turn_at: float | None = None, patience_seconds: float = 0.0, deadline: float
    ) -> float | None:
        """See `Turns.turn`."""
        whole = structs.replace(limit, interval_seconds=math.ceil(limit.interval_seconds * _SECOND))
        mine_at, patience = None if turn_at is None else round(turn_at * _SECOND), round(patience_seconds * _SECOND)

        def take() -> tuple[float | None] | None:
            # Many may wait for one limit: each has the row for itself for the moment that this takes.
            if not connections[self._database.alias].features.has_select_for_update:
                return self._take(whole, mine_at, patience, is_locked=False)
            with transaction.atomic(using=self._database.alias):
                return self._take(whole, mine_at, patience, is_locked=True)

        (at,) = self._settled(take, deadline)
        return None if at is None else at / _SECOND

    def _take(
        self, limit: RateLimit, mine_at: float | None, patience: float, *, is_locked: bool
    ) -> tuple[float | None] | None:
        """Decide by the row as it is, and write; None where another one wrote meanwhile. All is microseconds."""
        key, now = table.turns_key(limit), round(self._clock() * _SECOND)
        found = list((self._keys.select_for_update() if is_locked else self._keys).filter(key=key).values())
        times = (found[0]["given_to"], found[0]["used_to"]) if found else (0, 0)
        decision = decide(limit, times, now, turn_at=mine_at, patience_seconds=patience)
        if decision[:2] == times:
            return (decision.at,)
        given_to, used_to = round(decision.given_to), round(decision.used_to)
        expires_at = math.ceil(max(given_to, used_to) / _SECOND + _KEPT_SECONDS)
        values = {"given_to": given_to, "used_to": used_to, "expires_at": expires_at}
        written = self._write_key(found[0], **values) if found else self._insert(TaskKey, {"key": key, **values})
        return (decision.at,) if written else None
