"""Around a message: connections, transactions, and the values and options of messages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings as django_settings
from django.db import connection, connections, transaction
from django.test import TestCase, override_settings
from django.utils.connection import ConnectionDoesNotExist
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from django_project.orchard import tasks
from django_project.orchard.models import Tree
from events import message_body, sqs_record
from lambda_tasks import settings, task
from lambda_tasks.dispatch.worker import Worker
from lambda_tasks.errors import InvalidKwargs, InvalidSetting, InvalidTask
from lambda_tasks.life_cycle.application import Application
from lambda_tasks.messages.sqs_event import Record
from lambda_tasks.settings import Settings
from lambda_tasks.testing import TaskQueue
from workers import Dispatched, worker

TASKS = "django_project.orchard.tasks"


@pytest.fixture
def keeps() -> Iterator[None]:
    """Let connections live for an hour."""
    for one in connections.all():
        one.close()
        one.settings_dict["CONN_MAX_AGE"] = 3600
    yield
    for one in connections.all():
        one.settings_dict["CONN_MAX_AGE"] = 0


def record_of(task_name: str, /, **kwargs: object) -> Record:
    return sqs_record(message_body(f"{TASKS}.{task_name}", **kwargs))


def django_worker(*, is_worker: bool = True, **options: Any) -> Worker:
    made = worker(Settings(**options))
    made.application = Application(is_worker=is_worker)
    return made


def names(alias: str = "default") -> list[str]:
    return sorted(Tree.objects.using(alias).values_list("name", flat=True))


def test_connections_are_closed_after_each_message() -> None:
    """Without an age for them each message has a connection of its own, as each request has."""
    Dispatched(django_worker(), record_of("look"), record_of("look"))
    first, second = (one[2] for one in tasks.seen)
    assert first is not second
    assert connection.connection is None


@pytest.mark.usefixtures("keeps")
def test_connections_live_across_invocations() -> None:
    """With an age the connection stays, in the next invocation too."""
    made = django_worker()
    for _ in range(2):
        assert Dispatched(made, record_of("look"), record_of("look")).kept == []
    assert len({id(one[2]) for one in tasks.seen}) == 1
    connection.close()


@pytest.mark.usefixtures("keeps")
def test_after_a_dropped_connection_the_next_message_works() -> None:
    """A connection that was dropped while nothing ran, or while the environment was frozen, is made anew."""
    made = django_worker()
    Dispatched(made, record_of("look"))
    connection.connection.close()  # as a server does that restarts
    assert Dispatched(made, record_of("look"), record_of("look")).outcomes == ["succeeded", "succeeded"]
    before, after, later = (one[2] for one in tasks.seen)
    assert before is not after
    assert after is later
    connection.close()


@pytest.mark.usefixtures("keeps")
def test_each_thread_has_its_own_connections() -> None:
    """Tasks in threads close their threads' connections, and leave none behind."""
    made = django_worker(concurrency=2)
    with override_settings(DEBUG=True):
        connection.ensure_connection()
        own = connection.connection
        assert Dispatched(made, *(record_of("look", name=str(number)) for number in range(4))).kept == []
    threads = {one[1] for one in tasks.seen}
    assert threading.get_ident() not in threads
    assert own not in [one[2] for one in tasks.seen]
    with pytest.raises(Exception, match="closed"):
        tasks.seen[0][2].execute("SELECT 1")
    connection.close()


@pytest.mark.usefixtures("keeps")
def test_queries_are_forgotten_where_they_are_kept() -> None:
    """Under ``DEBUG`` each message has the queries of its own alone, however many there were before."""
    with override_settings(DEBUG=True):
        Dispatched(django_worker(), *(record_of("look") for _ in range(5)))
    assert {one[3] for one in tasks.seen} == {1}
    connection.close()


def test_async_tasks_follow_djangos_rules() -> None:
    """Async tasks of a batch do their queries in Django's thread, whose connections are closed after them."""
    dispatched = Dispatched(django_worker(), *(record_of("look_async", name=str(number)) for number in range(3)))
    assert dispatched.kept == [], dispatched.errors
    assert names() == ["0", "1", "2"]


def test_outside_of_a_worker_connections_stay() -> None:
    """A message that runs in the middle of a request leaves the request's connection as it is."""
    connection.ensure_connection()
    own = connection.connection
    Dispatched(django_worker(is_worker=False), record_of("look"))
    assert connection.connection is own is tasks.seen[0][2]


