"""Events that are one message themselves: their context, their options, and their key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from catalogue import observed, tasks
from events import Context
from lambda_tasks.containers.one_message import record_of as record_of_job
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.errors import InvalidEvent
from memory_state import MemoryState
from workers import reports, worker

ADD = "catalogue.tasks.add"
KEY = "arn:aws:scheduler:eu-west-1:123456789012:schedule/default/nightly 2026-11-21T03:00:00Z"


@pytest.fixture(autouse=True)
def _nothing_ran() -> Iterator[None]:
    tasks.ran.clear()
    yield
    tasks.ran.clear()


def looked_around(**event: Any) -> dict[str, Any]:
    """Return what a task sees that an event with these fields runs."""
    seen: Any = dispatch({"task_name": observed.look_around.name, **event}, Context(), worker())
    return {name: value for name, value in seen.items() if name not in ("attempt", "task")}


@pytest.mark.parametrize(
    "event",
    [
        {"context": {"tenant": "acme", "correlation_id": "c"}},
        {"context": {"tenant": "acme"}, "messageAttributes": {"correlation_id": "c"}},
        {"messageAttributes": {"tenant": "acme", "correlation_id": {"stringValue": "c"}}},
        {"messageAttributes": {"tenant": {"StringValue": "acme", "DataType": "String"}, "correlation_id": "c"}},
        {"messageAttributes": {"tenant": {"Type": "String", "Value": "acme"}, "correlation_id": "c"}},
        {
            "messageAttributes": {
                "lambda_tasks_context": {
                    "stringValue": '{"tenant": "other", "correlation_id": "c"}',
                    "dataType": "String",
                }
            },
            "context": {"tenant": "acme"},
        },
        {"context": {"tenant": "acme", "correlation_id": "c"}, "messageAttributes": {"bad": ["a"], "no": None}},
        {"context": {"tenant": "acme", "correlation_id": "c"}, "messageAttributes": {"lambda_tasks_context": "{"}},
    ],
)
def test_an_event_carries_context(event: dict[str, Any]) -> None:
    """Context, and attributes in any spelling of AWS's, are what a message's are; what is none is left out."""
    assert looked_around(**event) == {"tenant": "acme", "correlation_id": "c"}


def test_a_trace_goes_on_from_a_context() -> None:
    """A ``traceparent`` among the context is the message's own, and no value."""
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    context = {"traceparent": traceparent, "tracestate": "x=y", "number": 1}
    assert looked_around(context=context) == {"correlation_id": Context().aws_request_id, "number": 1}


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"context": "acme"}, "its context is of type str: give an object"),
        ({"context": ["acme"]}, "its context is of type list"),
        ({"messageAttributes": ["a"]}, "its messageAttributes is of type list"),
        ({"idempotency_key": 5}, "its idempotency_key is of type int: give a text"),
        ({"idempotency_key": "<aws.scheduler.scheduled-time>"}, "nobody has replaced: use EventBridge Scheduler"),
        (
            {"messageAttributes": {"lambda_tasks_idempotency_key": "x <aws.scheduler.execution-id>"}},
            "nobody has replaced",
        ),
    ],
)
def test_what_is_not_of_its_type_is_an_error(event: dict[str, Any], words: str) -> None:
    """An event whose context, attributes or key cannot be read runs nothing, and says why."""
    with pytest.raises(InvalidEvent, match=words):
        dispatch({"task_name": ADD, "kwargs": {"number": 1}, **event}, Context(), worker())
    assert tasks.ran == []


def test_nothing_beside_the_message_is_nothing() -> None:
    """Fields that are null are not there."""
    event = {"task_name": ADD, "kwargs": {"number": 1}, "context": None, "messageAttributes": None}
    assert dispatch({**event, "idempotency_key": None}, Context(), worker()) == 2


@pytest.mark.parametrize(
    "given",
    [
        {"idempotency_key": KEY},
        {"messageAttributes": {"lambda_tasks_idempotency_key": {"stringValue": KEY, "dataType": "String"}}},
    ],
)
def test_a_second_delivery_of_one_firing_does_not_run(given: dict[str, Any]) -> None:
    """With a table two invocations with the id of one firing run once; the next firing runs, and so does a failed one."""
    made = worker(state=MemoryState())

    def fire(request_id: str, **event: Any) -> object:
        context = Context()
        context.aws_request_id = request_id
        return dispatch({"task_name": ADD, "kwargs": {"number": 1}, **event}, context, made)

    assert [fire("a", **given), fire("b", **given)] == [2, 2]
    assert tasks.ran == [1]
    assert fire("c", idempotency_key=KEY.replace("21T", "22T")) == 2
    assert tasks.ran == [1, 1]
    for request_id in ("d", "e"):
        with pytest.raises(ConnectionError):
            fire(request_id, task_name="catalogue.tasks.fail", idempotency_key="failing")


def test_an_event_may_expire() -> None:
    """An event whose time is over when Lambda gets to it is skipped, as a message is."""
    with reports() as told:
        event = {"task_name": ADD, "kwargs": {"number": 1}, "messageAttributes": {"lambda_tasks_expires_at": "1.0"}}
        assert dispatch(event, Context(), worker()) is None
    assert ([one.outcome.value for one in told], tasks.ran) == (["skipped"], [])


def test_a_job_takes_the_same_events() -> None:
    """What a container gets as its message may have context beside it too."""
    record = record_of_job(
        json.dumps({"task_name": ADD, "context": {"tenant": "a"}, "idempotency_key": "k"}), {"AWS_BATCH_JOB_ID": "j"}
    )
    assert record["messageId"] == "j"
    assert json.loads(record["body"]) == {"task_name": ADD}
    texts = {name: one["stringValue"] for name, one in record["messageAttributes"].items()}
    assert texts == {"lambda_tasks_context": '{"tenant": "a"}', "lambda_tasks_idempotency_key": "k"}
