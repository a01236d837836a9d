"""A store of leases and records in this process, for tests of what uses one."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from lambda_tasks.settings import DEFAULT_RECORD_TTL_SECONDS
from lambda_tasks.state.protocol import AlreadySucceeded, Busy, Started, lease_lost, singleton_lost
from lambda_tasks.state.record import Status, StoredRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lambda_tasks.state.protocol import Attempt, SingletonLease
    from lambda_tasks.state.record import Ending


@dataclass(frozen=True)
class _Lease:
    """Who holds, or held last, and until when; None for a lease that was given back."""

    owner: str
    until: float | None

    def is_held(self, now: float) -> bool:
        return self.until is not None and self.until > now


class MemoryState:
    """The `State` of one process. Nothing of it outlives the process; `clock` gives epoch seconds."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        record_ttl_seconds: float = DEFAULT_RECORD_TTL_SECONDS,
    ) -> None:
        self._clock = clock
        self._record_ttl_seconds = record_ttl_seconds
        self._leases: dict[str, _Lease] = {}
        self._singletons: dict[str, _Lease] = {}
        self._records: dict[str, StoredRecord] = {}
        self._expiries: dict[str, float] = {}
        self._lock = threading.Lock()

    def start(self, attempt: Attempt, *, deadline: float) -> Started | Busy | AlreadySucceeded:  # noqa: ARG002
        """See `State.start`."""
        with self._lock:
            now = self._clock()
            record, lease = self._live_record(attempt.message_id, now), self._leases.get(attempt.message_id)
            if record is not None and lease is not None:
                if lease.until is not None and lease.owner == attempt.owner:
                    return Started(record.attempts, record.first_failed_at)
                if record.status is Status.SUCCEEDED:
                    return AlreadySucceeded(record.finished_at or now)
                if lease.until is not None and lease.is_held(now):
                    return Busy(lease.until)
            until = now + attempt.lease_seconds
            record = _started(record, attempt, now)
            self._leases[attempt.message_id] = _Lease(attempt.owner, until)
            self._keep(record, now, until)
            return Started(record.attempts, record.first_failed_at)

    def finish(self, attempt: Attempt, ending: Ending, *, deadline: float) -> None:  # noqa: ARG002
        """See `State.finish`."""
        with self._lock:
            now = self._clock()
            record, lease = self._records.get(attempt.message_id), self._leases.get(attempt.message_id)
            if record is None or lease is None or lease.owner != attempt.owner:
                raise lease_lost(attempt)
            if lease.until is None:  # given back by this attempt before
                return
            self._leases[attempt.message_id] = replace(lease, until=None)
            self._keep(_ended(record, ending, now), now)

    def release(self, attempt: Attempt, ending: Ending, *, deadline: float) -> None:
        """See `State.release`."""
        self.finish(attempt, ending, deadline=deadline)

    def acquire(self, lease: SingletonLease, *, deadline: float) -> Busy | None:  # noqa: ARG002
        """See `State.acquire`."""
        with self._lock:
            now = self._clock()
            held = self._singletons.get(lease.key)
            if held is not None and held.until is not None and held.is_held(now) and held.owner != lease.owner:
                return Busy(held.until)
            self._singletons[lease.key] = _Lease(lease.owner, now + lease.lease_seconds)
            return None

    def surrender(self, lease: SingletonLease, *, deadline: float) -> None:  # noqa: ARG002
        """See `State.surrender`."""
        with self._lock:
            held = self._singletons.get(lease.key)
            if held is None or held.owner != lease.owner:
                raise singleton_lost(lease)
            self._singletons[lease.key] = replace(held, until=None)

    def record(self, message_id: str, *, deadline: float) -> StoredRecord | None:  # noqa: ARG002
        """See `State.record`."""
        with self._lock:
            return self._live_record(message_id, self._clock())

    def records_of_task(self, task: str) -> Iterator[StoredRecord]:
        """See `State.records_of_task`."""
        return (record for record in self._latest_first() if record.task == task)

    def records_with_status(self, status: Status) -> Iterator[StoredRecord]:
        """See `State.records_with_status`."""
        return (record for record in self._latest_first() if record.status is status)

    def _latest_first(self) -> list[StoredRecord]:
        with self._lock:
            now = self._clock()
            live = [self._live_record(message_id, now) for message_id in self._records]
        return sorted((one for one in live if one), key=lambda record: record.first_received_at, reverse=True)

    def _live_record(self, message_id: str, now: float) -> StoredRecord | None:
        return self._records[message_id] if self._expiries.get(message_id, now) > now else None

    def _keep(self, record: StoredRecord, now: float, lease_until: float = 0) -> None:
        self._records[record.message_id] = record
        self._expiries[record.message_id] = max(now + self._record_ttl_seconds, lease_until)


def _started(earlier: StoredRecord | None, attempt: Attempt, now: float) -> StoredRecord:
    if earlier is None:
        received = now if attempt.first_received_at is None else attempt.first_received_at
        return StoredRecord(attempt.message_id, attempt.task, Status.RUNNING, 1, received, now)
    return msgspec.structs.replace(
        earlier, task=attempt.task, status=Status.RUNNING, attempts=earlier.attempts + 1, started_at=now
    )


def _ended(record: StoredRecord, ending: Ending, now: float) -> StoredRecord:
    failed = ending.error_type is not None and ending.status is not Status.SUCCEEDED
    return msgspec.structs.replace(
        record,
        status=ending.status,
        finished_at=now,
        first_failed_at=record.first_failed_at or (now if failed else None),
        result=ending.result,
        error_type=ending.error_type,
        error_message=ending.error_message,
        traceback=ending.traceback,
    )
