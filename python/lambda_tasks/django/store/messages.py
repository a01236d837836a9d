"""Leases and records of messages in a database of Django's."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from django.db.models import F, Q

from lambda_tasks.django.models import MAX_TASK_CHARACTERS, TaskRecord
from lambda_tasks.django.moments import epoch_of
from lambda_tasks.django.store import rows, statements
from lambda_tasks.django.store.keys import OrmKeys
from lambda_tasks.django.store.steps import OrmSteps
from lambda_tasks.django.store.turns import OrmTurns
from lambda_tasks.settings import DEFAULT_RECORD_TTL_SECONDS
from lambda_tasks.state import history
from lambda_tasks.state.protocol import LETTER_SECONDS, AlreadyEnded, AlreadySucceeded, Busy, Started, lease_lost
from lambda_tasks.state.record import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lambda_tasks.django.store.rows import Row
    from lambda_tasks.state.protocol import Attempt, Queued
    from lambda_tasks.state.record import Ending, StoredRecord

_PAGE = 100
_PER_STATEMENT = 100
_READ_SECONDS = 10.0
_OF_A_LIFE = ("finished_at", "queued_at", "steps", "turn_at")  # of a message whose record is over, and that comes again


class OrmState(OrmSteps, OrmTurns, OrmKeys):
    """The `State` in a database of Django's. `clock` gives epoch seconds."""

    def __init__(
        self,
        alias: str,
        *,
        record_ttl_seconds: float = DEFAULT_RECORD_TTL_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(alias, record_ttl_seconds=record_ttl_seconds, clock=clock)

    def start(self, attempt: Attempt, *, deadline: float) -> Started | Busy | AlreadySucceeded | AlreadyEnded:
        """See `State.start`."""
        answer: Started | Busy | AlreadySucceeded | AlreadyEnded = self._settled(lambda: self._start(attempt), deadline)
        return answer

    def _start(self, attempt: Attempt) -> Started | Busy | AlreadySucceeded | AlreadyEnded | None:
        """Decide by the row as it is, and write; None where another one wrote meanwhile."""
        now, message_id = self._clock(), rows.key(attempt.message_id)
        begun = _begun(attempt, {}, now, self._record_ttl_seconds)
        values = {"message_id": message_id, "first_received_at": _received(attempt, now), **begun}
        is_first = statements.begin(self._database.alias, values, now)
        if is_first:  # as most messages are
            return _started(begun)
        row = self._row(message_id, *rows.LEASE_COLUMNS)
        if row is None:
            return _started(begun) if is_first is None and self._insert(TaskRecord, values) else None
        if row["lease_until"] is not None and row["lease_owner"] == attempt.owner:
            return _started(row)
        if (epoch_of(row["expires_at"]) or 0) > now:
            answer = _refusal(row, attempt, now)
            if isinstance(answer, AlreadyEnded) and answer.status is not Status.SKIPPED and not answer.has_letter:
                has_turn = self._write(row, message_id, letter_until=now + LETTER_SECONDS)
                return answer if has_turn else None
            if answer is not None:
                return answer
        else:
            row = {"version": row["version"], "status": Status.QUEUED.value}  # as if it had been deleted
        begun = _begun(attempt, row, now, self._record_ttl_seconds)
        if row["status"] == Status.QUEUED.value:
            begun["first_received_at"] = _received(attempt, now)
        return _started({**row, **begun}) if self._write(row, message_id, **begun) else None

    def finish(
        self,
        attempt: Attempt,
        ending: Ending,
        *,
        has_run: bool = True,
        sends_letter: bool = False,
        deadline: float,
    ) -> None:
        """See `State.finish`."""
        letter = {"letter_until": self._clock() + LETTER_SECONDS} if sends_letter else {}
        self._end(attempt, ending, {"is_final": True, **letter}, has_run=has_run, deadline=deadline)

    def release(self, attempt: Attempt, ending: Ending, *, has_run: bool = True, deadline: float) -> None:
        """See `State.release`."""
        self._end(attempt, ending, {}, has_run=has_run, deadline=deadline)

    def _end(self, attempt: Attempt, ending: Ending, values: Row, *, has_run: bool, deadline: float) -> None:
        now, message_id = self._clock(), rows.key(attempt.message_id)
        values = {**values, **rows.ended(ending, now), "expires_at": rows.expiry(now, self._record_ttl_seconds)}
        if ending.history:
            values["history"] = rows.history_of(history.ended(ending.history, ending, now, has_run=has_run))
        failed = ending.error_type is not None and ending.status is not Status.SUCCEEDED

        def write() -> bool:
            alias, owner = self._database.alias, attempt.owner
            if statements.end(alias, message_id, owner, values, has_run=has_run, failed=failed):
                return True
            # Where it was written before, and the answer was lost, the lease is given back already.
            return bool(self._records.filter(message_id=message_id, lease_owner=owner).exists())

        if not self._database.write(write, deadline=deadline):
            raise lease_lost(attempt)

    def letter(self, attempt: Attempt, *, was_sent: bool, deadline: float) -> None:
        """See `State.letter`."""
        values: Row = {"letter_until": None, "version": F("version") + 1}
        if was_sent:
            values["letter_sent_at"] = self._clock()
        of_message = self._records.filter(message_id=rows.key(attempt.message_id), is_final=True)
        self._database.write(lambda: of_message.update(**values), deadline=deadline)

    def queued(self, messages: Sequence[Queued], *, deadline: float) -> None:
        """See `State.queued`."""
        made = [rows.queued_row(one, self._record_ttl_seconds) for one in messages]

        def write() -> None:
            self._records.bulk_create(made, batch_size=_PER_STATEMENT, ignore_conflicts=True)

        self._database.write(write, deadline=deadline)

    def record(self, message_id: str, *, deadline: float) -> StoredRecord | None:
        """See `State.record`."""
        live = self._records.filter(message_id=rows.key(message_id), expires_at__gt=self._clock())
        found = self._database.read(lambda: list(live.values(*rows.COLUMNS)), deadline=deadline)
        return rows.as_record(found[0]) if found else None

    def records_of_task(self, task: str) -> Iterator[StoredRecord]:
        """See `State.records_of_task`."""
        return self._latest_first(task=task)

    def records_with_status(self, status: Status) -> Iterator[StoredRecord]:
        """See `State.records_with_status`."""
        return self._latest_first(status=status.value)

    def _latest_first(self, **condition: str) -> Iterator[StoredRecord]:
        """Yield the records that fit; each page begins behind the last record of the one before."""
        live = self._records.filter(expires_at__gt=self._clock(), **condition)
        live = live.order_by("-listed_at", "-message_id")
        page = live
        while True:
            wanted = page.values(*rows.COLUMNS, "listed_at")[:_PAGE]
            found = self._read(wanted)
            yield from map(rows.as_record, found)
            if len(found) < _PAGE:
                return
            at, message_id = found[-1]["listed_at"], found[-1]["message_id"]
            page = live.filter(listed_at__lte=at).filter(Q(listed_at__lt=at) | Q(message_id__lt=message_id))

    def _read(self, wanted: Iterable[Row]) -> list[Row]:
        return self._database.read(lambda: list(wanted), deadline=time.monotonic() + _READ_SECONDS)

    def _row(self, message_id: str, *columns: str) -> Row | None:
        found = list(self._records.filter(message_id=message_id).values(*columns))
        return found[0] if found else None

    def _write(self, row: Row, message_id: str, **values: object) -> bool:
        """Write where the row is still the one that was read, and tell whether it was."""
        same = self._records.filter(message_id=message_id, version=row["version"])
        return bool(same.update(**values, version=row["version"] + 1))


def _refusal(row: Row, attempt: Attempt, now: float) -> Busy | AlreadySucceeded | AlreadyEnded | None:
    """Return why a message is not to be run, or None where it is."""
    lease_until, finished_at = row["lease_until"], epoch_of(row["finished_at"])
    if lease_until is None and finished_at is not None and finished_at < (attempt.sent_at or 0):
        return None  # it was sent after that: another message, as a redrive makes it
    status = Status(row["status"])
    if status is Status.SUCCEEDED:
        return AlreadySucceeded(finished_at or now)
    if row["is_final"]:
        has_letter = row["letter_sent_at"] is not None
        if not has_letter and status is not Status.SKIPPED and (row["letter_until"] or 0) > now:
            return Busy(row["letter_until"])
        return AlreadyEnded(status, finished_at or now, has_letter, row["error_type"], row["error_message"])
    return Busy(lease_until) if lease_until is not None and lease_until > now else None


def _begun(attempt: Attempt, row: Row, now: float, record_ttl_seconds: float) -> Row:
    """Return what the start of an attempt writes over `row`, which is empty for a message that is new."""
    until = now + attempt.lease_seconds
    is_new = "attempts" not in row
    entry = history.begun(now, attempt.details.get("request_id", ""))
    begun: Row = {
        **(dict.fromkeys((*rows.OF_AN_ENDING, *_OF_A_LIFE)) if is_new and row else {}),
        **rows.texts(attempt.details),
        "task": rows.cut(attempt.task, MAX_TASK_CHARACTERS),
        "status": Status.RUNNING.value,
        "attempts": 1 if is_new else row["attempts"] + 1,
        "started_at": now,
        "first_failed_at": None if is_new else row["first_failed_at"],
        "history": rows.history_of([*(() if is_new else rows.entries(row)), entry]),
        "reason": None,
        "duplicate_of": None,
        "lease_owner": attempt.owner,
        "lease_until": until,
        "is_final": False,
        "letter_sent_at": None,
        "letter_until": None,
        "expires_at": rows.expiry(now, record_ttl_seconds, until),
    }
    return begun


def _received(attempt: Attempt, now: float) -> float:
    return now if attempt.first_received_at is None else attempt.first_received_at


def _started(row: Row) -> Started:
    first_failed_at, steps = epoch_of(row["first_failed_at"]), row.get("steps") or ""
    return Started(row["attempts"], first_failed_at, rows.entries(row), steps, row.get("turn_at"))
