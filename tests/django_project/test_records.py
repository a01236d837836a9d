"""Records in the application's database: beside its transactions, its threads and its connections."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.backends.signals import connection_created
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

import lambda_tasks
from django_project.orchard import jobs
from django_project.orchard.models import Tree
from events import message_body, sqs_record
from lambda_tasks.dispatch.worker import Worker
from lambda_tasks.django import LambdaTasksBackend
from lambda_tasks.django.models import TaskKey, TaskRecord
from lambda_tasks.django.store.messages import OrmState
from lambda_tasks.django.tasks_api import TaskResultStatus
from lambda_tasks.errors import InvalidSetting, StateUnavailable
from lambda_tasks.life_cycle import setup
from lambda_tasks.life_cycle.application import Application
from lambda_tasks.messages.sqs_event import Record
from lambda_tasks.settings import Settings
from lambda_tasks.state import opening
from lambda_tasks.state.protocol import Attempt, Queued, Started
from lambda_tasks.state.record import Ending, Status
from stores import soon
from workers import Dispatched, worker

TASKS = "django_project.orchard.tasks"


@pytest.fixture(autouse=True)
def _no_record_is_left() -> Iterator[None]:
    yield
    setup._application = None
    for alias in connections:
        for model in (TaskRecord, TaskKey):
            model.objects.using(alias).all().delete()
        connections[alias].close()


def record_of(task_name: str, /, **kwargs: object) -> Record:
    return sqs_record(message_body(f"{TASKS}.{task_name}", **kwargs), message_id=uuid.uuid4().hex)


def worker_of(alias: str, **options: Any) -> Worker:
    """Return a worker as the handler makes it, whose records are in a database."""
    application = setup._application = Application(is_worker=True)
    made = worker(Settings(table=f"django:{alias}", **options), state=OrmState(alias))
    made.application = application
    return made


def statuses(alias: str) -> list[str]:
    return sorted(TaskRecord.objects.using(alias).values_list("status", flat=True))


def test_a_rolled_back_task_keeps_its_record(database: str) -> None:
    """The transaction of an atomic task takes back what the task wrote, and neither its lease nor its record."""
    done = record_of("plant_in", database=database, name="kept")
    failed = record_of("plant_in", database=database, name="lost", fail=True)
    dispatched = Dispatched(worker_of(database, atomic=database), done, failed)
    assert dispatched.outcomes == ["succeeded", "failed"]
    assert list(Tree.objects.using(database).values_list("name", flat=True)) == ["kept"]
    row = TaskRecord.objects.using(database).get(message_id=failed["messageId"])
    assert (row.status, row.error_type, row.attempts, row.has_ended) == ("failed", "LookupError", 1, True)
    assert "LookupError: lost" in row.traceback
    row = TaskRecord.objects.using(database).get(message_id=done["messageId"])
    assert (row.status, row.result, row.task) == ("succeeded", "true", f"{TASKS}.plant_in")
    assert row.duration.total_seconds() >= 0


def test_what_is_written_in_a_transaction_lasts(database: str) -> None:
    """A lease that is taken in the middle of a transaction is there for others at once, and after a rollback."""
    if connections[database].vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time: here the record is part of the transaction")
    state, first = OrmState(database), Attempt(uuid.uuid4().hex, TASKS, 60)
    own = connections[database]
    with transaction.atomic(using=database):
        Tree.objects.using(database).create(name="lost")
        state.queued([Queued(first.message_id, TASKS, "tasks", 1_790_000_000.0)], deadline=soon())
        assert isinstance(state.start(first, deadline=soon()), Started)
        assert connections[database] is own
        assert own.in_atomic_block
        transaction.set_rollback(True, using=database)
    assert statuses(database) == ["running"]
    assert not Tree.objects.using(database).exists()


def test_a_transaction_of_sqlite_has_the_record_too() -> None:
    """There the same connection writes, so that nobody waits for himself, and a known message breaks nothing."""
    state, first = OrmState("default"), Attempt(uuid.uuid4().hex, TASKS, 60)
    with transaction.atomic():
        Tree.objects.create(name="kept")
        assert state._insert(TaskRecord, {"message_id": first.message_id, "task": TASKS})
        assert not state._insert(TaskRecord, {"message_id": first.message_id, "task": TASKS})
        assert isinstance(state.start(first, deadline=soon()), Started)
    assert statuses("default") == ["running"]
    assert Tree.objects.exists()


def test_a_message_has_one_connection(database: str) -> None:
    """Its lease, its task and its record share the thread's connection, which is closed behind them."""
    made = worker_of(database)
    connections[database].close()
    opened: list[str] = []

    def note(connection: Any, **_: object) -> None:
        opened.append(connection.alias)

    connection_created.connect(note)
    try:
        records = [record_of("plant_in", database=database, name=name) for name in "abc"]
        assert Dispatched(made, *records).outcomes == ["succeeded"] * 3
    finally:
        connection_created.disconnect(note)
    assert opened == [database] * 3
    assert connections[database].connection is None


