"""Leases of keys, and steps, in this process: for messages that run where they are enqueued, and for tests."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from lambda_tasks.state.protocol import Busy, Kept, key_lost
from lambda_tasks.state.turns import decide, turn_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_tasks.state.protocol import KeyLease
    from lambda_tasks.state.steps import KeptStep
    from lambda_tasks.state.turns import RateLimit

_MOST_KEYS = 10_000
_MOST_MESSAGES = 1_000


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
        self._turns: dict[str, tuple[float, float]] = {}
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

    def turn(
        self,
        limit: RateLimit,
        *,
        turn_at: float | None = None,
        patience_seconds: float = 0.0,
        deadline: float,  # noqa: ARG002
    ) -> float | None:
        """See `Turns.turn`."""
        with self._keys_lock:
            now, times = self._clock(), self._turns.pop(limit.key, (0.0, 0.0))
            if len(self._turns) >= _MOST_KEYS:
                self._turns = {key: both for key, both in self._turns.items() if max(both) > now}
            decision = decide(limit, times, now, turn_at=turn_at, patience_seconds=patience_seconds)
            self._turns[limit.key] = decision.given_to, decision.used_to
            return decision.at

    def _held(self, key: str, now: float) -> _Held:
        if key not in self._keys and len(self._keys) >= _MOST_KEYS:
            ends = {one: max(held.kept_until, held.until or 0.0) for one, held in self._keys.items()}
            self._keys = {one: held for one, held in self._keys.items() if ends[one] > now}
        return self._keys.setdefault(key, _Held())


class MemorySteps:
    """The `Steps` of one process, where each message runs in one place at a time. Nothing of it outlives the process.

    `steps` has how far the last messages have come, by their ids.
    """

    def __init__(self) -> None:
        self.steps: dict[str, str] = {}
        self._kept: dict[str, dict[str, str]] = {}
        self._steps_lock = threading.Lock()

    def keep_step(
        self,
        message_id: str,
        owner: str,  # noqa: ARG002 - there is no other
        steps: str,
        kept: KeptStep | None = None,
        *,
        deadline: float,  # noqa: ARG002
    ) -> None:
        """See `Steps.keep_step`."""
        with self._steps_lock:
            if message_id not in self.steps and len(self.steps) >= _MOST_MESSAGES:
                first = next(iter(self.steps))
                del self.steps[first], self._kept[first]
            self.steps[message_id] = steps
            of_message = self._kept.setdefault(message_id, {})
            if kept is not None:
                of_message[kept.name] = kept.content

    def kept_step(self, message_id: str, name: str, *, deadline: float) -> str | None:  # noqa: ARG002
        """See `Steps.kept_step`."""
        with self._steps_lock:
            return self._kept.get(message_id, {}).get(name)


class Memory(MemoryKeys, MemorySteps):
    """What the messages of one process leave for later ones: keys, and steps. `clock` gives epoch seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        MemoryKeys.__init__(self, clock=clock)
        MemorySteps.__init__(self)
