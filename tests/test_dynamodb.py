"""The table itself: its request, its readers' paging, and what happens when DynamoDB does not do what it is asked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import fault_proxy
import fault_server
import lambda_tasks
import stores
from fault_proxy import Fault, FaultProxy
from fault_server import Script, answer, hang, reset
from lambda_tasks.errors import InvalidSetting, LambdaTasksError, StateUnavailable
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.settings import Settings
from lambda_tasks.state import dynamodb_items, opening, table
from lambda_tasks.state.dynamodb import DynamoDbState
from lambda_tasks.state.protocol import AlreadySucceeded, Attempt, Busy, KeyLease, Queued, Started, State
from lambda_tasks.state.record import Ending, Status
from stores import Clock, create_table, dynamodb_state, soon
from wrapper import ROOT, base_environ

TASK = "shop.tasks.send"
SUCCESS = Ending(Status.SUCCEEDED)


@pytest.fixture(scope="module")
def table_name(embedded_aws: EmbeddedAws) -> str:
    return create_table(embedded_aws)


@pytest.fixture
def proxy(embedded_aws: EmbeddedAws) -> Iterator[FaultProxy]:
    with fault_proxy.serve(embedded_aws.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def state(embedded_aws: EmbeddedAws, proxy: FaultProxy, table_name: str) -> Iterator[DynamoDbState]:
    """A store behind the proxy."""
    with stores.transport({**embedded_aws.environ(), "AWS_ENDPOINT_URL": proxy.url}) as transport:
        yield dynamodb_state(transport, table_name, Clock())


def attempt(message_id: str | None = None) -> Attempt:
    return Attempt(message_id or str(uuid.uuid4()), TASK, 60)


def lease() -> KeyLease:
    return KeyLease(uuid.uuid4().hex, uuid.uuid4().hex, 60, "m-1")


def every_call(one: Attempt, singleton: KeyLease) -> dict[str, Callable[[State, float], object]]:
    """Return each operation of a store, as a call with a deadline."""
    return {
        "start": lambda state, deadline: state.start(one, deadline=deadline),
        "finish": lambda state, deadline: state.finish(one, SUCCESS, deadline=deadline),
        "release": lambda state, deadline: state.release(one, SUCCESS, deadline=deadline),
        "acquire": lambda state, deadline: state.acquire(singleton, deadline=deadline),
        "surrender": lambda state, deadline: state.surrender(singleton, deadline=deadline),
        "record": lambda state, deadline: state.record(one.message_id, deadline=deadline),
        "records_of_task": lambda state, _: list(state.records_of_task(TASK)),
        "records_with_status": lambda state, _: list(state.records_with_status(Status.FAILED)),
    }


CALLS = list(every_call(attempt(), lease()))


def test_the_table_is_as_the_request_says(embedded_aws: EmbeddedAws, table_name: str) -> None:
    """The request for the table is one that DynamoDB takes, with time to live on the attribute that is meant for it."""
    client = embedded_aws.client("dynamodb")
    specification = {"Enabled": True, "AttributeName": table.TIME_TO_LIVE}
    client.update_time_to_live(TableName=table_name, TimeToLiveSpecification=specification)
    described = client.describe_table(TableName=table_name)["Table"]
    assert described["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
    assert {index["IndexName"] for index in described["GlobalSecondaryIndexes"]} == {"by_task", "by_status"}


def test_the_documents_show_how_to_create_the_table() -> None:
    """The documented command prints the request for the table, and names the attribute for time to live."""
    page = (ROOT / "docs" / "how-to" / "records.md").read_text()
    (program,) = re.findall(r"\$\(python -c '([^']*create_table_request[^']*)'\)", page)
    printed = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, stdout=subprocess.PIPE).stdout
    assert json.loads(printed) == table.create_table_request("tasks")
    assert f"Enabled=true,AttributeName={table.TIME_TO_LIVE}\n" in page


def test_time_to_live_is_a_number_of_seconds(embedded_aws: EmbeddedAws, state: State, table_name: str) -> None:
    """Messages and singletons have the attribute that DynamoDB deletes by: whole epoch seconds, after their lease."""
    one, singleton = attempt(), lease()
    state.start(one, deadline=soon())
    state.acquire(singleton, deadline=soon())
    for key in (f"message#{one.message_id}", f"singleton#{singleton.key}"):
        answer = embedded_aws.client("dynamodb").get_item(TableName=table_name, Key={"id": {"S": key}})
        assert int(answer["Item"]["expires_at"]["N"]) == Clock().now + 14 * stores.DAY


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", [Fault.REQUEST_LOST, Fault.ANSWER_LOST, Fault.SERVER_ERROR])
def test_a_passing_fault_is_not_seen(state: DynamoDbState, proxy: FaultProxy, call: str, fault: Fault) -> None:
    """A request or an answer that is lost, or a 500, is tried again, and the call counts once."""
    one, singleton = attempt(), lease()
    if call in ("finish", "release"):
        state.start(one, deadline=soon())
    if call == "surrender":
        state.acquire(singleton, deadline=soon())
    proxy.faults = [fault]
    every_call(one, singleton)[call](state, soon())
    assert proxy.faults == []
    if call == "start":
        record = state.record(one.message_id, deadline=soon())
        assert record is not None
        assert record.attempts == 1


@pytest.mark.parametrize("call", CALLS)
def test_a_refusal_is_an_error_that_names_the_permission(state: DynamoDbState, proxy: FaultProxy, call: str) -> None:
    """A refusal of DynamoDB is not tried again; the error says which table, and what to allow."""
    proxy.faults = [Fault.REFUSED]
    with pytest.raises(StateUnavailable, match=r"answered 400 AccessDeniedException \(table tasks-.*dynamodb:"):
        every_call(attempt(), lease())[call](state, soon())
    assert proxy.requests == 1


@pytest.mark.parametrize("call", ["start", "finish", "release", "acquire", "surrender", "record"])
@pytest.mark.parametrize("script", [hang, reset, answer(b"{}", status="503 Slow Down"), answer(b"[]")])
def test_no_answer_is_an_error_in_time(call: str, script: Script | Callable[[threading.Event], Script]) -> None:
    """If DynamoDB is silent, down or strange until the deadline, the caller gets one of our errors."""
    stop = threading.Event()
    with fault_server.serve(hang(stop) if script is hang else script) as server:  # type: ignore[arg-type]
        with stores.transport(base_environ(server.url)) as transport:
            silent = dynamodb_state(transport, "tasks", Clock())
            with pytest.raises(StateUnavailable):
                every_call(attempt(), lease())[call](silent, time.monotonic() + 0.2)
        stop.set()


def test_a_missing_table_is_an_error_that_says_so(embedded_aws: EmbeddedAws) -> None:
    """A table that is not there, and credentials that are not, are errors of ours."""
    problem = r"ResourceNotFoundException \(table nowhere\): create the table"
    with stores.transport(embedded_aws.environ()) as transport, pytest.raises(StateUnavailable, match=problem):
        dynamodb_state(transport, "nowhere", Clock()).start(attempt(), deadline=soon())
    environ = {"AWS_ENDPOINT_URL": embedded_aws.endpoint_url}
    with stores.transport(environ) as transport, pytest.raises(LambdaTasksError, match="there are no AWS credentials"):
        dynamodb_state(transport, "tasks", Clock()).start(attempt(), deadline=soon())


def test_a_condition_that_fails_costs_no_read(state: DynamoDbState, proxy: FaultProxy) -> None:
    """The answer to a refused write holds the item that refused it."""
    one = attempt()
    state.start(one, deadline=soon())
    proxy.requests = 0
    assert isinstance(state.start(attempt(one.message_id), deadline=soon()), Busy)
    assert proxy.requests == 1


FAILED_CONDITION = answer(
    b'{"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}', status="400 Bad Request"
)


def item(**attributes: str | float) -> dict[str, Any]:
    return {name: table.encode(value) for name, value in attributes.items()}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (item(status="running", lease_owner="x", lease_until=1_790_000_050), Busy(1_790_000_050)),
        (item(status="succeeded", lease_owner="x", finished_at=1_790_000_000), AlreadySucceeded(1_790_000_000)),
        (item(status="retrying", lease_owner="x"), Busy(1_790_000_000)),
        (item(status="running", lease_owner="us", lease_until=1_790_000_060, attempts=4), Started(4)),
        ({}, Busy(1_790_000_000)),
    ],
)
def test_an_emulation_without_the_item_is_asked_for_it(found: dict[str, Any], expected: object) -> None:
    """If the refusal does not hold the item, it is read; one that is free again by then is busy until now."""
    read = answer(json.dumps({"Item": found} if found else {}).encode())
    with fault_server.serve(FAILED_CONDITION, read) as server, stores.transport(base_environ(server.url)) as transport:
        one = Attempt("m-1", TASK, 60, owner="us")
        assert dynamodb_state(transport, "tasks", Clock()).start(one, deadline=soon()) == expected
        assert [b"GetItem" in head for head in server.heads] == [False, True]


def test_readers_page(state: DynamoDbState, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are found beyond the first page of each partition, and no page is read before it is needed."""
    monkeypatch.setattr(dynamodb_items, "_KEYS_PER_READ", 2)
    task = f"shop.tasks.t{uuid.uuid4().hex}"
    ids = {str(uuid.uuid4()) for _ in range(60)}
    for message_id in ids:
        state.start(Attempt(message_id, task, 60), deadline=soon())
    proxy.requests = 0
    records = state.records_of_task(task)
    found = {next(records).message_id}
    assert proxy.requests < 30
    assert found | {record.message_id for record in records} == ids


