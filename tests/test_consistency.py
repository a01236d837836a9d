"""Reads of the table see what was written before: they ask for it."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest

import fault_proxy
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.state.protocol import Attempt
from stores import Clock, create_table, dynamodb_state, soon, transport

READS = {"GetItem", "BatchGetItem"}


@pytest.mark.parametrize("read", sorted(READS))
def test_reads_of_items_are_consistent(embedded_aws: EmbeddedAws, read: str) -> None:
    """Whoever waits for a message's result sees it once it is written, and a duplicate sees the success before it."""
    asked: list[tuple[str, Any]] = []

    def note(operation: str, body: bytes) -> None:
        asked.append((operation, json.loads(body)))

    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(fault_proxy.serve(embedded_aws.endpoint_url))
        way = stack.enter_context(transport({**embedded_aws.environ(), "AWS_ENDPOINT_URL": proxy.url}))
        proxy.meets = note
        state = dynamodb_state(way, create_table(embedded_aws), Clock(time.time()))
        state.start(Attempt("message", "task", 10), deadline=soon())

        assert state.record("message", deadline=soon()) is not None
        assert [record.message_id for record in state.records_of_task("task")] == ["message"]

    requests = [request for operation, request in asked if operation == read]
    assert requests
    assert all(_consistent(request) for request in requests)


def _consistent(request: dict[str, Any]) -> bool:
    tables = request.get("RequestItems", {"": request}).values()
    return all(table["ConsistentRead"] is True for table in tables)
