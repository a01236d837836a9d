"""Moving from django-lambda-tasks 0.8.1: the page's own steps move an app, and messages go both ways meanwhile.

The real one has an environment of its own, since both are imported as ``lambda_tasks``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from documents import blocks
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.queue import Queue
from stores import create_table
from wrapper import ROOT, measuring

PAGE = "docs/migration/django-lambda-tasks.md"
PEER = ROOT / ".venv-peer"
SOURCE = PEER / "django_lambda_tasks-0.8.1.tar.gz"

needs_peer = pytest.mark.skipif(not (PEER / ".installed").exists(), reason="it is not installed: make setup-peer")

# What both sides' programs share: messages as the event source mapping hands them over.
EVENT = """
import json, os, sys
import boto3, django
django.setup()
from django.db import connection, transaction

url = os.environ["SHOP_QUEUE_URL"]
def event():
    received = boto3.client("sqs").receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], AttributeNames=["All"])
    arn = "arn:aws:sqs:eu-west-1:123456789012:" + url.rpartition("/")[2]
    return {"Records": [{"messageId": one["MessageId"], "receiptHandle": one["ReceiptHandle"], "body": one["Body"],
        "attributes": one["Attributes"], "messageAttributes": {}, "eventSource": "aws:sqs", "eventSourceARN": arn}
        for one in received.get("Messages", [])]}
"""

SEND = """
from shop import tasks
with transaction.atomic():
    tasks.place.execute_on_commit(name="tea", pieces=2)
    tasks.place.execute_on_commit(name="milk", _delay=0)
tasks.charge.execute_on_commit(name="card")
tasks.cancel.execute_on_commit(name="cake")
tasks.count.execute_on_commit(name="stock")
"""

THEIRS = (
    EVENT
    + SEND
    + """
tasks.take_stock.execute_on_commit(name="alone")
"""
)

OURS = (
    EVENT
    + """
from django.core.management import call_command
call_command("migrate", run_syncdb=True, verbosity=0)
from lambda_tasks import on_outcome
from lambda_tasks.handler import handler
outcomes = {}
on_outcome(lambda report: outcomes.update({report.task: report.outcome.value}))
given = event()
kept = len(handler(given, None)["batchItemFailures"])
sent = outcomes.copy()
outcomes.clear()
again = [one for one in given["Records"] if "charge" not in one["body"] and "cancel" not in one["body"]]
handler({"Records": again}, None)
from shop.models import Order
print(json.dumps([sent, kept, sorted(set(outcomes.values())), sorted(one.name for one in Order.objects.all())]))
"""
    + SEND
)

BACK = (
    EVENT
    + """
from lambda_tasks.models import TaskRecord
from shop.models import Order
TaskRecord._meta.indexes = []  # of PostgreSQL
with connection.schema_editor() as editor:
    for model in (TaskRecord, Order):
        editor.create_model(model)
