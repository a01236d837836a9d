"""Leases and records in a DynamoDB table, by conditional writes; `lambda_tasks.state.table` says what lies in it.

Every write is one UpdateItem whose condition says who may make it. A condition that does not hold is answered with the
item as it is (``ReturnValuesOnConditionCheckFailure``), read in a second call where an emulation leaves it out. Each
answer that was lost can be asked for again: the item says whether the same attempt made the same write before.
"""

from __future__ import annotations

import heapq
import itertools
import math
import re
import time
from typing import TYPE_CHECKING, Any

from lambda_tasks.aws.transport import CallFailed
from lambda_tasks.errors import StateUnavailable
from lambda_tasks.settings import DEFAULT_RECORD_TTL_SECONDS
from lambda_tasks.state import table
from lambda_tasks.state.protocol import AlreadySucceeded, Busy, Started, lease_lost, singleton_lost
from lambda_tasks.state.record import Status, StoredRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lambda_tasks.aws.transport import Transport
    from lambda_tasks.state.protocol import Attempt, SingletonLease
    from lambda_tasks.state.record import Ending
    from lambda_tasks.state.table import Item

_READ_TIMEOUT_SECONDS = 10.0
_RECORDS_PER_READ = 25  # with the longest results and tracebacks still below what one answer may hold
_KEYS_PER_READ = 100

_LEASE_IS_FREE = "(attribute_not_exists(#lease_until) OR #lease_until <= :now)"
_MAY_START = f"attribute_not_exists(#id) OR #expires_at <= :now OR (#status <> :succeeded AND {_LEASE_IS_FREE})"
_LEASE_IS_OURS = "#lease_owner = :lease_owner AND attribute_exists(#lease_until)"


