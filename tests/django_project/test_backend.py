"""The backend of ``django.tasks``, with a real dispatcher behind it.

What Django's own tests of tasks assert (``tests/tasks``), and the backport's, and where it is asserted of this backend:

==============================================================  ====================================================
behaviour                                                       here
==============================================================  ====================================================
enqueue and aenqueue give a READY result with its arguments     test_a_task_is_enqueued_run_and_found
a task runs, async ones too; the result has what it returned    test_a_task_is_enqueued_run_and_found
a result can be refreshed, and is found by its task alone       test_a_task_is_enqueued_run_and_found
an unknown result does not exist, another task's is a mismatch  test_results_that_are_not_there
an error is a result: class path, class, traceback              test_an_error_is_a_result
also one with arguments of its own, SystemExit, bad arguments   test_an_error_is_a_result
a value without a form in JSON fails the task                   test_an_error_is_a_result
arguments without a form in JSON are refused                    test_arguments_are_those_of_json
values are normalised: tuples, keys, bytes                      test_arguments_are_those_of_json
return_value raises before the end and after a failure          test_an_error_is_a_result
takes_context: the context comes first, with its attempt        test_a_task_may_take_its_context
queues, priorities, defer, local functions are validated        test_tasks_are_validated
using() gives another task, of another backend too              test_tasks_of_another_backend_run
signals: enqueued, started, finished, in that order             test_signals_are_sent
ids have at most 64 characters; worker_ids count attempts       test_a_retry_is_another_attempt
enqueued_at, started_at, last_attempted_at, finished_at         test_a_retry_is_another_attempt
run_after delays                                                test_a_time_is_a_delay_or_a_schedule
checks                                                          test_checks_say_what_is_missing
an enqueued task is logged by Django's logger                   test_signals_are_sent (a receiver of theirs logs)
KeyboardInterrupt leaves the immediate backend                  does not apply: the dispatcher answers for the batch
the dummy backend records results, and clears them              does not apply: lambda_tasks.testing.TaskQueue does
enqueue on commit (a setting of early backports)                does not apply: it was removed; transaction.on_commit
the backport's database: locks, pruning, its worker's signals   does not apply: the dispatcher's own tests
==============================================================  ====================================================
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from django_project.backend import Backend
from django_project.orchard import jobs
from django_project.orchard.api import TaskResultMismatch, default_task_backend, task, task_backends
from django_project.orchard.models import Tree
from events import message_body, sqs_record
from lambda_tasks.django import LambdaTasksBackend, options
from lambda_tasks.django.definition import group_of
from lambda_tasks.django.running import Call
from lambda_tasks.django.tasks_api import (
    InvalidTask,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_enqueued,
    task_finished,
    task_started,
)
from lambda_tasks.enqueue import destination
from lambda_tasks.enqueue.outgoing import Outgoing
from lambda_tasks.errors import InvalidKwargs, TaskNotAllowed
from lambda_tasks.errors import InvalidTask as InvalidOption
from lambda_tasks.life_cycle.application import Application
from lambda_tasks.messages import body
from lambda_tasks.messages.sqs_event import Record
from lambda_tasks.settings import Settings
from lambda_tasks.testing import TaskQueue
from workers import Dispatched, worker

JOBS = "django_project.orchard.jobs"


class Sent(list[Outgoing]):
    """The messages that were sent, which a dispatcher runs when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self._records: dict[int, Record] = {}

    def send(self, message: Outgoing) -> str:
        self.append(message)
        record = self._records[id(message)] = message.record()
        return record["messageId"]

    def run(self, *, deliveries: int = 1, settings: Settings | None = None) -> list[str]:
        """Deliver what there is, and return the outcomes."""
        made = worker(settings, state=Backend.memory)
        made.application = Application(is_worker=True)
        records = [self._records[id(one)] for one in self]
        for record in records:
            record["attributes"]["ApproximateReceiveCount"] = str(deliveries)
        return Dispatched(made, *records).outcomes


@pytest.fixture
def sent() -> Iterator[Sent]:
    messages = Sent()
    with destination.diverted(messages.send):
        yield messages


