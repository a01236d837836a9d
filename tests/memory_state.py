"""A store of leases and records in this process, for tests of what uses one."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from lambda_tasks.settings import DEFAULT_RECORD_TTL_SECONDS
from lambda_tasks.state import history
from lambda_tasks.state.memory import MemoryKeys
from lambda_tasks.state.protocol import (
    LETTER_SECONDS,
    AlreadyEnded,
    AlreadySucceeded,
    Busy,
    Started,
    lease_lost,
)
from lambda_tasks.state.record import Status, StoredRecord
from lambda_tasks.state.steps import step_lost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lambda_tasks.state.protocol import Attempt, Queued
    from lambda_tasks.state.record import Ending
    from lambda_tasks.state.steps import KeptStep


@dataclass(frozen=True)
class _Lease:
    """A lease: its last holder and its end, which is None where it was given back."""

    owner: str
    until: float | None

    def is_held(self, now: float) -> bool:
        return self.until is not None and self.until > now


class MemoryState(MemoryKeys):
    """The `State` of one process. Nothing of it outlives the process; `clock` gives epoch seconds."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        record_ttl_seconds: float = DEFAULT_RECORD_TTL_SECONDS,
    ) -> None:
        super().__init__(clock=clock)
        self._record_ttl_seconds = record_ttl_seconds
        self._leases: dict[str, _Lease] = {}
        self._records: dict[str, StoredRecord] = {}
        self._histories: dict[str, list[str]] = {}
        self._expiries: dict[str, float] = {}
        self._final: dict[str, bool] = {}  # messages that never run again, and whether their letters were sent
        self._letters: dict[str, float] = {}
        self._steps: dict[tuple[str, str], tuple[str, float]] = {}
        self._turns_of: dict[str, float | None] = {}
        self._lock = threading.Lock()

    def start(self, attempt: Attempt, *, deadline: float) -> Started | Busy | AlreadySucceeded | AlreadyEnded:  # noqa: ARG002
        """See `State.start`."""
        with self._lock:
            now = self._clock()
            record, lease = self._live_record(attempt.message_id, now), self._leases.get(attempt.message_id)
            if record is not None and lease is not None:
                if lease.until is not None and lease.owner == attempt.owner:
                    return self._started(record)
                ended = record.finished_at if lease.until is None else None
                if ended is None or ended >= (attempt.sent_at or 0):
                    if record.status is Status.SUCCEEDED:
                        return AlreadySucceeded(record.finished_at or now)
                    if attempt.message_id in self._final:
                        letter_until = self._letters.get(attempt.message_id, 0.0)
                        if not self._final[attempt.message_id] and record.status is not Status.SKIPPED:
                            if letter_until > now:
                                return Busy(letter_until)
                            self._letters[attempt.message_id] = now + LETTER_SECONDS
                        return AlreadyEnded(
                            record.status,
                            record.finished_at or now,
                            self._final[attempt.message_id],
                            record.error_type,
                            record.error_message,
                        )
                    if lease.until is not None and lease.is_held(now):
                        return Busy(lease.until)
            until = now + attempt.lease_seconds
            record = _started(record, attempt, now)
            self._leases[attempt.message_id] = _Lease(attempt.owner, until)
            self._final.pop(attempt.message_id, None)
            entries = self._histories.setdefault(attempt.message_id, [])
            entries.append(history.begun(now, attempt.details.get("request_id", "")))
            self._keep(record, now, until)
            return self._started(record)

    def _started(self, record: StoredRecord) -> Started:
        history, turn_at = self._history(record.message_id), self._turns_of.get(record.message_id)
        return Started(record.attempts, record.first_failed_at, history, record.steps or "", turn_at)

    def _history(self, message_id: str) -> tuple[str, ...]:
        return tuple(self._histories[message_id])

    def finish(
        self,
        attempt: Attempt,
        ending: Ending,
        *,
        has_run: bool = True,
        sends_letter: bool = False,
        deadline: float,  # noqa: ARG002
    ) -> None:
        """See `State.finish`."""
        with self._lock:
            if self._end(attempt, ending, has_run=has_run):
                self._final[attempt.message_id] = False
                if sends_letter:
                    self._letters[attempt.message_id] = self._clock() + LETTER_SECONDS

    def release(self, attempt: Attempt, ending: Ending, *, has_run: bool = True, deadline: float) -> None:  # noqa: ARG002
        """See `State.release`."""
        with self._lock:
            self._end(attempt, ending, has_run=has_run)

    def letter(self, attempt: Attempt, *, was_sent: bool, deadline: float) -> None:  # noqa: ARG002
        """See `State.letter`."""
        with self._lock:
            self._letters.pop(attempt.message_id, None)
            if was_sent and attempt.message_id in self._final:
                self._final[attempt.message_id] = True

    def _end(self, attempt: Attempt, ending: Ending, *, has_run: bool) -> bool:
        """Write how an attempt ended, unless it did before; tell whether that was done."""
        now = self._clock()
        record, lease = self._records.get(attempt.message_id), self._leases.get(attempt.message_id)
        if record is None or lease is None or lease.owner != attempt.owner:
            raise lease_lost(attempt)
        if lease.until is None:  # given back by this attempt before
            return False
        self._leases[attempt.message_id] = replace(lease, until=None)
        record = _ended(record, ending, now)
        self._turns_of[attempt.message_id] = ending.turn_at
        if ending.history:
            self._histories[attempt.message_id] = history.ended(ending.history, ending, now, has_run=has_run)
        self._keep(record if has_run else msgspec.structs.replace(record, attempts=record.attempts - 1), now)
        return True

    def keep_step(
        self,
        message_id: str,
        owner: str,
        steps: str,
        kept: KeptStep | None = None,
        *,
        deadline: float,  # noqa: ARG002
    ) -> None:
        """See `Steps.keep_step`."""
        with self._lock:
            record, lease = self._records.get(message_id), self._leases.get(message_id)
            if record is None or lease is None or lease.owner != owner or lease.until is None:
                raise step_lost(message_id)
            self._records[message_id] = msgspec.structs.replace(record, steps=steps)
            if kept is not None:
                self._steps[message_id, kept.name] = kept.content, self._clock() + self._record_ttl_seconds

    def kept_step(self, message_id: str, name: str, *, deadline: float) -> str | None:  # noqa: ARG002
        """See `Steps.kept_step`."""
        with self._lock:
            content, expires_at = self._steps.get((message_id, name), (None, 0.0))
            return content if expires_at > self._clock() else None

    def queued(self, messages: Sequence[Queued], *, deadline: float) -> None:  # noqa: ARG002
        """See `State.queued`."""
        with self._lock:
            for one in messages:
                if self._live_record(one.message_id, self._clock()) is None:
                    sent_at = one.queued_at
                    record = StoredRecord(one.message_id, one.task, Status.QUEUED, 0, sent_at, 0, queue=one.queue)
                    more = {"replay_of": one.replay_of or None, "request": one.request or None}
                    record = msgspec.structs.replace(record, queued_at=sent_at, **more)
                    self._keep(record, max(sent_at, one.due_at))

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
        if self._expiries.get(message_id, now) <= now:
            return None
        entries = history.read(self._histories.get(message_id, ()))
        return msgspec.structs.replace(self._records[message_id], history=entries)

    def _keep(self, record: StoredRecord, now: float, lease_until: float = 0) -> None:
        self._records[record.message_id] = record
        self._expiries[record.message_id] = max(now + self._record_ttl_seconds, lease_until)


def _started(earlier: StoredRecord | None, attempt: Attempt, now: float) -> StoredRecord:
    received = now if attempt.first_received_at is None else attempt.first_received_at
    if earlier is None:
        earlier = StoredRecord(attempt.message_id, attempt.task, Status.RUNNING, 0, received, now)
    return msgspec.structs.replace(
        earlier,
        task=attempt.task,
        status=Status.RUNNING,
        attempts=earlier.attempts + 1,
        first_received_at=received if earlier.status is Status.QUEUED else earlier.first_received_at,
        started_at=now,
        reason=None,
        duplicate_of=None,
        **attempt.details,
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
        error_class=ending.error_class,
        error_message=ending.error_message,
        traceback=ending.traceback,
        reason=ending.reason,
        duplicate_of=ending.duplicate_of,
        steps=record.steps if ending.steps is None else ending.steps,
    )
