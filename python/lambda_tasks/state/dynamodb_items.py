"""The items of a DynamoDB table: conditional writes, and reads.

A condition that does not hold is answered with the item as it is (``ReturnValuesOnConditionCheckFailure``). The item is
read in a second call where an emulation leaves it out.
"""

from __future__ import annotations

import functools
import itertools
import re
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from lambda_tasks.aws.retry import backoff
from lambda_tasks.aws.transport import CallFailed
from lambda_tasks.errors import StateUnavailable
from lambda_tasks.state import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lambda_tasks.aws.transport import Transport
    from lambda_tasks.state.table import Item

    Value = str | float | Sequence[str]

_READ_TIMEOUT_SECONDS = 10.0
_KEYS_PER_READ = 100
_ITEMS_PER_INSERT = 25
_EXISTS = "DuplicateItem"
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CancellationReason.html
_IN_THE_WAY = frozenset({"None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
_BUSY = frozenset({"ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded"})


class Items:
    """The items of one table. Each call raises `StateUnavailable` where the table does not answer."""

    def __init__(self, table_name: str, transport: Transport, *, region: str, partition: str) -> None:
        self._table_name = table_name
        self._transport = transport
        self._where = {"region": region, "partition": partition}

    def update(
        self,
        key: str,
        *,
        condition: str,
        values: Mapping[str, Value],
        operands: Mapping[str, str | float],
        deadline: float,
        defaults: Mapping[str, str | float] | None = None,
        increments: Mapping[str, int] | None = None,
        appends: Mapping[str, Sequence[str]] | None = None,
        removals: list[str] | None = None,
        is_read: bool = False,
    ) -> tuple[bool, Item]:
        """Write where `condition` holds. Return whether it did, and the item as it is.

        The item that was written is empty unless it `is_read`: it may be large.
        """
        defaults, increments, appends = defaults or {}, increments or {}, appends or {}
        names = tuple(map(tuple, (values, defaults, increments, appends, removals or ())))
        given: dict[str, Value] = {**operands, **values, **defaults, **increments, **appends}
        if appends:
            given["nothing"] = ()
        request = {
            **_update(key, _expressions(condition, *names), given),
            "ReturnValues": "ALL_NEW" if is_read else "NONE",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            return True, self._call("UpdateItem", request, deadline).get("Attributes", {})
        except StateUnavailable as error:
            refusal = error.__cause__
            if not isinstance(refusal, CallFailed) or refusal.code != "ConditionalCheckFailedException":
                raise
            item = refusal.content.get("Item")
        return False, item if isinstance(item, dict) and item else self.get(key, deadline)

    def update_with(
        self,
        update: tuple[str, Mapping[str, str | float]],
        beside: tuple[str, Mapping[str, str | float]],
        *,
        condition: str,
        operands: Mapping[str, str | float],
        deadline: float,
    ) -> bool:
        """Write to two items, each given by its key, where `condition` holds for the first. Tell whether it did.

        https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
        """
        updates = [self._part(*update, condition, operands), self._part(*beside)]
        request = {"TransactItems": [{"Update": one} for one in updates]}
        for attempt in itertools.count(1):
            try:
                self._call("TransactWriteItems", request, deadline, of_table=False)
            except StateUnavailable as error:
                codes = _cancellations(error)
                if "ConditionalCheckFailed" in codes:
                    return False
                seconds = backoff(attempt)
                if not codes or not codes <= _IN_THE_WAY or time.monotonic() + seconds >= deadline:
                    raise
                time.sleep(seconds)
            else:
                break
        return True

    def _part(
        self,
        key: str,
        values: Mapping[str, str | float],
        condition: str = "",
        operands: Mapping[str, str | float] = MappingProxyType({}),
    ) -> dict[str, Any]:
        expressions = _expressions(condition, tuple(values), (), (), (), ())
        return {"TableName": self._table_name, **_update(key, expressions, {**values, **operands})}

    def insert(self, items: Sequence[Mapping[str, str | float]], deadline: float) -> None:
        """Write new items, which have the same attributes, without those that exist: these stay as they are.

        PartiQL's INSERT is the one write with that condition that has batches.
        https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-reference.insert.html
        """
        for first in range(0, len(items), _ITEMS_PER_INSERT):
            waiting = items[first : first + _ITEMS_PER_INSERT]
            for attempt in itertools.count(1):
                waiting, codes = self._insert(waiting, deadline)
                if not waiting:
                    break
                seconds = backoff(attempt)
                if not codes <= _BUSY or time.monotonic() + seconds >= deadline:
                    remedy = "check that the role allows dynamodb:PartiQLInsert, and the table's capacity"
                    problem = f"{min(codes - _BUSY or codes)} for {len(waiting)} new items"
                    raise StateUnavailable(problem, source=f"table {self._table_name}", remedy=remedy)
                time.sleep(seconds)

    def _insert(
        self, items: Sequence[Mapping[str, str | float]], deadline: float
    ) -> tuple[list[Mapping[str, str | float]], set[str]]:
        """Write new items once, and return those that were refused, with the codes of the refusals."""
        statements = [self._insertion(one) for one in items]
        answer = self._call("BatchExecuteStatement", {"Statements": statements}, deadline, of_table=False)
        codes = [one.get("Error", {}).get("Code", _EXISTS) for one in answer.get("Responses", ())]
        refused = [(one, code) for one, code in zip(items, codes, strict=False) if code != _EXISTS]
        return [one for one, _ in refused], {code for _, code in refused}

    def _insertion(self, item: Mapping[str, str | float]) -> dict[str, Any]:
        fields = ", ".join(f"'{name}': ?" for name in item)
        statement = f'INSERT INTO "{self._table_name}" VALUE {{{fields}}}'
        return {"Statement": statement, "Parameters": [table.encode(value) for value in item.values()]}

    def get(self, key: str, deadline: float) -> Item:
        """Return the item with this key; an empty one where there is none."""
        request = {"Key": {table.KEY: table.encode(key)}, "ConsistentRead": True}
        item: Item = self._call("GetItem", request, deadline).get("Item", {})
        return item

    def keys(self, index: str, shard: str) -> Iterator[tuple[float, str]]:
        """Yield sort key and key of the items in one partition of an index, the latest first."""
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

    def of(self, keys: list[str]) -> dict[str, Item]:
        """Return the items with these keys, by key."""
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

    def _call(
        self, operation: str, request: Mapping[str, Any], deadline: float, *, of_table: bool = True
    ) -> dict[str, Any]:
        request = {"TableName": self._table_name, **request} if of_table else request
        try:
            return self._transport.call("dynamodb", operation, _encoded(request), deadline=deadline, **self._where)
        except CallFailed as error:
            remedy = _REMEDIES.get(error.code, f"check the network, and that the role allows dynamodb:{operation}")
            raise StateUnavailable(error.problem, source=f"table {self._table_name}", remedy=remedy) from error


def _update(key: str, expressions: Mapping[str, Any], given: Mapping[str, Value]) -> dict[str, Any]:
    """Return what an update is made of: its item, its expressions, and the values that these name."""
    values = {f":{name}": table.encode(value) for name, value in given.items()}
    named = {"ExpressionAttributeValues": values} if values else {}
    return {"Key": {table.KEY: table.encode(key)}, **expressions, **named}


def _cancellations(error: StateUnavailable) -> set[str]:
    """Return why a transaction was cancelled: a code for each of its items, or nothing where it was not."""
    refusal = error.__cause__
    if not isinstance(refusal, CallFailed) or refusal.code != "TransactionCanceledException":
        return set()
    reasons = refusal.content.get("CancellationReasons")
    return {str(one.get("Code")) for one in reasons if isinstance(one, dict)} if isinstance(reasons, list) else set()


def _encoded(request: Mapping[str, Any]) -> Mapping[str, Any] | bytes:
    try:
        return msgspec.json.encode(request)
    except UnicodeEncodeError:  # half a character, as anybody may have sent: DynamoDB says what it thinks of it
        return request


@functools.lru_cache
def _expressions(
    condition: str,
    values: tuple[str, ...],
    defaults: tuple[str, ...],
    increments: tuple[str, ...],
    appends: tuple[str, ...],
    removals: tuple[str, ...],
) -> dict[str, Any]:
    """Return the expressions of an update that sets the attributes with these names. There are few different ones."""
    clauses = {
        "SET": [f"#{name} = :{name}" for name in values]
        + [f"#{name} = if_not_exists(#{name}, :{name})" for name in defaults]
        + [f"#{name} = list_append(if_not_exists(#{name}, :nothing), :{name})" for name in appends],
        "REMOVE": [f"#{name}" for name in removals],
        "ADD": [f"#{name} :{name}" for name in increments],
    }
    expression = " ".join(f"{verb} {', '.join(parts)}" for verb, parts in clauses.items() if parts)
    found = {
        "ConditionExpression": condition,
        "UpdateExpression": expression,
        "ExpressionAttributeNames": {name: name[1:] for name in re.findall(r"#\w+", f"{condition} {expression}")},
    }
    return {name: value for name, value in found.items() if value}


_REMEDIES = {
    "ResourceNotFoundException": "create the table, or correct LAMBDA_TASKS_TABLE",
    "ValidationException": "create the table with the keys and indexes that lambda_tasks.state.table says",
}
