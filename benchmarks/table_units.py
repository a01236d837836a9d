"""The units that DynamoDB counts for a message: ``python -m benchmarks.table_units`` prints them.

With ``--write`` it puts them into the page of the documents. Messages are dispatched, with the table in an embedded
AWS. Calls are counted where they are made, and items are measured as DynamoDB measures them.

Sources: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html and
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html#GSI.ThroughputConsiderations
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import table_tasks
from events import Context, message_body, sqs_event, sqs_record
from lambda_tasks.aws.credentials import CredentialChain
from lambda_tasks.aws.transport import Transport
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.dispatch.worker import Worker
from lambda_tasks.local.embedded_aws import EmbeddedAws, embedded_aws
from lambda_tasks.settings import Settings
from lambda_tasks.state.opening import open_state
from lambda_tasks.state.protocol import Queued
from lambda_tasks.state.table import INDEXES, SORT_KEY
from stores import create_table
from wrapper import base_environ

PAGE = Path(__file__).resolve().parent.parent / "docs" / "explanation" / "table-costs.md"
BEGIN, END = "<!-- table units: begin -->\n", "<!-- table units: end -->"
_FUNCTION = {"AWS_LAMBDA_FUNCTION_VERSION": "$LATEST", "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/21/[$LATEST]" + "0" * 32}
_ON_QUEUE = "arn:aws:sqs:eu-west-1:123456789012:orders"
_MODULE = "benchmarks.table_tasks."
_RECEIPT = {"order_id": 42, "total": "9.90"}
_UNIT_BYTES = 1024
_READ_UNIT_BYTES = 4 * 1024

Item = Mapping[str, Any]


@dataclass
class Cost:
    """The cost of what became of one message: calls of the table, units, and the bytes of the message's item."""

    name: str
    calls: int = 0
    write_units: int = 0
    read_units: int = 0
    item_bytes: int = 0


