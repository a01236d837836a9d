"""Leases of keys in this process, for messages that run where they are enqueued, and for tests."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from lambda_tasks.state.protocol import Busy, Kept, key_lost, turn_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_tasks.state.protocol import KeyLease

_MOST_KEYS = 10_000


class _Held:
    """What is known of one key: the lease that was taken last, and what was kept. Times are in epoch seconds."""

    lease: KeyLease | None = None
    until: float | None = None  # None where it was given back
    taken_at: float = 0.0
    next_at: float = 0.0
    seconds: float | None = None
    kept: Kept | None = None
    kept_until: float = 0.0

    def is_busy(self, lease: KeyLease, now: float) -> bool:
        """Tell whether another message has the lease, and did not leave it behind."""
        mine = self.lease
        if mine is None or self.until is None or self.until <= now or mine.owner == lease.owner:
            return False
        return mine.message_id != lease.message_id or self.taken_at >= lease.held_since


class MemoryKeys:
    """The `Keys` of one process. Nothing of it outlives the process; `clock` gives epoch seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._keys: dict[str, _Held] = {}
        self._keys_lock = threading.Lock()

    def acquire(self, lease: KeyLease, *, deadline: float) -> Busy | Kept | None:  # noqa: ARG002 - it does not wait
        """See `Keys.acquire`."""
        with self._keys_lock:
            now = self._clock()
            held = self._held(lease.key, now)
            if held.kept is not None and held.kept_until > now:
                return held.kept
            if held.is_busy(lease, now):
                assert held.until is not None  # noqa: S101 - for mypy: it is busy
                if lease.kept_seconds is not None:
                    return Busy(held.until)
                turn_at, held.next_at = turn_after(held.next_at, held.seconds, lease.spacing_seconds, now)
                return Busy(held.until, turn_at)
            held.lease, held.until, held.taken_at, held.kept = lease, now + lease.lease_seconds, now, None
            return None

    def surrender(
        self,
        lease: KeyLease,
        *,
        seconds: float | None = None,
        kept: Kept | None = None,
        deadline: float,  # noqa: ARG002
    ) -> None:
        """See `Keys.surrender`."""
        with self._keys_lock:
            now = self._clock()
            held = self._held(lease.key, now)
            if held.lease is None or held.lease.owner != lease.owner:
                raise key_lost(lease)
            if held.until is None:
                return  # it was given back before
            held.until = None
            held.seconds = held.seconds if seconds is None else seconds
            if kept is not None and lease.kept_seconds is not None:
                held.kept, held.kept_until = kept, now + lease.kept_seconds

    def _held(self, key: str, now: float) -> _Held:
        if key not in self._keys and len(self._keys) >= _MOST_KEYS:
            ends = {one: max(held.kept_until, held.until or 0.0) for one, held in self._keys.items()}
            self._keys = {one: held for one, held in self._keys.items() if ends[one] > now}
        return self._keys.setdefault(key, _Held())