def test_a_connection_that_was_dropped_is_made_anew(database: str) -> None:
    """Where connections live on, one that was dropped meanwhile costs no message; nor does it a producer's call."""
    connection = connections[database]
    if connection.vendor == "mysql":
        pytest.skip("PyMySQL, the driver of these tests, has another way to tell of it than Django's own")
    connection.close()
    connection.settings_dict["CONN_MAX_AGE"] = 3600
    try:
        made = worker_of(database)
        for _ in range(2):
            assert Dispatched(made, record_of("mow")).outcomes == ["succeeded"]
            connection.connection.close()  # as a server does that restarts
        if connection.vendor == "postgresql":  # which says so by an error that is worth another try
            setup._application = None
            connection.ensure_connection()
            connection.connection.close()
            OrmState(database).queued([Queued("m", TASKS, "tasks", time.time())], deadline=soon())
            assert "queued" in statuses(database)
    finally:
        connection.settings_dict["CONN_MAX_AGE"] = 0
        connection.close()


def test_threads_and_async_tasks_have_records(database: str) -> None:
    """Tasks in threads, and async ones in an event loop, have leases and records as others do."""
    names = "abcd"
    records = [record_of("plant_in", database=database, name=name) for name in names]
    assert Dispatched(worker_of(database, concurrency=2), *records).outcomes == ["succeeded"] * 4
    together = [record_of("look_async", name=f"async {name}") for name in names]
    assert Dispatched(worker_of(database), *together).outcomes == ["succeeded"] * 4
    assert statuses(database) == ["succeeded"] * 8
    assert Dispatched(worker_of(database), *records, *together).outcomes == ["skipped"] * 8


def test_a_singleton_has_its_key_in_the_database(database: str) -> None:
    """While one message has the lease of a singleton, another one is skipped; its row says so."""
    made = worker_of(database)
    assert Dispatched(made, record_of("mow", name="x")).outcomes == ["succeeded"]
    key = TaskKey.objects.using(database).get()
    assert (key.key.partition("#")[0], key.lease_until) == ("singleton", None)
    TaskKey.objects.using(database).update(lease_owner="other", lease_until=2e10)
    assert Dispatched(made, record_of("mow")).outcomes == ["skipped"]
    assert statuses(database) == ["skipped", "succeeded"]


def test_results_are_kept_and_found_by_one_query(database: str, caplog: pytest.LogCaptureFixture) -> None:
    """READY, then SUCCESSFUL: ``get_result`` is one query, and the record's row has what `lambda_tasks.TaskRecord` has."""
    backend = LambdaTasksBackend("default", {})
    with override_settings(LAMBDA_TASKS={"TABLE": f"django:{database}", "MODE": "off"}):
        result = backend.enqueue(jobs.answer, [], {})
        assert "is dropped" in caplog.text
        assert (backend.supports_get_result, backend.get_result(result.id)) == (True, result)
    with override_settings(LAMBDA_TASKS={"TABLE": f"django:{database}", "MODE": "eager"}):
        result = backend.enqueue(jobs.answer, [], {})
        with CaptureQueriesContext(connections[database]) as queries:
            found = backend.get_result(result.id)
        assert len(queries) == 1
        assert (found.status, found.return_value, found.attempts) == (TaskResultStatus.SUCCESSFUL, 42, 1)
        record, row = lambda_tasks.TaskRecord.get(result.id), TaskRecord.objects.get(pk=result.id)
        assert record is not None
        names = set(lambda_tasks.TaskRecord.__struct_fields__)
        assert names <= {field.name for field in TaskRecord._meta.fields}
        assert (row.result, row.status, row.finished_at.timestamp()) == ("42", "succeeded", record.finished_at)
        assert record.listed_at == row.listed_at.timestamp()
        assert [one.message_id for one in lambda_tasks.TaskRecord.by_status("succeeded")] == [result.id]