class Counting(Transport):
    """A transport that counts what DynamoDB would."""

    cost = Cost("")

    def call(self, service: str, operation: str, request: Any, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        """Make a call, and count its units."""
        if service != "dynamodb":
            return super().call(service, operation, request, **options)
        asked = json.loads(request) if isinstance(request, (bytes, str)) else request
        written = _keys(operation, asked)
        before = [self._item(key, asked, options) for key in written]
        self.cost.calls += 1
        try:
            return super().call(service, operation, request, **options)
        finally:
            for key, earlier in zip(written, before, strict=True):
                self._count(operation, key, earlier, self._item(key, asked, options))

    def _count(self, operation: str, key: str, before: Item, after: Item) -> None:
        if operation == "GetItem":
            self.cost.read_units += max(1, math.ceil(size(before) / _READ_UNIT_BYTES))
            return
        self.cost.write_units += max(1, math.ceil(max(size(before), size(after)) / _UNIT_BYTES))
        for partition in INDEXES.values():
            keys = [[one.get(name) for name in (partition, SORT_KEY)] for one in (before, after)]
            if keys[0] != keys[1]:
                self.cost.write_units += sum(None not in one for one in keys)  # one is deleted, another one put
        if key.startswith("message#"):
            self.cost.item_bytes = size(after)

    def _item(self, key: str, asked: Mapping[str, Any], options: Mapping[str, Any]) -> Item:
        name = asked.get("TableName") or re.findall(r'INTO "([^"]+)"', asked["Statements"][0]["Statement"])[0]
        read = {"TableName": name, "Key": {"id": {"S": key}}, "ConsistentRead": True}
        item: Item = super().call("dynamodb", "GetItem", read, **options).get("Item", {})
        return item


def _keys(operation: str, asked: Mapping[str, Any]) -> list[str]:
    if operation in ("UpdateItem", "GetItem"):
        return [asked["Key"]["id"]["S"]]
    if operation == "BatchExecuteStatement":
        return [one["Parameters"][0]["S"] for one in asked["Statements"]]
    raise NotImplementedError(operation)


def size(item: Item) -> int:
    """Return the bytes of an item, as DynamoDB counts them.

    Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html#ItemSizeCalculations
    """
    return sum(len(name.encode()) + _size_of(value) for name, value in item.items())


def _size_of(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind == "L":
        return 3 + sum(1 + _size_of(one) for one in content)
    if kind == "N":
        return math.ceil(len(re.sub(r"\D", "", content).strip("0")) / 2) + 1
    return len(content.encode())


class Table:
    """A function with a table, and what became of its messages."""

    def __init__(self, aws: EmbeddedAws) -> None:
        environ = {**base_environ(aws.endpoint_url), **aws.environ(), **_FUNCTION}
        settings = Settings(modules=("benchmarks.table_tasks",), table=create_table(aws))
        self.transport = Counting(CredentialChain(environ), environ)
        self._worker = Worker(settings, environ, transport=self.transport)
        self._worker.state = open_state(settings, environ, self.transport)

    def close(self) -> None:
        """Close the connections."""
        self._worker.close()
        self.transport.close()

    def dispatched(self, name: str, *records: Any) -> Cost:  # noqa: ANN401
        """Return the cost of deliveries, one after the other."""
        self.transport.cost = Cost(name)
        for record in records:
            dispatch(sqs_event(record), Context(), self._worker)
        return self.transport.cost

    def queued(self, record: Any) -> None:  # noqa: ANN401
        """Record a message as its producer does."""
        assert self._worker.state is not None  # noqa: S101 - for mypy
        message = Queued(record["messageId"], json.loads(record["body"])["task_name"], "orders", time.time())
        self._worker.state.queued([message], deadline=time.monotonic() + 10)


def message(task: str, kwargs: Mapping[str, object], receive_count: int = 1, message_id: str | None = None) -> Any:  # noqa: ANN401
    """Return the record of a message."""
    body = message_body(_MODULE + task, **kwargs)
    record = sqs_record(body, message_id=message_id, ApproximateReceiveCount=str(receive_count))
    return {**record, "eventSourceARN": _ON_QUEUE}


def costs(aws: EmbeddedAws) -> list[Cost]:
    """Return the cost of each thing that may become of a message."""
    with contextlib.closing(Table(aws)) as table:
        return [measured(table) for measured in MEASURED]


def _success(table: Table) -> Cost:
    return table.dispatched("succeeded", message("send_receipt", _RECEIPT))


def _queued(table: Table) -> Cost:
    record = message("send_receipt", _RECEIPT)
    table.transport.cost = Cost("")
    table.queued(record)
    sent = table.transport.cost
    run = table.dispatched("succeeded, and its producer recorded it", record)
    return Cost(run.name, sent.calls + run.calls, sent.write_units + run.write_units, run.read_units, run.item_bytes)


def _kwargs(table: Table) -> Cost:
    kwargs = {**_RECEIPT, "address": "x" * 1000}
    return table.dispatched("succeeded, with 1 KiB of kwargs recorded", message("send_recorded_receipt", kwargs))


def _result(table: Table) -> Cost:
    return table.dispatched("succeeded, with a result of 10 KiB", message("render", {"kilobytes": 10}))


def _retries(table: Table) -> Cost:
    table_tasks.down[:] = ["the other side is down"] * 2
    message_id = str(uuid.uuid4())
    tries = [message("charge_card", {"order_id": 42}, one, message_id) for one in (1, 2, 3)]
    return table.dispatched("succeeded at the third attempt", *tries)


def _duplicate(table: Table) -> Cost:
    record = message("send_receipt", _RECEIPT)
    table.dispatched("", record)
    return table.dispatched("a duplicate of a success", record)


def _singleton(table: Table) -> Cost:
    return table.dispatched("succeeded, of a `singleton`", message("count_stock", {"warehouse_id": 1}))


def _limited(table: Table) -> Cost:
    return table.dispatched("succeeded, within its `rate_limit`", message("geocode", {"address_id": 1}))


def _key(table: Table) -> Cost:
    return table.dispatched("succeeded, with an `idempotency_key`", message("send_once", _RECEIPT))


def _second_of_key(table: Table) -> Cost:
    return table.dispatched("another message of that key", message("send_once", _RECEIPT))


def _rejected(table: Table) -> Cost:
    return table.dispatched("rejected: there is no such task", message("nothing", {}))


MEASURED: Sequence[Callable[[Table], Cost]] = (
    _success,
    _queued,
    _kwargs,
    _result,
    _singleton,
    _limited,
    _key,
    _second_of_key,
    _retries,
    _rejected,
    _duplicate,
)


def rows(found: Sequence[Cost]) -> str:
    """Return the page's table."""
    head = "| a message | calls | write units | read units | bytes of its item |\n|---|---|---|---|---|\n"
    lines = (
        f"| {one.name} | {one.calls} | {one.write_units} | {one.read_units} | {round(one.item_bytes, -2):,} |\n"
        for one in found
    )
    return head + "".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Print the table, or put it into the page."""
    logging.disable()
    with embedded_aws() as aws:
        table = rows(costs(aws))
    if "--write" not in arguments:
        print(table, end="")
        return
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + table + END + rest.partition(END)[2])


if __name__ == "__main__":
    main(sys.argv[1:])
