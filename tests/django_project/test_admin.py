"""The admin of records: what it shows, whom it lets do what, and by which queries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext, setup_test_environment, teardown_test_environment
from django.utils import timezone

from django_project import small_sqs
from django_project.small_sqs import SmallSqs
from lambda_tasks.aws import calls
from lambda_tasks.django.listing import MOST_ROWS
from lambda_tasks.django.models import TaskRecord

LIST = "/admin/lambda_tasks_django/taskrecord/"
ROWS = 6000
TABLE = TaskRecord._meta.db_table
ENTRY = '[1790000000.0,"r-1",1790000001.5,"retrying","OSError","<b>down</b>"]'


def client_of(*permissions: str) -> Client:
    """Return a client who is logged in, with permissions of records alone."""
    User.objects.filter(username="reader").delete()
    user = User.objects.create(username="reader", is_staff=True)
    for name in permissions:
        user.user_permissions.add(Permission.objects.get(codename=f"{name}_taskrecord"))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallSqs]:
    """Two queues that the process reaches by the settings that it has."""
    calls.forget()
    with small_sqs.serve() as queues:
        for name, value in {
            "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9",  # by our own transport: boto3 takes half a second
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_ENDPOINT_URL": queues.url,
            "LAMBDA_TASKS_QUEUE_URL": f"{queues.url}/123456789012/tasks",
            "LAMBDA_TASKS_TABLE": "django",
        }.items():
            monkeypatch.setenv(name, value)
        yield queues
    calls.forget()


@pytest.fixture(autouse=True, scope="module")
def _templates_are_watched() -> Iterator[None]:
    setup_test_environment()
    yield
    teardown_test_environment()


@pytest.fixture(autouse=True)
def _no_record_is_left() -> Iterator[None]:
    yield
    for alias in connections:
        TaskRecord.objects.using(alias).all().delete()


def add(message_id: str, **values: Any) -> TaskRecord:
    now = timezone.now()
    given = {"task": "shop.tasks.send", "status": "failed", "queue": "tasks", "attempts": 1, "first_received_at": now}
    made: TaskRecord = TaskRecord.objects.create(message_id=message_id, **{**given, **values})
    return made


def test_a_record_is_shown_and_never_changed() -> None:
    """The list has state and duration, the page all that is known, escaped; nobody adds, changes or deletes a record."""
    now = timezone.now()
    add(
        "m-1",
        started_at=now,
        finished_at=now + timedelta(seconds=2.5),
        kwargs='{"to":"<script>"}',
        result='{"sent": 1}',
        traceback="Traceback (most recent call last):\n  <module>",
        history=json.dumps([ENTRY]),
    )
    client = client_of("view")
    listed = client.get(LIST).content.decode()
    assert 'class="task-status task-status-failed"' in listed
    assert "2.500 s" in listed
    assert "shop.tasks.send" in listed
    page = client.get(f"{LIST}m-1/change/").content.decode()
    for text in ("&quot;to&quot;: &quot;&lt;script&gt;&quot;", "&quot;sent&quot;: 1", "&lt;module&gt;", "1.500 s"):
        assert text in page, text
    assert "OSError: &lt;b&gt;down&lt;/b&gt;" in page
    assert 'name="_save"' not in page
    for path in ("add/", "m-1/delete/"):
        assert client.get(LIST + path).status_code == 403
    assert client.post(f"{LIST}m-1/change/", {"task": "other"}).status_code == 403
    assert TaskRecord.objects.get().task == "shop.tasks.send"
    assert client_of().get(LIST).status_code == 403


def test_filters_and_the_search_narrow_the_list() -> None:
    """Status, task, queue and age filter; a search finds a message by its id, or tasks by a part of their names."""
    long_ago = timezone.now() - timedelta(days=2)
    add("m-send")
    add("m-bill", task="shop.billing.charge", status="succeeded", queue="bills")
    add("m-old", task="shop.tasks.tidy", status="skipped", queue=None, first_received_at=long_ago)
    client = client_of("view")
    for query, expected in {
        "": ["m-bill", "m-old", "m-send"],
        "status=succeeded": ["m-bill"],
        "task=shop.tasks.tidy": ["m-old"],
        "queue=tasks": ["m-send"],
        "hours=24": ["m-bill", "m-send"],
        "hours=x": ["m-bill", "m-old", "m-send"],
        "q=m-old": ["m-old"],
        "q=BILLING": ["m-bill"],
        "q=shop.tasks": ["m-old", "m-send"],
        "q=nothing": [],
    }.items():
        found = client.get(f"{LIST}?{query}").context["cl"].result_list
        assert sorted(one.message_id for one in found) == expected, query


# The dialects' words for thousands of rows: text of parts, a time, and what makes the planner know of them.
DIALECTS = {
    "sqlite": ("{} || {}", "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', -i || ' seconds')", "ANALYZE"),
    "postgresql": ("{} || {}", "now() - i * interval '1 second'", "ANALYZE"),
    "mysql": ("concat({}, {})", "utc_timestamp() - interval i second", f"ANALYZE TABLE {TABLE}"),
}


@pytest.fixture
def _many(database: str) -> None:
    """Put thousands of records into a table, by one statement."""
    TaskRecord.objects.using(database).create(message_id="m", task="shop.tasks.t", status="succeeded", queue="q")
    connection = connections[database]
    text, moment, analyze = DIALECTS[connection.vendor]
    values = {
        "message_id": text.format("'m-'", "i"),
        "task": text.format("'shop.t'", "mod(i, 7)" if connection.vendor == "mysql" else "(i %% 7)"),
        "status": "case when i < 100 then 'failed' else 'succeeded' end",
        "first_received_at": moment,
    }
    columns = [one.column for one in TaskRecord._meta.concrete_fields if not one.generated]
    quoted = [connection.ops.quote_name(one) for one in columns]
    chosen = [f"({values[one]})" if one in values else quote for one, quote in zip(columns, quoted, strict=True)]
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})"  # noqa: S608 - no input
    insert = f"INSERT INTO {TABLE} ({', '.join(quoted)}) {numbers} SELECT {', '.join(chosen)} FROM {TABLE}, n"  # noqa: S608
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute(f"SET max_recursive_iterations = {ROWS}")
        cursor.execute(insert, [])
        cursor.execute(analyze)


QUERIES = (
    "",
    "p=20",
    "status=failed",
    "task=shop.t3",
    "queue=q",
    "status=failed&hours=720",
    "q=m-77",
    "q=t5",
    "p=3&status=succeeded",
)


@pytest.mark.usefixtures("_many")
def test_a_page_of_many_records_is_read_by_an_index(database: str) -> None:
    """No query of a list reads the whole table, whatever filters it, and none counts all that there is."""
    client = client_of("view")
    with override_settings(LAMBDA_TASKS={"TABLE": f"django:{database}"}):
        for query in QUERIES:
            with CaptureQueriesContext(connections[database]) as captured:
                listed = client.get(f"{LIST}?{query}").context["cl"]
            assert 0 < listed.result_count <= MOST_ROWS, query
            asked = [one["sql"] for one in captured if TABLE in one["sql"]]
            assert 3 <= len(asked) <= 30, query
            if connections[database].vendor == "mysql" and query.startswith("p="):
                continue  # it rather sorts a table of this size than to go so far in an index
            for sql in asked:
                assert "traceback" not in sql
                assert scans(database, sql) == [], (query, sql)


def scans(database: str, sql: str) -> list[str]:
    """Return the steps of a query's plan that read the whole table."""
    vendor = connections[database].vendor
    with connections[database].cursor() as cursor:
        cursor.execute(("EXPLAIN QUERY PLAN " if vendor == "sqlite" else "EXPLAIN ") + sql.replace("%", "%%"), [])
        plan = cursor.fetchall()
    if vendor == "sqlite":
        return [step[3] for step in plan if TABLE in step[3] and "INDEX" not in step[3]]
    if vendor == "mysql":
        return [str(step) for step in plan if step[2] == TABLE and step[3] == "ALL"]
    return [line for (line,) in plan if "Seq Scan" in line]


