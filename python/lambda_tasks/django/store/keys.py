"""Leases of singletons and of keys of the business in a database of Django's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import F

from lambda_tasks.django.models import TaskKey
from lambda_tasks.django.store import rows
from lambda_tasks.django.store.store import Store
from lambda_tasks.state import table
from lambda_tasks.state.protocol import Busy, Kept, key_lost
from lambda_tasks.state.turns import turn_after

if TYPE_CHECKING:
    from lambda_tasks.django.store.rows import Row
    from lambda_tasks.state.protocol import KeyLease

_IS_TAKEN = object()


class OrmKeys(Store):
    """The `Keys` in a database of Django's."""

    def acquire(self, lease: KeyLease, *, deadline: float) -> Busy | Kept | None:
        """See `Keys.acquire`."""
        answer = self._settled(lambda: self._acquire(lease), deadline)
        return None if answer is _IS_TAKEN else answer

    def _acquire(self, lease: KeyLease) -> object | None:
        """Decide by the row as it is, and write; None where another one wrote meanwhile."""
        now, key = self._clock(), table.lease_key(lease)
        found = list(self._keys.filter(key=key).values())
        until = now + lease.lease_seconds
        taken = {
            "lease_owner": lease.owner,
            "lease_until": until,
            "message_id": rows.cut(lease.message_id),
            "taken_at": now,
            "expires_at": rows.expiry(now, self._record_ttl_seconds, until),
        }
        if not found:
            return _IS_TAKEN if self._insert(TaskKey, {"key": key, **taken}) else None
        row, is_singleton = found[0], lease.kept_seconds is None
        if not is_singleton and (row["kept_until"] or 0) > now:
            return Kept(row["message_id"], row["result"], row["fingerprint"])
        held_until = row["lease_until"]
        if held_until is not None and row["lease_owner"] == lease.owner:
            return _IS_TAKEN
        is_own = row["message_id"] == lease.message_id and row["taken_at"] < lease.held_since
        if held_until is None or held_until <= now or is_own:
            kept = {"kept_until": None, "result": None, "fingerprint": ""}
            return _IS_TAKEN if self._write_key(row, **taken, **kept) else None
        if not is_singleton:
            return Busy(held_until)
        turn_at, then = turn_after(row["next_at"], row["seconds"], lease.spacing_seconds, now)
        return Busy(held_until, turn_at) if self._write_key(row, next_at=then) else None

    def surrender(
        self, lease: KeyLease, *, seconds: float | None = None, kept: Kept | None = None, deadline: float
    ) -> None:
        """See `Keys.surrender`."""
        values: Row = {"lease_until": None, "version": F("version") + 1}
        if seconds is not None:
            values["seconds"] = seconds
        if kept is not None and lease.kept_seconds is not None:
            until = self._clock() + lease.kept_seconds
            result = None if kept.result is None else rows.cut(kept.result)
            values |= {"kept_until": until, "expires_at": until, "result": result, "fingerprint": rows.cut(kept.check)}

        def write() -> bool:
            own = self._keys.filter(key=table.lease_key(lease), lease_owner=lease.owner)
            return bool(own.filter(lease_until__isnull=False).update(**values)) or own.exists()

        if not self._database.write(write, deadline=deadline):
            raise key_lost(lease)

    def _write_key(self, row: Row, **values: object) -> bool:
        same = self._keys.filter(key=row["key"], version=row["version"])
        return bool(same.update(**values, version=row["version"] + 1))
