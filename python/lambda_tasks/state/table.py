"""The table of leases and records: its keys, and what its items look like.

One table, on demand, with the partition key ``id`` (a string) and no sort key. An item is

- of a message, ``message#<message id>``: its lease (``lease_owner``, ``lease_until``) and its record (``status``,
  ``task``, ``attempts``, ``first_received_at``, ``started_at``, ``finished_at``, ``first_failed_at``, ``result``,
  ``error_type``, ``error_message``, ``traceback``);
- of a singleton, ``singleton#<hash>``: a lease alone, with the ``message_id`` that took it last.

All times are numbers, in epoch seconds. ``expires_at`` is the attribute for the table's time to live. DynamoDB may take
days to delete what has expired, so nothing relies on it: every reader compares the time itself.

Two global secondary indexes, ``by_task`` and ``by_status``, have the partition keys ``task_shard`` and ``status_shard``
(strings), the sort key ``first_received_at`` (a number) and project keys only. The partition keys end in ``#0`` to
``#7``, because one index partition takes 1,000 writes a second, and would hold up the writes to the table beyond that.
"""

from __future__ import annotations

import zlib
from typing import Any

from lambda_tasks.state.record import Status, StoredRecord

KEY = "id"
TIME_TO_LIVE = "expires_at"
SORT_KEY = "first_received_at"
INDEXES = {"by_task": "task_shard", "by_status": "status_shard"}
SHARDS = 8

Item = dict[str, dict[str, str]]
"""An item as the API has it: ``{"id": {"S": "..."}, "attempts": {"N": "1"}}``."""


def create_table_request(table: str) -> dict[str, Any]:
    """Return what CreateTable is to be called with. Time to live is a call of its own, UpdateTimeToLive."""
    kinds = {KEY: "S", SORT_KEY: "N"} | dict.fromkeys(INDEXES.values(), "S")
    return {
        "TableName": table,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": kind} for name, kind in kinds.items()],
        "KeySchema": [{"AttributeName": KEY, "KeyType": "HASH"}],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": index,
                "KeySchema": [
                    {"AttributeName": shard, "KeyType": "HASH"},
                    {"AttributeName": SORT_KEY, "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            for index, shard in INDEXES.items()
        ],
    }


def message_key(message_id: str) -> str:
    """Return the key of a message's item."""
    return f"message#{message_id}"


def singleton_key(key: str) -> str:
    """Return the key of a singleton's item."""
    return f"singleton#{key}"


def shard(name: str, message_id: str) -> str:
    """Return the partition of an index that the message's item lies in."""
    return f"{name}#{zlib.crc32(message_id.encode('utf-8', 'replace')) % SHARDS}"


def shards(name: str) -> list[str]:
    """Return every partition of an index that items of `name` lie in."""
    return [f"{name}#{number}" for number in range(SHARDS)]


def encode(value: str | float) -> dict[str, str]:
    """Return an attribute's value as the API has it."""
    return {"S": value} if isinstance(value, str) else {"N": f"{value:.3f}".rstrip("0").rstrip(".")}


def text(item: Item, name: str) -> str | None:
    """Return a textual attribute, or None where there is none."""
    return item.get(name, {}).get("S")


def number(item: Item, name: str) -> float | None:
    """Return a numeric attribute, or None where there is none."""
    value = item.get(name, {}).get("N")
    return None if value is None else float(value)


def as_record(item: Item) -> StoredRecord:
    """Return the record that a message's item holds."""
    return StoredRecord(
        message_id=(text(item, KEY) or "").partition("#")[2],
        task=text(item, "task") or "",
        status=Status(text(item, "status")),
        attempts=round(number(item, "attempts") or 0),
        first_received_at=number(item, SORT_KEY) or 0,
        started_at=number(item, "started_at") or 0,
        finished_at=number(item, "finished_at"),
        first_failed_at=number(item, "first_failed_at"),
        result=text(item, "result"),
        error_type=text(item, "error_type"),
        error_message=text(item, "error_message"),
        traceback=text(item, "traceback"),
    )