class DynamoDbState:
    """The `State` that all execution environments of a function share. `clock` gives epoch seconds."""

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
        self._table_name = table_name
        self._transport = transport
        self._where = {"region": region, "partition": partition}
        self._record_ttl_seconds = record_ttl_seconds
        self._clock = clock

    def start(self, attempt: Attempt, *, deadline: float) -> Started | Busy | AlreadySucceeded:
        """See `State.start`."""
        now = self._clock()
        until = now + attempt.lease_seconds
        received = now if attempt.first_received_at is None else attempt.first_received_at
        written, item = self._update(
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
            },
            defaults={"first_received_at": received},
            increments={"attempts": 1},
            operands={"now": now, "succeeded": Status.SUCCEEDED.value},
            deadline=deadline,
        )
        lease_until = table.number(item, "lease_until")
        if written or (lease_until is not None and table.text(item, "lease_owner") == attempt.owner):
            return Started(round(table.number(item, "attempts") or 1), table.number(item, "first_failed_at"))
        if table.text(item, "status") == Status.SUCCEEDED.value:
            return AlreadySucceeded(table.number(item, "finished_at") or now)
        return Busy(now if lease_until is None else lease_until)

    def finish(self, attempt: Attempt, ending: Ending, *, deadline: float) -> None:
        """See `State.finish`."""
        now = self._clock()
        results = {
            "result": ending.result,
            "error_type": ending.error_type,
            "error_message": ending.error_message,
            "traceback": ending.traceback,
        }
        failed = ending.error_type is not None and ending.status is not Status.SUCCEEDED
        written, item = self._update(
            table.message_key(attempt.message_id),
            condition=_LEASE_IS_OURS,
            values={
                "status": ending.status.value,
                "status_shard": table.shard(ending.status.value, attempt.message_id),
                "finished_at": now,
                "expires_at": self._expiry(now),
                **{name: value for name, value in results.items() if value is not None},
            },
            defaults={"first_failed_at": now} if failed else {},
            removals=["lease_until", *(name for name, value in results.items() if value is None)],
            operands={"lease_owner": attempt.owner},
            deadline=deadline,
        )
        if not written and table.text(item, "lease_owner") != attempt.owner:
            raise lease_lost(attempt)

    def release(self, attempt: Attempt, ending: Ending, *, deadline: float) -> None:
        """See `State.release`."""
        self.finish(attempt, ending, deadline=deadline)

    def acquire(self, lease: SingletonLease, *, deadline: float) -> Busy | None:
        """See `State.acquire`."""
        now = self._clock()
        until = now + lease.lease_seconds
        written, item = self._update(
            table.singleton_key(lease.key),
            condition=_LEASE_IS_FREE,
            values={
                "lease_owner": lease.owner,
                "lease_until": until,
                "message_id": lease.message_id,
                "expires_at": self._expiry(now, until),
            },
            operands={"now": now},
            deadline=deadline,
        )
        if written or table.text(item, "lease_owner") == lease.owner:
            return None
        return Busy(table.number(item, "lease_until") or now)

    def surrender(self, lease: SingletonLease, *, deadline: float) -> None:
        """See `State.surrender`."""
        written, item = self._update(
            table.singleton_key(lease.key),
            condition=_LEASE_IS_OURS,
            values={},
            removals=["lease_until"],
            operands={"lease_owner": lease.owner},
            deadline=deadline,
        )
        if not written and table.text(item, "lease_owner") != lease.owner:
            raise singleton_lost(lease)

    def record(self, message_id: str, *, deadline: float) -> StoredRecord | None:
        """See `State.record`."""
        return self._as_record(self._get(table.message_key(message_id), deadline))

    def records_of_task(self, task: str) -> Iterator[StoredRecord]:
        """See `State.records_of_task`."""
        return (record for record in self._records("by_task", task) if record.task == task)

    def records_with_status(self, status: Status) -> Iterator[StoredRecord]:
        """See `State.records_with_status`."""
        return (record for record in self._records("by_status", status.value) if record.status is status)

    def _expiry(self, now: float, lease_until: float = 0) -> int:
        return math.ceil(max(now + self._record_ttl_seconds, lease_until))

    def _update(
        self,
        key: str,
        *,
        condition: str,
        values: Mapping[str, str | float],
        operands: Mapping[str, str | float],
        deadline: float,
        defaults: Mapping[str, str | float] | None = None,
        increments: Mapping[str, int] | None = None,
        removals: list[str] | None = None,
    ) -> tuple[bool, Item]:
        """Write where `condition` holds; return whether it did, and the item: as it is then, or as it is instead."""
        defaults, increments, removals = defaults or {}, increments or {}, removals or []
        clauses = {
            "SET": [f"#{name} = :{name}" for name in values]
            + [f"#{name} = if_not_exists(#{name}, :{name})" for name in defaults],
            "REMOVE": [f"#{name}" for name in removals],
            "ADD": [f"#{name} :{name}" for name in increments],
        }
        expression = " ".join(f"{verb} {', '.join(parts)}" for verb, parts in clauses.items() if parts)
        request = {
            "Key": {table.KEY: table.encode(key)},
            "ConditionExpression": condition,
            "UpdateExpression": expression,
            "ExpressionAttributeNames": {name: name[1:] for name in re.findall(r"#\w+", condition + expression)},
            "ExpressionAttributeValues": {
                f":{name}": table.encode(value)
                for name, value in {**operands, **values, **defaults, **increments}.items()
            },
            "ReturnValues": "ALL_NEW",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            return True, self._call("UpdateItem", request, deadline).get("Attributes", {})
        except StateUnavailable as error:
            refusal = error.__cause__
            if not isinstance(refusal, CallFailed) or refusal.code != "ConditionalCheckFailedException":
                raise
            item = refusal.content.get("Item")
        return False, item if isinstance(item, dict) and item else self._get(key, deadline)

    def _get(self, key: str, deadline: float) -> Item:
        request = {"Key": {table.KEY: table.encode(key)}, "ConsistentRead": True}
        item: Item = self._call("GetItem", request, deadline).get("Item", {})
        return item

    def _records(self, index: str, name: str) -> Iterator[StoredRecord]:
        """Yield the records below `name`, the latest first; each page is read when it is needed."""
        latest_first = heapq.merge(*(self._keys(index, one) for one in table.shards(name)), reverse=True)
        while keys := [key for _, key in itertools.islice(latest_first, _RECORDS_PER_READ)]:
            records = self._items(keys)
            yield from (record for key in keys if (record := self._as_record(records.get(key, {}))))

    def _keys(self, index: str, shard: str) -> Iterator[tuple[float, str]]:
        request: dict[str, Any] = {
            "IndexName": index,
            "KeyConditionExpression": "#shard = :shard",
            "ExpressionAttributeNames": {"#shard": table.INDEXES[index]},
            "ExpressionAttributeValues": {":shard": table.encode(shard)},
            "ScanIndexForward": False,
            "Limit": _KEYS_PER_READ,
        }
        while True:
            page = self._call("Query", request, time.monotonic() + _READ_TIMEOUT_SECONDS)
            for item in page.get("Items", []):
                yield table.number(item, table.SORT_KEY) or 0, table.text(item, table.KEY) or ""
            if not page.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _items(self, keys: list[str]) -> dict[str, Item]:
        items: dict[str, Item] = {}
        deadline = time.monotonic() + _READ_TIMEOUT_SECONDS
        wanted: Any = {
            self._table_name: {"Keys": [{table.KEY: table.encode(key)} for key in keys], "ConsistentRead": True}
        }
        while wanted:
            answer = self._call("BatchGetItem", {"RequestItems": wanted}, deadline, of_table=False)
            for item in next(iter(answer.get("Responses", {}).values()), []):
                items[table.text(item, table.KEY) or ""] = item
            wanted = answer.get("UnprocessedKeys")
        return items

    def _as_record(self, item: Item) -> StoredRecord | None:
        if (table.number(item, "expires_at") or 0) <= self._clock():
            return None
        return table.as_record(item)

    def _call(
        self, operation: str, request: Mapping[str, Any], deadline: float, *, of_table: bool = True
    ) -> dict[str, Any]:
        request = {"TableName": self._table_name, **request} if of_table else request
        try:
            return self._transport.call("dynamodb", operation, request, deadline=deadline, **self._where)
        except CallFailed as error:
            remedy = _REMEDIES.get(error.code, f"check the network, and that the role allows dynamodb:{operation}")
            raise StateUnavailable(error.problem, source=f"table {self._table_name}", remedy=remedy) from error


_REMEDIES = {
    "ResourceNotFoundException": "create the table, or correct LAMBDA_TASKS_TABLE",
    "ValidationException": "create the table with the keys and indexes that lambda_tasks.state.table says",
}
