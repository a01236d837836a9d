"""Events to partial batch responses: messages that cannot run, events of any shape, and what is logged."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogue import tasks
from events import Context, message_body, sqs_event, sqs_record
from lambda_tasks.definition.lookup import Lookup
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.errors import InvalidEvent, LambdaTasksError, MessageDeferred, TaskNotAllowed, UnknownTask
from lambda_tasks.settings import Settings
from memory_state import MemoryState
from workers import Dispatched, worker

WORKER = worker()
ADD, FAIL = "catalogue.tasks.add", "catalogue.tasks.fail"


pytestmark = pytest.mark.usefixtures("nothing_ran")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("{", "the body is malformed: Input data was truncated: send "),
        (message_body("catalogue.tasks.nothing"), "catalogue.tasks has no nothing (task catalogue.tasks.nothing): deploy it"),
        (message_body("catalogue.nothing.add"), "there is no module catalogue.nothing (task catalogue.nothing.add): deploy it"),
        (message_body("nothing.at.all"), "there is no module nothing (task nothing.at.all): deploy it"),
        (message_body("add"), "the name is not a dotted path (task add): use package.module.task"),
        (message_body("catalogue..add\n"), "the name is not a dotted path (task catalogue..add\\n): use package.module.task"),
        (message_body("os.system", command="true"), "the object is not a task (task os.system): put @task above"),
        (message_body("catalogue.tasks.undecorated"), "the object is not a task (task catalogue.tasks.undecorated): put"),
        (message_body(ADD, number="1"), "the kwargs do not fit: Expected `int`, got `str` - at `$.number` (task "),
        (message_body("catalogue.tasks.misannotated", order=1), "unusable annotations: name 'Nowhere' is not defined (task"),
    ],
)  # fmt: skip
def test_a_message_that_can_never_run_is_rejected(body: str, error: str) -> None:
    """A malformed body, an unknown task, one that is no task, and bad kwargs are rejected, each saying why."""
    record = sqs_record(body)
    dispatched = Dispatched(WORKER, record)
    assert dispatched.outcomes == ["rejected"]
    assert str(dispatched.errors[0]).startswith(error)
    assert dispatched.kept == [record["messageId"]]
    assert tasks.ran == []


def test_a_module_that_cannot_be_imported_is_tried_again() -> None:
    """A task whose module is there and breaks when it is imported may be there at the next delivery."""
    dispatched = Dispatched(WORKER, sqs_record(message_body("catalogue.broken.task")))
    assert dispatched.outcomes == ["retrying"]
    assert isinstance(dispatched.errors[0], ModuleNotFoundError)


@pytest.mark.parametrize(
    ("modules", "name", "error"),
    [
        (("catalogue.tasks",), ADD, None),
        (("catalogue.*",), ADD, None),
        (("other", "catalogue.*"), ADD, None),
        (("catalogue",), ADD, TaskNotAllowed),
        (("cata.*",), ADD, TaskNotAllowed),
        (("catalogue.elsewhere",), "catalogue.elsewhere.add", TaskNotAllowed),
        (("catalogue.tasks",), "antigravity.fly", TaskNotAllowed),
        (("catalogue.tasks",), "catalogue.tasks.nothing", UnknownTask),
    ],
)
def test_modules_outside_of_the_list_are_refused(
    modules: tuple[str, ...], name: str, error: type[LambdaTasksError] | None
) -> None:
    """With an allow-list a task runs only from a listed module, however it is reached, and nothing else is imported."""
    dispatched = Dispatched(worker(Settings(modules=modules)), sqs_record(message_body(name, number=1)))
    assert type(dispatched.errors[0]) is (error or type(None))
    assert dispatched.outcomes == ["rejected" if error else "succeeded"]


def test_listed_modules_are_imported_before_the_first_message() -> None:
    """Modules that the allow-list names in full are imported in the init phase; one that is not there is an error then."""
    Lookup(Settings(modules=("catalogue.tasks", "nothing.*"))).import_modules()
    with pytest.raises(ModuleNotFoundError):
        Lookup(Settings(modules=("nothing.tasks",))).import_modules()


def test_one_message_as_the_event_returns_its_result() -> None:
    """A message that is the event itself runs, and its result, or its error, goes to the invoker."""
    assert dispatch({"task_name": ADD, "kwargs": {"number": 1}}, Context(), WORKER) == 2
    with pytest.raises(ConnectionError):
        dispatch({"task_name": FAIL}, Context(), WORKER)
    with pytest.raises(UnknownTask):
        dispatch({"task_name": "a.b"}, Context(), WORKER)


def test_a_message_as_the_event_has_the_same_limits_and_leases() -> None:
    """Delivered twice by Lambda, a message that is the event runs once; one whose time is up is an error."""
    made = worker(state=MemoryState())
    assert dispatch({"task_name": ADD, "kwargs": {"number": 1}}, Context(), made) == 2
    assert dispatch({"task_name": ADD, "kwargs": {"number": 1}}, Context(), made) is None
    assert tasks.ran == [1]
    made.state = None
    with pytest.raises(MessageDeferred, match=r"hold_time.*invoke the function again"):
        dispatch({"task_name": "catalogue.tasks.hold_time", "kwargs": {"seconds": 9}}, Context(0.1), made)


def test_an_sns_notification_is_unwrapped() -> None:
    """The message inside of an SNS notification runs, and the notification's attributes are the message's context."""
    attributes = {"tenant": {"Type": "String", "Value": "acme"}, "blob": {"Type": "Binary", "Value": "AA=="}}
    notification = {"Type": "Notification", "MessageId": "n", "TopicArn": "arn:aws:sns:eu-west-1:123456789012:topic"}
    inner = message_body("catalogue.tasks.note_context")
    record = sqs_record(json.dumps({**notification, "Message": inner, "MessageAttributes": attributes}))
    bad = sqs_record(json.dumps({**notification, "Message": "no JSON"}))
    dispatched = Dispatched(WORKER, record, bad)
    assert dispatched.outcomes == ["succeeded", "rejected"]
    assert [one[:3] for one in tasks.seen] == [(record["messageId"], 1, {"tenant": "acme"})]
    assert str(dispatched.errors[1]).startswith("the body is malformed: JSON is malformed")


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        ({}, "the event is an object with the keys (none)"),
        ({"canary": 1, "b": 2}, "the event is an object with the keys 'b', 'canary'"),
        ([], "the event is of type list"),
        (None, "the event is of type NoneType"),
    ],
)
def test_another_event_is_refused(event: object, problem: str) -> None:
    """An event of another kind is an error that says what was expected."""
    with pytest.raises(InvalidEvent) as caught:
        dispatch(event, Context(), WORKER)
    assert str(caught.value) == (
        f'{problem}: expected an SQS event {{"Records": [...]}}, or one message {{"task_name": "...", "kwargs": {{...}}}}'
    )


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([ADD, FAIL, "os.system", "catalogue.tasks.undecorated", "catalogue.broken.x"]) | st.text()
BODIES = st.one_of(
    st.text(),
    st.none(),
    JSON,
    st.builds(message_body, NAMES),
    st.builds(message_body, NAMES, number=JSON),
)


@given(st.lists(BODIES, max_size=4))
def test_no_body_raises_out_of_the_dispatcher(bodies: list[object]) -> None:
    """For any bodies the answer names each message whose task did not return, and no other."""
    records = [sqs_record(body) for body in bodies]
    dispatched = Dispatched(WORKER, *records)
    assert dispatched.kept == [
        record["messageId"]
        for record, outcome in zip(records, dispatched.outcomes, strict=True)
        if outcome != "succeeded"
    ]


RECORDS = st.fixed_dictionaries(
    {},
    optional={"messageId": st.text(max_size=4) | JSON, "body": BODIES, "attributes": JSON, "messageAttributes": JSON},
)


@given(JSON | st.fixed_dictionaries({"Records": JSON | st.lists(RECORDS | JSON, max_size=3)}))
def test_any_event_is_answered_or_refused(event: object) -> None:
    """An event of any shape is answered, or refused with an error of ours; no message is deleted that did not succeed."""
    tasks.ran.clear()
    try:
        answer: Any = dispatch(event, Context(), WORKER)
    except LambdaTasksError:
        return
    if isinstance(event, dict) and "Records" in event:
        kept = [item["itemIdentifier"] for item in answer["batchItemFailures"]]
        assert all(isinstance(message_id, str) and message_id for message_id in kept)
        # A task that fails has run too, and its message is kept.
        assert len(kept) <= len(event["Records"]) <= len(kept) + len(tasks.ran)


def test_one_log_record_a_message_tells_what_became_of_it(caplog: pytest.LogCaptureFixture) -> None:
    """Each message has one log record, with the keys to filter by; kwargs are not in it."""
    record = sqs_record(message_body(ADD, number=424242), ApproximateReceiveCount="3")
    bad = sqs_record("{", ApproximateReceiveCount="x", SentTimestamp="")
    failing = sqs_record(message_body(FAIL))
    with caplog.at_level(logging.INFO, "lambda_tasks"):
        dispatch(sqs_event(record, bad, failing), Context(), WORKER)
    succeeded, rejected, failed = (vars(one) for one in caplog.records)
    keys = ("task", "message_id", "outcome", "attempt", "levelname")
    assert [succeeded[key] for key in keys] == [ADD, record["messageId"], "succeeded", 3, "INFO"]
    assert [rejected[key] for key in keys] == [None, bad["messageId"], "rejected", 1, "ERROR"]
    assert [failed[key] for key in keys] == [FAIL, failing["messageId"], "failed", 1, "ERROR"]
    assert succeeded["duration_ms"] >= 0
    assert succeeded["queue_latency_ms"] > 0
    assert rejected["queue_latency_ms"] is None
    assert "424242" not in caplog.text
    assert "ConnectionError: the other side is down" in caplog.text