def test_records_that_dynamodb_leaves_out_are_asked_for_again() -> None:
    """Keys that an answer names as unprocessed are part of the next request."""
    one, other = (item(id=f"message#{name}", first_received_at=1, expires_at=2e9, status="failed") for name in "ab")
    keys = [{"id": found["id"], "first_received_at": found["first_received_at"]} for found in (one, other)]
    pages = [answer(json.dumps({"Items": keys}).encode()), *[answer(b'{"Items": []}')] * (table.SHARDS - 1)]
    unprocessed = {"tasks": {"Keys": [{"id": other["id"]}]}}
    reads = [{"Responses": {"tasks": [one]}, "UnprocessedKeys": unprocessed}, {"Responses": {"tasks": [other]}}]
    scripts = [*pages, *(answer(json.dumps(read).encode()) for read in reads), answer(b'{"Items": []}')]
    with fault_server.serve(*scripts) as server, stores.transport(base_environ(server.url)) as transport:
        records = dynamodb_state(transport, "tasks", Clock()).records_with_status(Status.FAILED)
        assert [record.message_id for record in records] == ["a", "b"]


def answers(*codes: str) -> Script:
    """The answer to a batch of insertions, with an error for each that has a code."""
    return answer(json.dumps({"Responses": [{"Error": {"Code": code}} if code else {} for code in codes]}).encode())