def act(client: Client, action: str, *message_ids: str) -> list[str]:
    """Do an action with records, and return what the admin says to it."""
    answer = client.post(LIST, {"action": action, "_selected_action": message_ids}, follow=True)
    return [str(one) for one in answer.context["messages"]]


def test_replay_sends_a_new_message(sqs: SmallSqs) -> None:
    """Who may replay sends a record's message again, linked to the first one; without its kwargs there is a reason."""
    add("m-1", kwargs='{"to":"a"}', context='{"tenant":"acme"}')
    add("m-2")
    add("m-3", request='{"backend":"default","queue_name":"default","args":[1],"kwargs":{"x":2}}', queue="default")
    act(client_of("view", "redrive"), "replay", "m-1")
    assert sqs.queues["tasks"] == []
    client = client_of("view", "replay")
    assert '<option value="replay">' in client.get(LIST).content.decode()
    assert '<option value="redrive">' not in client.get(LIST).content.decode()
    told = act(client, "replay", "m-1", "m-2", "m-3")
    assert told[0] == "2 of 3 messages sent."
    assert told[1].startswith("m-2: it cannot be sent again: its kwargs were not recorded")
    bodies = sorted((json.loads(one["Body"]) for one in sqs.queues["tasks"]), key=lambda one: "args" in one)
    assert [one.get("args") for one in bodies] == [None, [1]]
    assert [one["kwargs"] for one in bodies] == [{"to": "a"}, {"x": 2}]
    queued = TaskRecord.objects.filter(status="queued").values_list("replay_of", flat=True)
    assert sorted(queued) == ["m-1", "m-3"]


def test_redrive_sends_dead_letters_back(sqs: SmallSqs) -> None:
    """Who may redrive sends the dead letters of records back, and leaves all others where they are."""
    for message_id, body in {"m-1": "{}", "other": "{}", "sqs-own": '{"id":"m-2"}'}.items():
        attributes = {"lambda_tasks_message_id": {"DataType": "String", "StringValue": message_id}}
        request = {"QueueUrl": "x/dead", "MessageBody": body, "MessageAttributes": attributes}
        sqs.answer("SendMessage", request)
    for message_id in ("m-1", "m-2", "m-3"):
        add(message_id)
    add("m-4", queue="unknown")
    told = act(client_of("view", "redrive"), "redrive", "m-1", "m-2", "m-3", "m-4")
    assert told[0] == "2 of 4 messages sent."
    assert sorted(told[1:]) == [
        "m-3: it has no dead letter, or not any more (message m-3)",
        "m-4: the queue 'unknown' has no URL (message m-4): set the LAMBDA_TASKS_QUEUE_URL of that queue here too",
    ]
    assert {one["Body"] for one in sqs.queues["tasks"]} == {"{}", '{"id":"m-2"}'}
    assert [one["MessageAttributes"] for one in sqs.queues["tasks"]] == [{}, {}]
    assert (len(sqs.queues["dead"]), sqs.released) == (1, 1)
