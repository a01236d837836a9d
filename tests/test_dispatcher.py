"""Events to partial batch responses: each row of the table of outcomes that this version has."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogue import tasks
from events import Context, message_body, sqs_event, sqs_record
from lambda_tasks.errors import InvalidEvent, LambdaTasksError, TaskNotAllowed, UnknownTask
from lambda_tasks.settings import Settings
from lambda_tasks.tasks.dispatcher import dispatch, import_modules
from lambda_tasks.tasks.execution import Outcome, execute

ALL = Settings()
ADD, FAIL = "catalogue.tasks.add", "catalogue.tasks.fail"


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    tasks.ran.clear()


def failures(event: dict[str, Any], settings: Settings = ALL) -> list[str]:
    """Return the ids of the messages that the dispatcher says SQS must keep."""
    answer: Any = dispatch(event, Context(), settings)
    assert list(answer) == ["batchItemFailures"]
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


def test_a_task_that_returns_has_succeeded() -> None:
    """A message whose task returns is deleted."""
    assert failures(sqs_event(sqs_record(message_body(ADD, number=1)))) == []
    assert tasks.ran == [1]


def test_a_task_that_raises_an_ignored_error_has_succeeded() -> None:
    """An error that the task ignores is recorded, and the message is deleted."""
    result = execute(message_body("catalogue.tasks.ignore", path="x"), ALL)
    assert (result.outcome, type(result.error)) == (Outcome.SUCCEEDED, FileNotFoundError)


@pytest.mark.parametrize("name", ["fail", "leave"])
def test_a_task_that_raises_has_failed(name: str) -> None:
    """A task that raises, or tries to end the process, fails alone: the message stays for SQS to redrive."""
    bad, good = sqs_record(message_body(f"catalogue.tasks.{name}")), sqs_record(message_body(ADD, number=1))
    assert failures(sqs_event(bad, good)) == [bad["messageId"]]
    assert tasks.ran[-1] == 1


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
    result = execute(body, ALL)
    assert result.outcome is Outcome.REJECTED
    assert str(result.error).startswith(error)
    record = sqs_record(body)
    assert failures(sqs_event(record)) == [record["messageId"]]
    assert tasks.ran == []


def test_a_module_that_cannot_be_imported_has_failed() -> None:
    """A task whose module is there and breaks when it is imported fails, as a broken task does."""
    result = execute(message_body("catalogue.broken.task"), ALL)
    assert result.outcome is Outcome.FAILED
    assert isinstance(result.error, ModuleNotFoundError)


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
    result = execute(message_body(name, number=1), Settings(modules=modules))
    assert type(result.error) is (error or type(None))
    assert (result.outcome is Outcome.SUCCEEDED) == (error is None)


def test_listed_modules_are_imported_before_the_first_message() -> None:
    """What the allow-list names in full is imported in the init phase; one that is not there is an error then."""
    import_modules(Settings(modules=("catalogue.tasks", "nothing.*")))
    with pytest.raises(ModuleNotFoundError):
        import_modules(Settings(modules=("nothing.tasks",)))


def test_a_fifo_group_stops_at_its_first_failure() -> None:
    """Behind a message that did not finish, the rest of its FIFO group is deferred; other groups go on."""
    fifo = {"SequenceNumber": "1"}
    first = sqs_record(message_body(FAIL, number=1), MessageGroupId="a", **fifo)
    second = sqs_record(message_body(ADD, number=2), MessageGroupId="a", **fifo)
    other = sqs_record(message_body(ADD, number=3), MessageGroupId="b", **fifo)
    assert failures(sqs_event(first, second, other)) == [first["messageId"], second["messageId"]]
    assert tasks.ran == [1, 3]


def test_groups_of_a_standard_queue_have_no_order() -> None:
    """On a standard queue a message group is for fairness: a failure holds nothing back."""
    first = sqs_record(message_body(FAIL, number=1), MessageGroupId="a")
    second = sqs_record(message_body(ADD, number=2), MessageGroupId="a")
    assert failures(sqs_event(first, second)) == [first["messageId"]]
    assert tasks.ran == [1, 2]


def test_one_message_as_the_event_returns_its_result() -> None:
    """A message that is the event itself runs, and its result, or its error, goes to the invoker."""
    assert dispatch({"task_name": ADD, "kwargs": {"number": 1}}, Context(), ALL) == 2
    with pytest.raises(ConnectionError):
        dispatch({"task_name": FAIL}, Context(), ALL)
    with pytest.raises(UnknownTask):
        dispatch({"task_name": "a.b"}, Context(), ALL)


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
        dispatch(event, Context(), ALL)
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
    """Whatever the bodies are, the answer names each message whose task did not return, and no other."""
    tasks.ran.clear()
    records = [sqs_record(body) for body in bodies]
    kept = failures(sqs_event(*records))
    assert set(kept) <= {record["messageId"] for record in records}
    succeeded = [record for record in records if record["messageId"] not in kept]
    assert all(execute(record["body"], ALL).outcome is Outcome.SUCCEEDED for record in succeeded)


RECORDS = st.fixed_dictionaries(
    {},
    optional={"messageId": st.text(max_size=4) | JSON, "body": BODIES, "attributes": JSON, "messageAttributes": JSON},
)


@given(JSON | st.fixed_dictionaries({"Records": JSON | st.lists(RECORDS | JSON, max_size=3)}))
def test_any_event_is_answered_or_refused(event: object) -> None:
    """An event of any shape is answered, or refused with an error of ours before anything is lost."""
    with contextlib.suppress(LambdaTasksError):
        dispatch(event, Context(), ALL)


def test_one_log_record_a_message_tells_what_became_of_it(caplog: pytest.LogCaptureFixture) -> None:
    """Each message has one log record, with the keys to filter by; kwargs are not in it."""
    record = sqs_record(message_body(ADD, number=424242), ApproximateReceiveCount="3")
    bad = sqs_record("{", ApproximateReceiveCount="x", SentTimestamp="")
    failing = sqs_record(message_body(FAIL))
    with caplog.at_level(logging.INFO, "lambda_tasks"):
        dispatch(sqs_event(record, bad, failing), Context(), ALL)
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


def test_results_do_not_show_what_they_hold() -> None:
    """The repr of a result names task and outcome, and not the value that the task returned."""
    assert repr(execute(message_body(ADD, number=1), ALL)) == "Result(catalogue.tasks.add: succeeded)"