def sent(count: int) -> list[Queued]:
    return [Queued(f"m-{number}", TASK, "mail", Clock().now) for number in range(count)]


def test_what_is_throttled_of_a_batch_is_sent_again() -> None:
    """Items come 25 at a time; those that are there stay, and those that were throttled are sent again alone."""
    full = answers(*["ThrottlingError"] * 2, "DuplicateItem", *[""] * 22)
    with fault_server.serve(full, answers("", ""), answers("")) as server:
        with stores.transport(base_environ(server.url)) as transport:
            dynamodb_state(transport, "tasks", Clock()).queued(sent(26), deadline=soon())
        counts = [body.count(b"INSERT") for body in server.bodies]
    assert counts == [25, 2, 1]


def test_what_is_refused_of_a_batch_is_an_error() -> None:
    """What the table does not take at all is an error of ours at once, and what it does not take in time one then."""
    for script, count, seconds, problem in (
        (
            answers("", "AccessDenied"),
            2,
            20.0,
            r"AccessDenied for 1 new items \(table tasks\): check that the role allows",
        ),
        (answers("ThrottlingError"), 1, 0.3, "table tasks"),
    ):
        with fault_server.serve(script) as server, stores.transport(base_environ(server.url)) as transport:
            state = dynamodb_state(transport, "tasks", Clock())
            with pytest.raises(StateUnavailable, match=problem):
                state.queued(sent(count), deadline=time.monotonic() + seconds)


