"""The commands of ``manage.py``."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError, SystemCheckError
from django.test import override_settings
from django.utils import timezone

from django_project.test_admin import add, sqs
from lambda_tasks.django.models import TaskKey, TaskRecord
from lambda_tasks.django.store import deletion

__all__ = ["sqs"]


@pytest.fixture(autouse=True)
def _no_record_is_left() -> Iterator[None]:
    yield
    TaskRecord.objects.all().delete()
    TaskKey.objects.all().delete()


def said(command: str, *arguments: str, **options: Any) -> str:
    out = io.StringIO()
    call_command(command, *arguments, stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


@override_settings(LAMBDA_TASKS={"TABLE": "django"})
def test_cleanup_deletes_what_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Expired rows are deleted, and with an age what ended before; what waits or runs keeps its record."""
    monkeypatch.setattr(deletion, "_PER_STATEMENT", 2)
    now = timezone.now()
    long_ago, old = now - timedelta(days=60), now - timedelta(days=10)
    for number in range(3):
        add(f"expired-{number}", first_received_at=long_ago, finished_at=long_ago, expires_at=old)
    add("ended", first_received_at=old, finished_at=old)
    add("without-end", status="succeeded", first_received_at=old)
    add("crashed", status="running", first_received_at=old, lease_until=old.timestamp())
    add("running", status="running", first_received_at=old, lease_until=now.timestamp() + 60)
    add("waiting", status="queued", queued_at=old, first_received_at=old)
    add("retrying", status="retrying", first_received_at=old, finished_at=old)
    add("late", first_received_at=old, finished_at=now)
    key = {"lease_owner": "x", "message_id": "m"}
    TaskKey.objects.create(key="key#old", expires_at=old, **key)
    TaskKey.objects.create(key="key#new", **key)
    assert said("lambda_tasks_cleanup", "--dry-run") == "Would delete 3 records and 1 keys.\n"
    assert said("lambda_tasks_cleanup") == "Deleted 3 records and 1 keys.\n"
    assert said("lambda_tasks_cleanup", older_than=11 * 86400) == "Deleted 0 records and 0 keys.\n"
    assert said("lambda_tasks_cleanup", "--older-than", "7d", "--dry-run") == "Would delete 3 records and 0 keys.\n"
    assert said("lambda_tasks_cleanup", "--older-than", "7") == "Deleted 3 records and 0 keys.\n"
    assert sorted(TaskRecord.objects.values_list("pk", flat=True)) == ["late", "retrying", "running", "waiting"]
    with pytest.raises((CommandError, argparse.ArgumentError), match="'soon' is no age"):
        said("lambda_tasks_cleanup", "--older-than", "soon")


def test_cleanup_needs_a_database() -> None:
    """Without records in a database there is nothing to delete from."""
    with pytest.raises(CommandError, match="set LAMBDA_TASKS_TABLE=django, or add --database"):
        said("lambda_tasks_cleanup")
    assert said("lambda_tasks_cleanup", database="archive") == "Deleted 0 records and 0 keys.\n"


def test_the_console_scripts_commands_have_djangos_settings(sqs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dead letters are listed from the queue that the settings name; options and exit statuses are those of the script."""
    pytest.importorskip("rich_click")
    pytest.importorskip("boto3")
    for name in ("AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASKS_TABLE"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    sqs.answer("SendMessage", {"QueueUrl": "x/dead", "MessageBody": '{"task_name": "shop.tasks.send"}'})
    with override_settings(LAMBDA_TASKS={"DEAD_LETTER_QUEUE_URL": f"{sqs.url}/123456789012/dead"}):
        told = json.loads(said("lambda_tasks_dead_letters", "list", "--json", "-v", "1"))
        assert (told["count"], told["groups"][0]["task"]) == (1, "shop.tasks.send")
        with pytest.raises(SystemExit) as status:
            said("lambda_tasks_dead_letters", "show", "nobody")
        assert status.value.code == 1
        with pytest.raises(SystemExit) as status:
            said("lambda_tasks_dead_letters", "--no-such-option")
        assert status.value.code == 2
        assert "--visibility" in said("lambda_tasks_worker", "--help")


def test_check_tells_of_tasks_and_references() -> None:
    """Errors of Django's checks end it; then the references of this environment are checked."""
    pytest.importorskip("rich_click")
    pytest.importorskip("boto3")
    with override_settings(LAMBDA_TASKS={"MODE": "quick"}), pytest.raises(SystemCheckError, match="E002"):
        said("lambda_tasks_check")
    with override_settings(LAMBDA_TASKS={"MODE": "eager", "TABLE": "tasks"}):
        assert json.loads(said("lambda_tasks_check", "--json"))["problems"] == []


def test_without_the_extra_commands_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The console script needs libraries that Django does not."""
    for name in [one for one in sys.modules if one.startswith("lambda_tasks.command_line")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich_click", None)
    with pytest.raises(CommandError, match=r"rich_click is not installed: pip install 'lambda-tasks\[cli\]'"):
        said("lambda_tasks_dead_letters", "list")
