"""What log records and spans tell of the errors of tasks."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

import lambda_tasks
from catalogue import tasks
from events import Context, message_body, sqs_record
from lambda_tasks import Reject, Retry, task
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.errors import UnknownTask
from lambda_tasks.settings import Settings
from lambda_tasks.telemetry import report, told_errors, tracing
from lambda_tasks.testing import TaskQueue
from workers import Dispatched, worker

SECRET = "SECRET-ARG"
RAISED = {"retry": Retry, "reject": Reject, "exit": SystemExit, "value": ValueError}


@task(ignore_errors=KeyError)
def tell(*, kind: str, text: str) -> None:
    """Raise an error with a text, below another one with the same."""
    raise RAISED[kind](text) from KeyError(text)


@task
async def tell_async(*, text: str) -> None:
    raise ValueError(text)


@pytest.fixture(autouse=True)
def _told_again() -> Iterator[None]:
    yield
    told_errors.choose("full")


def test_texts_of_errors_can_be_left_out(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `type` a record names an error's type and the place of a failure, and nothing that the task put into it."""
    monkeypatch.setattr(report, "_outcome_hooks", [])

    @lambda_tasks.on_outcome
    def hook(_: object) -> None:
        raise ValueError(SECRET)

    bodies = [message_body("test_told_errors.tell", kind=kind, text=SECRET) for kind in RAISED]
    bodies.append(message_body("test_told_errors.tell_async", text=SECRET))
    made = worker(Settings(log_errors="type"))
    with caplog.at_level(logging.INFO):
        dispatched = Dispatched(made, *map(sqs_record, bodies), sqs_record(message_body("catalogue.tasks.none")))
        assert SECRET not in caplog.text
        assert "Traceback" not in caplog.text
    assert dispatched.outcomes == ["retrying", "rejected", "failed", "failed", "failed", "rejected"]
    outcomes = [one for one in caplog.records if hasattr(one, "outcome")]
    by_task = {one.getMessage().partition(": ")[2].partition(" (in")[0] for one in outcomes}
    assert by_task >= {"Retry", "Reject", "SystemExit", "ValueError"}
    assert any("catalogue.tasks has no none" in one.getMessage() for one in outcomes), "our own errors tell no value"
    failed = next(one for one in outcomes if "ValueError" in one.getMessage())
    assert f"(in tell, {__file__}, line " in failed.getMessage()
    assert vars(failed)["error_type"] == "ValueError"
    assert len([one for one in caplog.records if "hook raised" in one.getMessage()]) == len(bodies) + 1


def test_texts_of_errors_are_told_otherwise(caplog: pytest.LogCaptureFixture) -> None:
    """By default a record has the traceback, with the text."""
    Dispatched(worker(), sqs_record(message_body("test_told_errors.tell", kind="value", text=SECRET)))
    assert f"ValueError: {SECRET}" in caplog.text


def test_the_error_of_an_invocation_has_no_text_either() -> None:
    """The runtime logs what the handler raises: an error with the type's name, and without the text."""
    event = {"task_name": "test_told_errors.tell", "kwargs": {"kind": "value", "text": SECRET}}
    with pytest.raises(Exception, match="is not told") as caught:
        dispatch(event, Context(), worker(Settings(log_errors="type")))
    assert (type(caught.value).__name__, caught.value.__cause__, caught.value.__context__) == ("ValueError", None, None)
    with pytest.raises(UnknownTask):
        dispatch({"task_name": "catalogue.tasks.none"}, Context(), worker(Settings(log_errors="type")))
    with pytest.raises(ValueError, match=SECRET):
        dispatch(event, Context(), worker())


def test_a_span_has_no_text_either() -> None:
    """An exception event has the error's type and place."""
    told_errors.choose("type")
    try:
        tasks.fail()
    except ConnectionError as error:
        event = tracing._exception(error)
    assert event["exception.type"] == "builtins.ConnectionError"
    assert event["exception.message"] == "ConnectionError"
    assert event["exception.stacktrace"].startswith("fail, ")


def test_eager_mode_raises_the_error_itself(task_queue: TaskQueue) -> None:
    """A test of an application reads its error whatever the log tells."""
    tell.enqueue(kind="value", text="a text")
    with pytest.raises(ValueError, match="a text"):
        task_queue.run()