def test_on_commit_leaves_nothing_of_a_rolled_back_transaction(database: str, caplog: pytest.LogCaptureFixture) -> None:
    """What waits for a commit has neither message nor row where that does not come, and both where it does."""
    backend = LambdaTasksBackend("default", {})
    with override_settings(LAMBDA_TASKS={"TABLE": f"django:{database}", "MODE": "off"}):
        for commits in (False, True):
            with transaction.atomic(using=database):
                transaction.on_commit(lambda: backend.enqueue(jobs.answer, [], {}), using=database)
                transaction.set_rollback(not commits, using=database)
            assert statuses(database) == ["queued"] * commits
            assert ("is dropped" in caplog.text) is commits


def test_the_store_works_in_an_event_loop(database: str) -> None:
    """Code in an event loop, where Django does no queries, records what it sends by a thread."""
    state = OrmState(database)

    async def send() -> object:
        state.queued([Queued("m", TASKS, "tasks", time.time())], deadline=soon())
        return state.record("m", deadline=soon())

    assert asyncio.run(send()) == state.record("m", deadline=soon()) is not None


@pytest.mark.parametrize("use_tz", [True, False])
def test_any_text_and_any_time_zone_will_do(database: str, *, use_tz: bool) -> None:
    """What a database does not take is replaced or shortened, and times are the same with and without zones."""
    with override_settings(USE_TZ=use_tz, TIME_ZONE="America/New_York"):
        connections[database].close()
        state = OrmState(database, clock=lambda: 1_790_000_000.125)
        first = Attempt("m\0" + "x" * 300, "t\0" + "y" * 600, 60, details={"queue": "q" * 300, "python": "3\ud800"})
        assert isinstance(state.start(first, deadline=soon()), Started)
        error = Ending(Status.FAILED, error_type="E" * 300, error_message="no\0\ud800")
        state.finish(first, error, deadline=soon())
        record = state.record(first.message_id, deadline=soon())
        assert record is not None
        assert (record.error_message, record.python) == ("no\ufffd?", "3?")
        assert (len(record.message_id), len(record.task), len(record.error_type or "")) == (255, 512, 255)
        assert record.started_at == record.finished_at == record.first_failed_at == 1_790_000_000.125
    connections[database].close()


def test_a_database_without_the_tables_is_unavailable(caplog: pytest.LogCaptureFixture) -> None:
    """A store that does not answer defers messages, which stay in the queue, and says what to do."""
    table = TaskRecord._meta.db_table
    with connections["archive"].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO hidden")
    try:
        with pytest.raises(StateUnavailable, match=r"missing or differs.*\(database archive\): run manage.py migrate"):
            OrmState("archive").record("m", deadline=soon())
        with caplog.at_level(logging.INFO):
            assert Dispatched(worker_of("archive"), record_of("look")).outcomes == ["deferred"]
    finally:
        with connections["archive"].cursor() as cursor:
            cursor.execute(f"ALTER TABLE hidden RENAME TO {table}")


def test_a_database_that_is_not_there_is_an_error_of_settings() -> None:
    """An alias that ``DATABASES`` does not have is told when the store is opened, and not with each message."""
    nowhere = override_settings(LAMBDA_TASKS={"TABLE": "django:nowhere"})
    with nowhere, pytest.raises(InvalidSetting, match=r"no database 'nowhere'.*use one of DATABASES: archive, default"):
        opening.of_process()