def test_an_atomic_task_is_rolled_back_on_any_error() -> None:
    """An error, a retry and a time limit roll an atomic task back; a success commits."""
    dispatched = Dispatched(
        django_worker(),
        record_of("plant_and_raise", name="kept"),
        record_of("plant_and_raise", name="failed", error="x"),
        record_of("plant_and_raise", name="retried", error="Retry"),
        record_of("plant_for_too_long", name="stopped"),
        record_of("archive", name="old"),
        record_of("archive", name="ignored", fail=True),
    )
    assert dispatched.outcomes == ["succeeded", "failed", "retrying", "failed", "succeeded", "succeeded"]
    assert (names(), names("archive")) == (["kept"], ["old"])
    error = dispatched.errors[1]
    assert isinstance(error, LookupError)
    assert error.__traceback__ is not None
    assert error.__traceback__.tb_frame.f_code.co_name == "plant_and_raise"


def test_the_setting_makes_every_task_atomic(task_queue: TaskQueue) -> None:
    """``LAMBDA_TASKS_ATOMIC`` counts for tasks that say nothing themselves, and an alias that is none is an error."""
    for value, expected in (("1", "default"), ("archive", "archive"), ("0", None), ("", None)):
        assert Settings.from_environ({"LAMBDA_TASKS_ATOMIC": value}).atomic == expected
    with override_settings(LAMBDA_TASKS={"ATOMIC": True}):
        tasks.tell_atomic.enqueue()
        tasks.plant_bare.enqueue(name="x")
        assert [ran.value for ran in task_queue.run()] == [True, False]
    tasks.tell_atomic.enqueue()
    assert [ran.value for ran in task_queue.run()] == [False]
    (misplaced,) = Dispatched(django_worker(), record_of("misplaced")).errors
    assert str(misplaced) == "there is no database 'nowhere' for an atomic task: use one of DATABASES: archive, default"


def test_without_django_nothing_atomic_runs() -> None:
    """An atomic task fails where Django is not set up: nothing of it is done without its transaction."""
    (error,) = Dispatched(worker(), record_of("plant_and_raise", name="x")).errors
    assert isinstance(error, InvalidSetting)
    assert "Django is not set up" in str(error)
    assert names() == []


def test_an_async_task_cannot_be_atomic() -> None:
    """Where it is defined, an async task that is to be atomic is refused."""

    async def send() -> None: ...

    with pytest.raises(InvalidTask, match="an async task cannot be atomic"):
        task(atomic=True)(send)
    with pytest.raises(InvalidTask, match=r"atomic is 1 .* use True, False, or the alias of a database"):
        task(atomic=1)(send)  # type: ignore[call-overload]


def test_a_task_within_a_task_shares_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the mode ``eager`` a task that enqueues another one keeps its connection and its transaction."""
    monkeypatch.setenv("LAMBDA_TASKS_MODE", "eager")
    made = django_worker()
    monkeypatch.setattr("lambda_tasks.life_cycle.setup._application", made.application)
    assert Dispatched(made, record_of("plant_and_ask", name="outer")).outcomes == ["succeeded"]
    assert names() == ["outer"]
    assert tasks.seen == [tasks.seen[0]] != [None]


def test_messages_are_sent_on_commit_with_their_options(task_queue: TaskQueue) -> None:
    """A message waits for the transaction of its database, with its options; a savepoint that is rolled back drops it."""
    with transaction.atomic():
        with transaction.atomic():
            tasks.plant.options(delay=5, group="g", context={"tenant": "a"}).enqueue_on_commit(name="inner")
        with transaction.atomic():
            tasks.plant.enqueue_on_commit(name="dropped")
            transaction.set_rollback(True)
        tasks.plant.options(using="archive").enqueue_on_commit(name="at once")
        tasks.plant.enqueue_on_commit(name="at once too", using="archive")  # type: ignore[call-overload]
        assert [one.kwargs["name"] for one in task_queue] == ["at once", "at once too"]
    (inner,) = task_queue[2:]
    assert (inner.kwargs, inner.delay_seconds, inner.group, inner.context) == (
        {"name": "inner"},
        5,
        "g",
        {"tenant": "a"},
    )
    with transaction.atomic(using="archive"):
        tasks.plant.options(using="archive").enqueue_on_commit(name="archived")
        assert len(task_queue) == 3
    assert len(task_queue) == 4
    with pytest.raises(ConnectionDoesNotExist):
        tasks.plant.options(using="nowhere").enqueue_on_commit(name="x")
    with pytest.raises(InvalidTask, match="using is 5"):
        tasks.plant.options(using=5)  # type: ignore[arg-type]


class CommitTest(TestCase):
    """A test of the application's own, by Django's means."""

    databases = {"default", "archive"}  # noqa: RUF012 - as Django has it

    def test_messages_of_a_test_case_can_be_captured(self) -> None:
        """Within a test's transaction nothing is sent until its callbacks are executed."""
        with TaskQueue() as queue:
            with self.captureOnCommitCallbacks(execute=True) as callbacks:
                tasks.plant.enqueue_on_commit(name="captured")
                assert len(queue) == 0
            assert (len(callbacks), len(queue)) == (1, 1)
            queue.run()
        assert names() == ["captured"]


