"""The system checks of the app."""

from __future__ import annotations

import pytest
from django.core.checks import run_checks
from django.db import connections
from django.test import override_settings

from lambda_tasks.django import LambdaTasksBackend
from lambda_tasks.state import openers

TASKS = "django_project.orchard.tasks"


def found(*, deploy: bool = False) -> dict[str, set[str]]:
    """Return the messages of the checks by their ids."""
    told: dict[str, set[str]] = {}
    for one in run_checks(tags=["lambda_tasks"], include_deployment_checks=deploy):
        told.setdefault(one.id, set()).add(one.msg)
    return told


def test_what_tasks_need_is_checked() -> None:
    """A queue without a URL, a module that is not allowed, and a singleton without a table are told by task."""
    with override_settings(LAMBDA_TASKS={"MODULES": ["shop.tasks"]}):
        told = found()
    assert told.keys() == {"lambda_tasks.W001", "lambda_tasks.E003", "lambda_tasks.W003"}
    assert f"{TASKS}.plant has the queue 'default', which has no URL." in told["lambda_tasks.W001"]
    assert told["lambda_tasks.W003"] == {
        f"{TASKS}.{one} is a singleton, which needs a table." for one in ("mow", "prune")
    }
    assert f"{TASKS}.plant lies outside of LAMBDA_TASKS_MODULES: it would be rejected." in told["lambda_tasks.E003"]
    complete = {"MODULES": [TASKS], "QUEUE_URLS": {"default": "https://sqs"}, "TABLE": "tasks"}
    with override_settings(LAMBDA_TASKS=complete):
        assert found(deploy=True) == {}


def test_a_database_for_leases_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records in a database need one that is configured, whose engine has what leases need; SQLite is not for Lambda."""
    with override_settings(LAMBDA_TASKS={"MODE": "eager", "TABLE": "django"}):
        assert found() == {}
        assert found(deploy=True).keys() == {"lambda_tasks.W002", "lambda_tasks.W005"}
        monkeypatch.setattr(connections["default"].features, "supports_ignore_conflicts", False)
        (problem,) = found().pop("lambda_tasks.E005")
        assert "engine django_project.engine has not what leases need" in problem
    with override_settings(LAMBDA_TASKS={"MODE": "eager", "TABLE": "django:nowhere"}):
        assert found(deploy=True).keys() == {"lambda_tasks.E004", "lambda_tasks.W002"}


def test_a_table_of_an_app_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records in the database need the app that has the tables, which the backend's own check tells."""
    monkeypatch.setattr(openers, "django", None)
    with override_settings(LAMBDA_TASKS={"MODE": "eager", "TABLE": "django"}):
        assert [one.id for one in LambdaTasksBackend("default", {}).check()] == ["lambda_tasks.E006"]


@pytest.mark.parametrize("mode", ["eager", "local", "off"])
def test_modes_of_development_are_told_before_deployment(mode: str) -> None:
    """A mode in which nothing reaches Lambda is a warning of ``check --deploy`` alone."""
    with override_settings(LAMBDA_TASKS={"MODE": mode, "TABLE": "tasks"}):
        assert found() == {}
        assert found(deploy=True).keys() == {"lambda_tasks.W002"}


def test_settings_that_are_not_usable_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad value is one error, and a set-up that was turned off is a warning."""
    with override_settings(LAMBDA_TASKS={"MODE": "quick"}):
        assert found(deploy=True).keys() == {"lambda_tasks.E002"}
    monkeypatch.setenv("LAMBDA_TASKS_DJANGO", "0")
    with override_settings(LAMBDA_TASKS={"MODE": "eager", "TABLE": "tasks"}):
        assert found() == {"lambda_tasks.W004": {f"Django would not be set up before {TASKS} is imported."}}