from lambda_tasks.handler import handler
kept = handler(event(), None)["batchItemFailures"]
print(json.dumps([kept, sorted((one.task_name, one.status) for one in TaskRecord.objects.all())]))
"""
)


def move(app: Path) -> None:
    """Do in `app` as the page says: its commands, and its settings below those that are there."""
    (change,) = blocks("sh", "xargs sed", page=PAGE)
    subprocess.run(["/bin/bash", "-euc", change.text], cwd=app, check=True)
    (added,) = blocks("python", "LAMBDA_TASKS = ", page=PAGE)
    (settings,) = app.glob("**/settings.py")
    settings.write_text(settings.read_text() + added.text)


def run(program: str, app: Path, aws: EmbeddedAws, *, python: Path | str = sys.executable, **environ: str) -> Any:
    """Run a program in `app`, and return what it prints last."""
    finished = subprocess.run(
        [python, "-c", program],
        cwd=app,
        env={
            **aws.environ(),
            "AWS_DEFAULT_REGION": "eu-west-1",
            "DJANGO_SETTINGS_MODULE": "settings",
            "PYTHONPATH": str(app),
            **environ,
            **({} if python == PEER / "bin" / "python" else measuring()),
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads((finished.stdout.splitlines() or ["null"])[-1])


@needs_peer
def test_an_app_moves_by_the_steps_of_the_page(
    embedded_aws: EmbeddedAws, make_queue: Callable[..., Queue], tmp_path: Path
) -> None:
    """What the real one sent runs in the moved app, once; what that sends runs in the one that is not moved yet."""
    before, after = tmp_path / "before", tmp_path / "after"
    shutil.copytree(ROOT / "tests" / "moving", before)
    shutil.copytree(before, after)
    move(after)
    there, back = make_queue().url, make_queue().url
    environ = {"SHOP_DATABASE": str(tmp_path / "ours.sqlite3"), "SHOP_QUEUE_URL": there}
    theirs = {**environ, "SHOP_DATABASE": str(tmp_path / "theirs.sqlite3")}
    assert run(THEIRS, before, embedded_aws, python=PEER / "bin" / "python", **theirs) is None

    table = create_table(embedded_aws)
    moved = {
        **environ,
        "LAMBDA_TASKS_TABLE": table,
        "LAMBDA_TASKS_MODULES": "shop.tasks",
        "LAMBDA_TASKS_QUEUE_URL": back,
    }
    outcomes, kept, again, rows = run(OURS, after, embedded_aws, **moved)
    assert outcomes == {
        "shop.tasks.place": "succeeded",
        "shop.tasks.charge": "retrying",
        "shop.tasks.cancel": "failed",
        "shop.tasks.count": "succeeded",
        "shop.tasks.take_stock": "succeeded",
    }
    assert kept == 2  # the retry, and the failure, which has no dead-letter queue here
    assert again == ["skipped"]
    assert rows == ["1 milk", "2 tea", "alone", "stock"]

    theirs["SHOP_QUEUE_URL"] = back
    kept, records = run(BACK, before, embedded_aws, python=PEER / "bin" / "python", **theirs)
    assert kept == []
    assert records == [
        ["shop.tasks.cancel", "FAILED"],
        ["shop.tasks.charge", "RETRIED"],
        ["shop.tasks.count", "SUCCEEDED"],
        ["shop.tasks.place", "SUCCEEDED"],
        ["shop.tasks.place", "SUCCEEDED"],
    ]


GREET = (
    EVENT
    + """
import time
time.sleep = lambda seconds: None
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.test import Client
assert Client().get("/trigger/", {"name": "Alice"}).content == b"Task triggered for: Alice"
from lambda_tasks.handler import handler
from lambda_tasks import TaskRecord
sent = event()
assert handler(sent, None) == {"batchItemFailures": []}
print(json.dumps(TaskRecord.get(sent["Records"][0]["messageId"]).value()))
"""
)

SETTINGS = """
from example_project.settings import *
INSTALLED_APPS.remove("django.contrib.postgres")
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "example.sqlite3"}}
LAMBDA_TASKS.update(MODE="sqs", QUEUE_URLS={"default": __import__("os").environ["SHOP_QUEUE_URL"]})
"""


@pytest.mark.skipif(not SOURCE.exists(), reason="its source is not here: make setup-peer")
def test_their_example_moves_by_the_steps_of_the_page(
    embedded_aws: EmbeddedAws, make_queue: Callable[..., Queue], tmp_path: Path
) -> None:
    """The example of django-lambda-tasks itself, from the page that enqueues to the result, with another database."""
    with tarfile.open(SOURCE) as archive:
        archive.extractall(tmp_path, filter="data")
    (app,) = tmp_path.glob("*/example")
    move(app)
    (app / "settings.py").write_text(SETTINGS)
    environ = {"SHOP_QUEUE_URL": make_queue().url, "LAMBDA_TASKS_TABLE": create_table(embedded_aws)}
    assert run(GREET, app, embedded_aws, **environ) == "Hello, Alice!"