def test_a_task_is_enqueued_run_and_found(sent: Sent) -> None:
    """READY, RUNNING, SUCCESSFUL: the result of a task is found by its id, with its arguments and its value."""
    result = jobs.noop.enqueue(1, "two", three=[3])
    other = asyncio.run(jobs.noop_async.aenqueue(1, x=2))
    answer = jobs.answer.enqueue()
    assert (result.status, result.is_finished, result.attempts) == (TaskResultStatus.READY, False, 0)
    assert (result.args, result.kwargs, result.backend) == ([1, "two"], {"three": [3]}, "default")
    assert default_task_backend.get_result(result.id) == result
    assert json.loads(sent[0].body)["task_name"] == f"{JOBS}.noop"
    assert sent.run() == ["succeeded"] * 3
    assert sorted(jobs.seen, key=str) == [((1, "two"), {"three": [3]}), ((1,), {"x": 2})]
    result.refresh()
    asyncio.run(other.arefresh())
    assert (result.status, result.return_value, result.errors) == (TaskResultStatus.SUCCESSFUL, None, [])
    assert (other.is_finished, other.return_value) == (True, "async")
    assert jobs.answer.get_result(answer.id).return_value == 42
    assert asyncio.run(jobs.answer.aget_result(answer.id)).return_value == 42
    assert sent.run() == ["skipped"] * 3  # delivered again


@pytest.mark.usefixtures("sent")
def test_results_that_are_not_there() -> None:
    """An unknown id, one of another task, and a record that is not Django's are told apart."""
    with pytest.raises(TaskResultDoesNotExist):
        default_task_backend.get_result("nobody")
    with pytest.raises(TaskResultDoesNotExist):
        asyncio.run(default_task_backend.aget_result("nobody"))
    with pytest.raises(TaskResultMismatch):
        jobs.noop.get_result(jobs.answer.enqueue().id)
    made = worker(state=Backend.memory)
    record = sqs_record(message_body("django_project.orchard.tasks.tell_atomic"), message_id="not-of-django")
    assert Dispatched(made, record).outcomes == ["succeeded"]
    with pytest.raises(TaskResultDoesNotExist):
        default_task_backend.get_result("not-of-django")
    backend = LambdaTasksBackend("default", {})
    assert (backend.supports_get_result, backend.supports_defer, backend.supports_async_task) == (False, True, True)
    with pytest.raises(NotImplementedError, match="LAMBDA_TASKS_TABLE"):
        backend.get_result("x")


@pytest.mark.parametrize(
    ("call", "path", "text"),
    [
        (lambda: jobs.fail.enqueue("a word"), "builtins.ValueError", "a word"),
        (lambda: jobs.refuse.enqueue(), "django.core.exceptions.PermissionDenied", "deep"),
        (lambda: jobs.leave.enqueue(), "builtins.SystemExit", "over"),
        (lambda: jobs.answer.enqueue("too", many=1), "builtins.TypeError", "answer()"),
        (lambda: jobs.unspeakable.enqueue(), "builtins.TypeError", "object"),
        (lambda: jobs.impatient.enqueue(), "lambda_tasks.errors.HardTimeLimitExceeded", "hard timeout"),
    ],
)
def test_an_error_is_a_result(sent: Sent, call: Any, path: str, text: str) -> None:
    """A task that raises has FAILED, with the path and the traceback of its error, and no value."""
    result = call()
    with pytest.raises(ValueError, match="not finished yet"):
        _ = result.return_value
    assert sent.run() == ["failed"]
    result.refresh()
    (error,) = result.errors
    assert (result.status, error.exception_class_path) == (TaskResultStatus.FAILED, path)
    assert error.exception_class.__name__ == path.rpartition(".")[2]
    assert text in error.traceback
    with pytest.raises(ValueError, match="failed"):
        _ = result.return_value


def test_arguments_are_those_of_json(sent: Sent) -> None:
    """Arguments and values are normalised; what JSON does not have is refused where it is enqueued."""
    result = jobs.echo.enqueue({"a": (1, 2), 3: b"bytes"})
    assert result.args == [{"a": [1, 2], 3: "bytes"}]
    sent.run()
    result.refresh()
    assert result.return_value == {"a": [1, 2], "3": "bytes"}
    for value in (object(), timezone.now(), {1, 2}, Tree(name="x")):
        with pytest.raises(TypeError, match="Unsupported"):
            jobs.echo.enqueue(value)
    with pytest.raises(ValueError, match="JSON has no nan"):
        jobs.echo.enqueue(float("nan"))
    assert len(sent) == 1


def test_a_task_may_take_its_context(sent: Sent) -> None:
    """The context comes before all arguments, and knows the result and the attempt."""
    result = jobs.attempt.enqueue("x")
    assert result.args == ["x"]
    sent.run()
    result.refresh()
    assert result.return_value == {"attempt": 1, "id": result.id, "text": "x", "status": "RUNNING"}


def test_a_retry_is_another_attempt(sent: Sent) -> None:
    """A task that is to be retried is READY again, with its error; the next attempt has another worker's id."""
    result = jobs.retry_once.enqueue()
    assert len(result.id) <= 64
    assert sent.run() == ["retrying"]
    result.refresh()
    assert (result.status, result.attempts, result.finished_at) == (TaskResultStatus.READY, 1, None)
    assert result.errors[0].exception_class_path == "lambda_tasks.errors.Retry"
    first = result.started_at
    assert first == result.last_attempted_at
    assert sent.run(deliveries=2) == ["succeeded"]
    result.refresh()
    assert (result.status, result.attempts, result.return_value) == (TaskResultStatus.SUCCESSFUL, 2, 2)
    assert all(len(worker_id) <= 64 for worker_id in result.worker_ids)
    assert result.enqueued_at <= result.started_at == first
    assert result.started_at <= result.last_attempted_at <= result.finished_at


