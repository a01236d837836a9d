"""Leases and records in a DynamoDB table, by conditional writes; `lambda_tasks.state.table` describes it.

Every write is one UpdateItem whose condition says who may make it. A write whose answer was lost can be made again: the
item says whether the same attempt made it before.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from typing import TYPE_CHECKING

from lambda_tasks.settings import DEFAULT_RECORD_TTL_SECONDS
from lambda_tasks.state import history, table
from lambda_tasks.state.dynamodb_items import Items
from lambda_tasks.state.dynamodb_steps import LEASE_IS_OURS, DynamoDbSteps
from lambda_tasks.state.dynamodb_turns import DynamoDbTurns
from lambda_tasks.state.protocol import (
    LETTER_SECONDS,
    AlreadyEnded,
    AlreadySucceeded,
    Busy,
    Started,
    key_lost,
    lease_lost,
)
from lambda_tasks.state.record import Status, StoredRecord
from lambda_tasks.state.turns import turn_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lambda_tasks.aws.transport import Transport
    from lambda_tasks.state.dynamodb_items import Value
    from lambda_tasks.state.protocol import Attempt, Kept, KeyLease, Queued
    from lambda_tasks.state.record import Ending
    from lambda_tasks.state.table import Item

_RECORDS_PER_READ = 25  # with the longest results and tracebacks still below what one answer may hold
_TRIES_OF_A_TURN = 4
_LEASE_IS_FREE = "(attribute_not_exists(#lease_until) OR #lease_until <= :now)"
_IS_TO_RUN = "(#finished_at < :sent_at OR (attribute_not_exists(#final) AND #status <> :succeeded))"
_MAY_START = f"attribute_not_exists(#id) OR #expires_at <= :now OR ({_IS_TO_RUN} AND {_LEASE_IS_FREE})"
_MAY_ACQUIRE = f"{_LEASE_IS_FREE} OR (#message_id = :message_id AND #taken_at < :held_since)"
_IS_NOT_KEPT = "(attribute_not_exists(#kept_until) OR #kept_until <= :now)"


class DynamoDbState:
    """The `State` in a DynamoDB table, which all execution environments share. `clock` gives epoch seconds."""

    def __init__(
        self,
        table_name: str,
        transport: Transport,
        *,
        region: str,
        partition: str,
        record_ttl_seconds: float = DEFAULT_RECORD_TTL_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._items = Items(table_name, transport, region=region, partition=partition)
        self._record_ttl_seconds = record_ttl_seconds
        self._clock = clock
        steps, turns = DynamoDbSteps(self._items, record_ttl_seconds, clock), DynamoDbTurns(self._items, clock)
        self.keep_step, self.kept_step, self.turn = steps.keep_step, steps.kept_step, turns.turn

    def start(self, attempt: Attempt, *, deadline: float) -> Started | Busy | AlreadySucceeded | AlreadyEnded:
        """See `State.start`."""
        now = self._clock()
        until = now + attempt.lease_seconds
        received = now if attempt.first_received_at is None else attempt.first_received_at
        written, item = self._items.update(
            table.message_key(attempt.message_id),
            condition=_MAY_START,
            values={
                "task": attempt.task,
                "status": Status.RUNNING.value,
                "task_shard": table.shard(attempt.task, attempt.message_id),
                "status_shard": table.shard(Status.RUNNING.value, attempt.message_id),
                "started_at": now,
                "lease_owner": attempt.owner,
                "lease_until": until,
                "expires_at": self._expiry(now, until),
                **attempt.details,
            },
            defaults={"first_received_at": received, "received_at": received},
            increments={"attempts": 1},
            appends={"history": [history.begun(now, attempt.details.get("request_id", ""))]},
            removals=["final", "letter_sent_at", "letter_until", "reason", "duplicate_of"],
            operands={"now": now, "succeeded": Status.SUCCEEDED.value, "sent_at": attempt.sent_at or 0},
            is_read=True,
            deadline=deadline,
        )
        lease_until = table.number(item, "lease_until")
        if written or (lease_until is not None and table.text(item, "lease_owner") == attempt.owner):
            attempts, first_failed_at = table.number(item, "attempts") or 1, table.number(item, "first_failed_at")
            so_far, steps = table.texts(item, "history"), table.text(item, "steps") or ""
            return Started(round(attempts), first_failed_at, so_far, steps, table.number(item, "turn_at"))
        if table.text(item, "status") == Status.SUCCEEDED.value:
            return AlreadySucceeded(table.number(item, "finished_at") or now)
        if table.number(item, "final"):
            return self._ended(attempt, item, now, deadline)
        return Busy(now if lease_until is None else lease_until)

    def _ended(self, attempt: Attempt, item: Item, now: float, deadline: float) -> AlreadyEnded | Busy:
        """Return how a message ended. Where its letter is to be sent, only one attempt at a time is told so."""
        status, has_letter = Status(table.text(item, "status")), table.number(item, "letter_sent_at") is not None
        if status is not Status.SKIPPED and not has_letter:
            written, item = self._items.update(
                table.message_key(attempt.message_id),
                condition="attribute_not_exists(#letter_until) OR #letter_until <= :now",
                values={"letter_until": now + LETTER_SECONDS},
                operands={"now": now},
                is_read=True,
                deadline=deadline,
            )
            if not written:
                return Busy(table.number(item, "letter_until") or now)
            has_letter = table.number(item, "letter_sent_at") is not None
        return AlreadyEnded(
            status,
            table.number(item, "finished_at") or now,
            has_letter,
            table.text(item, "error_type"),
            table.text(item, "error_message"),
        )

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
        values: dict[str, Value] = {"final": 1}
        if sends_letter:
            values["letter_until"] = self._clock() + LETTER_SECONDS
        self._end(attempt, ending, values, has_run=has_run, deadline=deadline)

    def release(self, attempt: Attempt, ending: Ending, *, has_run: bool = True, deadline: float) -> None:
        """See `State.release`."""
        self._end(attempt, ending, {}, has_run=has_run, deadline=deadline)

    def letter(self, attempt: Attempt, *, was_sent: bool, deadline: float) -> None:
        """See `State.letter`."""
        self._items.update(
            table.message_key(attempt.message_id),
            condition="attribute_exists(#final)",
            values={"letter_sent_at": self._clock()} if was_sent else {},
            removals=["letter_until"],
            operands={},
            deadline=deadline,
        )

    def _end(
        self,
        attempt: Attempt,
        ending: Ending,
        values: Mapping[str, Value],
        *,
        has_run: bool,
        deadline: float,
    ) -> None:
        now = self._clock()
        results = {
            "result": ending.result,
            "error_type": ending.error_type,
            "error_class": ending.error_class,
            "error_message": ending.error_message,
            "traceback": ending.traceback,
            "reason": ending.reason,
            "duplicate_of": ending.duplicate_of,
            "turn_at": ending.turn_at,
        }
        if ending.steps is not None:
            values = {**values, "steps": ending.steps}
        if ending.history:
            values = {**values, "history": history.ended(ending.history, ending, now, has_run=has_run)}
        failed = ending.error_type is not None and ending.status is not Status.SUCCEEDED
        written, item = self._items.update(
            table.message_key(attempt.message_id),
            condition=LEASE_IS_OURS,
            values={
                "status": ending.status.value,
                "status_shard": table.shard(ending.status.value, attempt.message_id),
                "finished_at": now,
                "expires_at": self._expiry(now),
                **{name: value for name, value in results.items() if value is not None},
                **values,
            },
            defaults={"first_failed_at": now} if failed else {},
            increments={} if has_run else {"attempts": -1},
            removals=["lease_until", *(name for name, value in results.items() if value is None)],
            operands={"lease_owner": attempt.owner},
            deadline=deadline,
        )
        if not written and table.text(item, "lease_owner") != attempt.owner:
            raise lease_lost(attempt)

    def acquire(self, lease: KeyLease, *, deadline: float) -> Busy | Kept | None:
        """See `Keys.acquire`."""
        now = self._clock()
        until = now + lease.lease_seconds
        is_singleton = lease.kept_seconds is None
        written, item = self._items.update(
            table.lease_key(lease),
            condition=_MAY_ACQUIRE if is_singleton else f"({_MAY_ACQUIRE}) AND {_IS_NOT_KEPT}",
            values={
                "lease_owner": lease.owner,
                "lease_until": until,
                "message_id": lease.message_id,
                "taken_at": now,
                "expires_at": self._expiry(now, until),
            },
            removals=[] if is_singleton else ["kept_until", "result", "check"],
            operands={"now": now, "held_since": lease.held_since},
            deadline=deadline,
        )
        if not written and (table.number(item, "kept_until") or 0) > now:
            return table.as_kept(item)
        if written or table.text(item, "lease_owner") == lease.owner:
            return None
        busy_until = table.number(item, "lease_until") or now
        return Busy(busy_until, self._turn(lease, item, now, deadline) if is_singleton else None)

    def surrender(
        self, lease: KeyLease, *, seconds: float | None = None, kept: Kept | None = None, deadline: float
    ) -> None:
        """See `Keys.surrender`."""
        values: dict[str, Value] = {} if seconds is None else {"seconds": seconds}
        if kept is not None and lease.kept_seconds is not None:
            until = self._clock() + lease.kept_seconds
            values |= {"kept_until": until, "expires_at": math.ceil(until), "check": kept.check}
            values |= {} if kept.result is None else {"result": kept.result}
        written, item = self._items.update(
            table.lease_key(lease),
            condition=LEASE_IS_OURS,
            values=values,
            removals=["lease_until"],
            operands={"lease_owner": lease.owner},
            deadline=deadline,
        )
        if not written and table.text(item, "lease_owner") != lease.owner:
            raise key_lost(lease)

    def _turn(self, lease: KeyLease, item: Item, now: float, deadline: float) -> float | None:
        """Take the next turn of those that wait for a singleton. None where others took theirs at the same time."""
        for _ in range(_TRIES_OF_A_TURN):
            next_at = table.number(item, "next_at") or 0.0
            turn_at, then = turn_after(next_at, table.number(item, "seconds"), lease.spacing_seconds, now)
            written, item = self._items.update(
                table.lease_key(lease),
                condition="attribute_not_exists(#next_at) OR #next_at = :seen",
                values={"next_at": then},
                operands={"seen": next_at},
                deadline=deadline,
            )
            if written:
                return turn_at
        return None

    def queued(self, messages: Sequence[Queued], *, deadline: float) -> None:
        """See `State.queued`."""
        self._items.insert(
            [table.queued_item(one, self._expiry(max(one.queued_at, one.due_at))) for one in messages], deadline
        )

    def record(self, message_id: str, *, deadline: float) -> StoredRecord | None:
        """See `State.record`."""
        return self._as_record(self._items.get(table.message_key(message_id), deadline))

    def records_of_task(self, task: str) -> Iterator[StoredRecord]:
        """See `State.records_of_task`."""
        return (record for record in self._records("by_task", task) if record.task == task)

    def records_with_status(self, status: Status) -> Iterator[StoredRecord]:
        """See `State.records_with_status`."""
        return (record for record in self._records("by_status", status.value) if record.status is status)

    def _expiry(self, now: float, lease_until: float = 0) -> int:
        return math.ceil(max(now + self._record_ttl_seconds, lease_until))

    def _records(self, index: str, name: str) -> Iterator[StoredRecord]:
        """Yield the records below `name`, the latest first; each page is read when it is needed."""
        latest_first = heapq.merge(*(self._items.keys(index, one) for one in table.shards(name)), reverse=True)
        while keys := [key for _, key in itertools.islice(latest_first, _RECORDS_PER_READ)]:
            records = self._items.of(keys)
            yield from (record for key in keys if (record := self._as_record(records.get(key, {}))))

    def _as_record(self, item: Item) -> StoredRecord | None:
        if (table.number(item, "expires_at") or 0) <= self._clock():
            return None
        return table.as_record(item)
