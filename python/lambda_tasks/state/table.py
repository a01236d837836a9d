"""The table of leases and records: its keys and its items.

One table, on demand, with the partition key ``id`` (a string) and no sort key. An item is

- of a message, ``message#<message id>``: its lease (``lease_owner``, ``lease_until``) and its record (``status``,
  ``task``, ``attempts``, ``first_received_at``, ``started_at``, ``finished_at``, ``first_failed_at``, ``result``,
  ``error_type``, ``error_class``, ``error_message``, ``traceback``, ``reason``, ``request``, ``duplicate_of``; the
  `DETAILS` of its last attempt; ``history``, see `lambda_tasks.state.history`; ``queued_at``, ``received_at``;
  ``steps``, how far its steps have come; ``turn_at``, a turn of its rate limit that it did not use yet; ``final`` where
  it never runs again, ``letter_sent_at``, ``letter_until``);
- of a step that a message has finished, ``step#<message id>#<hash of its name>``: the name (``step``) and what is kept
  (``content``);
- of a singleton, ``singleton#<hash>``: a lease, with the ``message_id`` that took it last and when (``taken_at``), the
  ``seconds`` that its task took, and the turn of the next message that waits (``next_at``);
- of a rate limit, ``turns#<hash>``: ``given_to`` and ``used_to``, in microseconds, of `lambda_tasks.state.turns`;
- of a key of the business, ``key#<hash>``: such a lease, and after a success ``kept_until``, until when it is kept,
  with the ``result`` and the ``check`` of the message that succeeded.

Attributes are added, and never change their meaning: functions with layers of several releases share a table. A message
that is queued has the status that releases before know, ``deferred``, and lies in partitions of ``by_status`` of its
own. Its time there is that of its sending, and ``received_at`` is what ``first_received_at`` is otherwise.

All times are numbers, in epoch seconds. ``expires_at`` is the attribute for the table's time to live. DynamoDB may take
days to delete an item that has expired, so nothing relies on it: every reader compares the time itself.

Two global secondary indexes, ``by_task`` and ``by_status``, have the partition keys ``task_shard`` and ``status_shard``
(strings), the sort key ``first_received_at`` (a number) and project keys only. The partition keys end in ``#0`` to
``#7``, because one index partition takes 1,000 writes a second, and would hold up the writes to the table beyond that.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lambda_tasks.state import history
from lambda_tasks.state.protocol import Kept
from lambda_tasks.state.record import Status, StoredRecord

if TYPE_CHECKING:
    from lambda_tasks.state.protocol import KeyLease, Queued
    from lambda_tasks.state.turns import RateLimit

KEY = "id"
TIME_TO_LIVE = "expires_at"
SORT_KEY = "first_received_at"
INDEXES = {"by_task": "task_shard", "by_status": "status_shard"}
SHARDS = 8
DETAILS = (
    "queue",
    "request_id",
    "function_version",
    "log_stream",
    "python",
    "context",
    "kwargs",
    "kwargs_note",
    "replay_of",
    "part_of",
)

Item = Mapping[str, Mapping[str, Any]]
"""An item as the API has it: ``{"id": {"S": "..."}, "attempts": {"N": "1"}}``."""


def create_table_request(table: str) -> dict[str, Any]:
    """Return the arguments of CreateTable. Time to live is a call of its own, UpdateTimeToLive."""
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


def step_key(message_id: str, name: str) -> str:
    """Return the key of a step's item. The name may be long, and a key has at most 2,048 bytes."""
    import hashlib  # noqa: PLC0415 - for messages with steps

    return f"step#{message_id}#{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def lease_key(lease: KeyLease) -> str:
    """Return the key of a singleton's item, or of a key of the business."""
    return f"{'singleton' if lease.kept_seconds is None else 'key'}#{lease.key}"


def turns_key(limit: RateLimit) -> str:
    """Return the key of a rate limit's item."""
    return f"turns#{limit.key}"


def shard(name: str, message_id: str) -> str:
    """Return the partition of an index that the message's item lies in."""
    return f"{name}#{zlib.crc32(message_id.encode('utf-8', 'replace')) % SHARDS}"


def shards(name: str) -> list[str]:
    """Return every partition of an index that items of `name` lie in."""
    return [f"{name}#{number}" for number in range(SHARDS)]


def encode(value: str | float | Sequence[str]) -> dict[str, Any]:
    """Return an attribute's value as the API has it."""
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, (list, tuple)):
        return {"L": [{"S": one} for one in value]}
    return {"N": f"{value:.3f}".rstrip("0").rstrip(".")}


def text(item: Item, name: str) -> str | None:
    """Return a textual attribute, or None where there is none."""
    return item.get(name, {}).get("S")


def number(item: Item, name: str) -> float | None:
    """Return a numeric attribute, or None where there is none."""
    value = item.get(name, {}).get("N")
    return None if value is None else float(value)


def texts(item: Item, name: str) -> tuple[str, ...]:
    """Return the texts of a list attribute; none where there is no such attribute."""
    found = (one.get("S") for one in item.get(name, {}).get("L", ()))
    return tuple(one for one in found if one is not None)


def queued_item(message: Queued, expires_at: int) -> dict[str, str | float]:
    """Return the attributes of a message that was sent."""
    item: dict[str, str | float] = {
        KEY: message_key(message.message_id),
        "task": message.task,
        "status": Status.DEFERRED.value,
        "queue": message.queue,
        "queued_at": message.queued_at,
        SORT_KEY: message.queued_at,
        "task_shard": shard(message.task, message.message_id),
        "status_shard": shard(Status.QUEUED.value, message.message_id),
        TIME_TO_LIVE: expires_at,
    }
    more = {"replay_of": message.replay_of, "request": message.request}
    return item | {name: value for name, value in more.items() if value}


def as_kept(item: Item) -> Kept:
    """Return what the item of a key keeps of the message that succeeded."""
    return Kept(text(item, "message_id") or "", text(item, "result"), text(item, "check") or "")


def as_record(item: Item) -> StoredRecord:
    """Return the record that a message's item holds."""
    status, queued_at = Status(text(item, "status")), number(item, "queued_at")
    received_at = number(item, "received_at")
    if queued_at is not None and status is Status.DEFERRED and number(item, "finished_at") is None:
        status = Status.QUEUED
    return StoredRecord(
        message_id=(text(item, KEY) or "").partition("#")[2],
        task=text(item, "task") or "",
        status=status,
        attempts=round(number(item, "attempts") or 0),
        first_received_at=(number(item, SORT_KEY) if received_at is None else received_at) or 0,
        started_at=number(item, "started_at") or 0,
        finished_at=number(item, "finished_at"),
        first_failed_at=number(item, "first_failed_at"),
        result=text(item, "result"),
        error_type=text(item, "error_type"),
        error_message=text(item, "error_message"),
        traceback=text(item, "traceback"),
        # A release before leaves the reason of an earlier attempt where it is.
        duplicate_of=text(item, "duplicate_of") if status is Status.SKIPPED else None,
        reason=text(item, "reason") if status in (Status.DEFERRED, Status.SKIPPED, Status.FAILED) else None,
        **{name: text(item, name) for name in DETAILS},
        queued_at=queued_at,
        history=history.read(texts(item, "history")),
        error_class=text(item, "error_class"),
        request=text(item, "request"),
        steps=text(item, "steps"),
    )