def test_values_of_django_travel(task_queue: TaskQueue) -> None:
    """Safe and lazy strings, decimals, times with and without a zone, and UUIDs arrive as they were."""
    values: dict[str, Any] = {
        "amount": Decimal("1.10"),
        "aware": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone.utc),
        "naive": datetime(2026, 1, 2, 3, 4, 5),
        "key": UUID(int=7),
    }
    tasks.note.enqueue(**values, text=mark_safe("<b>"))
    tasks.note.enqueue(**values, text=gettext_lazy("apple"))
    task_queue.run()
    assert tasks.seen == [(*values.values(), "<b>"), (*values.values(), "apple")]
    assert [type(one[4]) for one in tasks.seen] == [str, str]


def test_rows_do_not_travel(task_queue: TaskQueue) -> None:
    """An instance of a model and a query are refused with a sentence that says what to send."""
    tree = Tree(name="a secret name")
    for value in (tree, [tree], {"a": tree}):
        with pytest.raises(InvalidKwargs, match=r"Tree is an instance of a model, .* send its key") as raised:
            tasks.anything.enqueue(value=value)
        assert "secret" not in str(raised.value)
    for query in (Tree.objects.all(), Tree.objects):
        with pytest.raises(InvalidKwargs, match=r"is a query, .* send the keys of its rows"):
            tasks.anything.enqueue(value=query)
    assert len(task_queue) == 0


def test_djangos_settings_say_what_the_environment_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dictionary has the settings of an application, by their names; the environment overrides each by itself."""
    monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL_MAIL", "https://mail.of.the.environment")
    given = {
        "MODE": "eager",
        "QUEUE_URLS": {"default": "https://default", "mail": "https://mail", "none": None},
        "MODULES": ["shop.tasks", "billing.*"],
        "CONCURRENCY": 4,
        "SOFT_TIMEOUT_SECONDS": 1.5,
        "MEMORY_GUARD": False,
        "TABLE": None,
    }
    with override_settings(LAMBDA_TASKS=given):
        current = settings.current()
        assert (current.mode, current.concurrency, current.soft_timeout_seconds) == ("eager", 4, 1.5)
        assert (current.queue_url("default"), current.queue_url("mail")) == (
            "https://default",
            "https://mail.of.the.environment",
        )
        assert current.modules == ("shop.tasks", "billing.*")
        monkeypatch.setenv("LAMBDA_TASKS_MODE", "off")
        assert settings.current().mode == "off"
        django_settings.LAMBDA_TASKS["CONCURRENCY"] = 5  # in place
        assert settings.current().concurrency == 5
        monkeypatch.delenv("LAMBDA_TASKS_MODE")
    assert settings.current().mode == "sqs"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["MODE"], "it is of type list"),
        ({"MODUS": "eager"}, "there is no such setting: 'MODUS'"),
        ({"NEXT_WRAPPER": "/opt/x"}, "there is no such setting: 'NEXT_WRAPPER'"),
        ({"MODE": "quick"}, "the setting is not usable"),
        ({"TABLE": object()}, "TABLE is of type object"),
        ({"QUEUE_URLS": "https://"}, "QUEUE_URLS is no dictionary of names"),
    ],
)
def test_a_dictionary_that_is_not_usable_is_an_error(given: object, problem: str) -> None:
    """An unknown key and an impossible value are told as an error of the setting."""
    with override_settings(LAMBDA_TASKS=given), pytest.raises(InvalidSetting, match=problem):
        settings.current()