def test_tasks_are_validated() -> None:
    """What SQS does not have is refused where the task is defined, or changed, and what leads nowhere when it is sent."""
    with pytest.raises(InvalidTask, match="priority"):
        jobs.noop.using(priority=5)
    with pytest.raises(InvalidTask, match="not valid for backend"):
        jobs.noop.using(queue_name="nowhere")
    with pytest.raises(InvalidTask, match="aware"):
        jobs.noop.using(run_after=datetime(2030, 1, 1))
    with pytest.raises(InvalidTask, match="module level"):
        task(lambda: None)
    with pytest.raises(InvalidTask, match="context"):
        task(takes_context=True)(jobs.no_task)
    with pytest.raises(InvalidTask, match="does not lead to the task"):
        jobs.renamed.enqueue()
    with pytest.raises(InvalidOption, match="there is no option batch here"):
        options(batch=True)
    with pytest.raises(InvalidOption, match="max_retries"):
        options(max_retries=-1)


def test_tasks_of_another_backend_run(sent: Sent) -> None:
    """A task that names another backend can be sent by this one, and its definition is found all the same."""
    assert jobs.elsewhere.enqueue().return_value == "here all the same"
    result = jobs.elsewhere.using(backend="default", queue_name="mail").enqueue()
    assert (result.backend, sent[0].queue) == ("default", "mail")
    assert sent.run() == ["succeeded"]
    found = task_backends["default"].get_result(result.id)
    assert (found.return_value, found.task.queue_name, found.task.backend) == ("here all the same", "mail", "default")


def test_signals_are_sent(sent: Sent, caplog: pytest.LogCaptureFixture) -> None:
    """Enqueued, started and finished are told by the sender's class with the result; a retry is not finished."""
    told: dict[str, list[tuple[str, str, str]]] = {}

    def receiver(sender: type, task_result: Any, signal: Any, **_: object) -> None:
        names = {task_enqueued: "enqueued", task_started: "started", task_finished: "finished"}
        mine = told.setdefault(task_result.task.name, [])
        mine.append((names[signal], sender.__name__, task_result.status.value))

    signals = (task_enqueued, task_started, task_finished)
    for signal in signals:
        signal.connect(receiver)
    try:
        with caplog.at_level(logging.DEBUG):
            jobs.answer.enqueue()
            sent.run()
            sent.clear()
            jobs.fail.enqueue("x")
            jobs.retry_once.enqueue()
            sent.run()
    finally:
        for signal in signals:
            signal.disconnect(receiver)
    begun = [("enqueued", "Backend", "READY"), ("started", "Backend", "RUNNING")]
    assert told == {
        "answer": [*begun, ("finished", "Backend", "SUCCESSFUL")],
        "fail": [*begun, ("finished", "Backend", "FAILED")],
        "retry_once": begun,
    }
    assert "state=SUCCESSFUL" in caplog.text


def test_a_time_is_a_delay_or_a_schedule(sent: Sent) -> None:
    """``run_after`` travels as the time of the message, which SQS delays, or a schedule does."""
    at = timezone.now() + timedelta(days=3)
    result = jobs.noop.using(run_after=at).enqueue()
    assert sent[0].at == at
    assert default_task_backend.get_result(result.id).task.run_after == at
    with override_settings(USE_TZ=False, TIME_ZONE="UTC"):
        jobs.noop.using(run_after=datetime(2030, 1, 1)).enqueue()
    assert sent[1].at is not None
    assert sent[1].at.isoformat() == "2030-01-01T00:00:00+00:00"


def test_the_dispatchers_options_count(sent: Sent) -> None:
    """A decorator below Django's, and ``OPTIONS``, say what the dispatcher does with a task."""
    definition = worker().lookup.find(f"{JOBS}.impatient")
    assert (definition.options.hard_timeout, definition.options.max_retries) == (0.05, 0)
    inherited = worker().lookup.find(f"{JOBS}.noop").options
    assert (inherited.retry_on, inherited.max_retries) == ((ConnectionError,), 1)
    water = worker().lookup.find(f"{JOBS}.water")
    jobs.water.enqueue(1)
    jobs.water.enqueue(tree=1, litres=2)
    jobs.water.enqueue(2)
    keys = [water.singleton_key(water.decode(body.decode(one.body))) for one in sent]
    assert keys[0] == keys[1] != keys[2]
    jobs.plant.enqueue("rose")
    jobs.plant.enqueue("weed")
    assert sent.run()[3:] == ["succeeded", "failed"]
    assert [tree.name for tree in Tree.objects.all()] == ["rose"]