def test_messages_spread_over_the_partitions_of_an_index() -> None:
    """No partition of an index takes the writes of all messages."""
    assert {table.shard("failed", str(number)) for number in range(200)} == set(table.shards("failed"))


def test_the_store_is_the_one_that_the_settings_name(embedded_aws: EmbeddedAws, table_name: str) -> None:
    """Without a table there is no store; with a name it lies in the function's region, with an ARN in the ARN's."""
    with stores.transport(embedded_aws.environ()) as transport:
        assert opening.open_state(Settings(), {}, transport) is None
        opened = opening.open_state(Settings(table=table_name), embedded_aws.environ(), transport)
        assert opened is not None
        assert isinstance(opened.start(one := attempt(), deadline=soon()), Started)
        assert opened.record(one.message_id, deadline=soon()) is not None
    with fault_server.serve(answer(b"{}")) as server, stores.transport(base_environ(server.url)) as transport:
        arn = "arn:aws:dynamodb:ap-southeast-2:123456789012:table/tasks"
        elsewhere = opening.open_state(Settings(table=arn), base_environ(server.url), transport)
        assert elsewhere is not None
        assert elsewhere.record("m-1", deadline=soon()) is None
        assert b"/ap-southeast-2/dynamodb/" in server.heads[0]


@pytest.fixture
def _in_a_function(
    embedded_aws: EmbeddedAws,
    table_name: str,
    monkeypatch: pytest.MonkeyPatch,
    calls_of_its_own: None,  # noqa: ARG001
) -> None:
    """The environment of a function with a table."""
    for name, value in embedded_aws.environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LAMBDA_TASKS_TABLE", table_name)


@pytest.mark.usefixtures("_in_a_function")
def test_records_are_read_by_whoever_has_the_table() -> None:
    """`TaskRecord` finds records by message, task and status, with nothing but the function's settings."""
    one, task = attempt(), f"shop.tasks.t{uuid.uuid4().hex}"
    state = opening.of_process()
    state.start(Attempt(one.message_id, task, 60, owner=one.owner), deadline=soon())
    state.finish(one, Ending.of(Status.FAILED, error=ValueError("no")), deadline=soon())
    record = lambda_tasks.TaskRecord.get(one.message_id)
    assert record is not None
    assert (record.task, record.status, record.error_message) == (task, "failed", "no")
    assert list(lambda_tasks.TaskRecord.by_task(task)) == [record]
    assert record in lambda_tasks.TaskRecord.by_status("failed")
    assert f"{record.status}" == "failed"
    assert lambda_tasks.TaskRecord.get("m-0") is None


def test_without_a_table_there_are_no_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for a record says which setting is missing."""
    monkeypatch.delenv("LAMBDA_TASKS_TABLE", raising=False)
    with pytest.raises(InvalidSetting, match=r"there is no state table \(variable LAMBDA_TASKS_TABLE\)"):
        lambda_tasks.TaskRecord.get("m-1")