def test_a_group_is_that_of_a_fifo_queue(sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group has a name, or is one for each value of arguments; a FIFO queue takes each message once, by its id."""
    jobs.pick.enqueue(1)
    monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL_MAIL", "https://sqs.eu-west-1.amazonaws.com/123456789012/mail.fifo")
    last = jobs.pick.enqueue(tree=1, basket=2)
    jobs.pick.enqueue("a pear, too")
    first, second, third = ((one.group, one.deduplication_id) for one in sent)
    assert (first, second) == (("1", None), ("1", last.id))
    assert len(third[0] or "") == 64
    assert sent.run() == ["succeeded"] * 3
    backend = LambdaTasksBackend("default", {"QUEUES": ["mail"], "OPTIONS": {"group": "orchard"}})
    assert list(backend.check()) == []
    assert group_of("orchard", Call(jobs.answer, [], {})) == "orchard"
    with pytest.raises(InvalidOption, match="there is no argument nobody for the group"):
        jobs.lost.enqueue()
    for bad in (7, (), "a b"):
        with pytest.raises(InvalidOption, match="group is"):
            options(group=bad)


def test_the_allow_list_counts(sent: Sent) -> None:
    """A module that is not allowed is not imported, and what is no task is not called."""
    only = Settings(modules=("django_project.orchard.tasks",))
    result = jobs.noop.enqueue()
    assert sent.run(settings=only) == ["rejected"]
    result.refresh()
    assert (result.status, result.errors[0].exception_class) == (TaskResultStatus.FAILED, TaskNotAllowed)
    dispatched = Dispatched(worker(), sqs_record(message_body(f"{JOBS}.no_task")))
    assert (dispatched.outcomes, jobs.seen) == (["rejected"], [])
    odd = json.dumps({"task_name": f"{JOBS}.noop", "args": {"not": "a list"}})
    ordinary = json.dumps({"task_name": "django_project.orchard.tasks.plant", "args": ["x"]})
    for error in Dispatched(worker(), sqs_record(odd), sqs_record(ordinary)).errors:
        assert isinstance(error, InvalidKwargs)


def test_a_message_by_hand_runs_too() -> None:
    """A message that no backend sent runs a task, with kwargs or positions, under SQS's own id."""
    by_hand = json.dumps({"task_name": f"{JOBS}.attempt", "args": ["x"], "kwargs": {}})
    made = worker(state=Backend.memory)
    assert (
        Dispatched(
            made, sqs_record(by_hand, message_id="by-hand"), sqs_record(message_body(f"{JOBS}.mail", to="a"))
        ).kept
        == []
    )


def test_a_queue_of_a_test_records_django_tasks(task_queue: TaskQueue) -> None:
    """The queue for an application's tests has the tasks of Django too, and runs them."""
    with transaction.atomic():
        transaction.on_commit(lambda: jobs.mail.enqueue(to="a"))
        assert len(task_queue) == 0
    jobs.echo.enqueue(5)
    first, second = task_queue
    assert (first.task_name, first.kwargs, first.queue) == (f"{JOBS}.mail", {"to": "a"}, "mail")
    assert second.args == (5,)
    assert [ran.value for ran in task_queue.run()] == ["a", 5]


def test_eager_results_are_there_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the mode ``eager`` a task runs where it is enqueued, and its error is its result's, as with Django's own."""
    monkeypatch.setenv("LAMBDA_TASKS_MODE", "eager")
    assert jobs.answer.enqueue().return_value == 42
    failed = jobs.fail.enqueue("x")
    assert (failed.status, failed.errors[0].exception_class) == (TaskResultStatus.FAILED, ValueError)
    assert asyncio.run(jobs.noop_async.aenqueue()).return_value == "async"


def test_checks_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue without a URL, options that are not usable, and settings that are not, are told before deployment."""
    backend = LambdaTasksBackend("default", {"QUEUES": ["default", "fast-mail"], "OPTIONS": {"retries": 1}})
    assert [one.id for one in backend.check()] == ["lambda_tasks.E001", "lambda_tasks.W001", "lambda_tasks.W001"]
    monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com/123456789012/tasks")
    (warning,) = LambdaTasksBackend("default", {"QUEUES": ["default", "fast-mail"]}).check()
    assert "LAMBDA_TASKS_QUEUE_URL_FAST_MAIL" in warning.hint
    monkeypatch.setenv("LAMBDA_TASKS_MODE", "quick")
    assert [one.id for one in LambdaTasksBackend("default", {}).check()] == ["lambda_tasks.E002"]
