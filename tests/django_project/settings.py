"""The settings of the project."""

from __future__ import annotations

import os
from typing import Any

import django

SECRET_KEY = "of a test"
DEBUG = False
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django_project.orchard", "lambda_tasks.django"]


def _database(name: str) -> dict[str, Any]:
    engine = os.environ.get("ORCHARD_ENGINE", "django.db.backends.sqlite3")
    folder = os.environ.get("ORCHARD_FOLDER")
    path = f"{folder}/{name}.sqlite3" if folder else f"file:{name}?mode=memory&cache=shared"
    options = {} if folder else {"uri": True}
    age = int(os.environ.get("ORCHARD_CONN_MAX_AGE", "0"))
    return {"ENGINE": engine, "NAME": path, "OPTIONS": options, "CONN_MAX_AGE": age}


DATABASES = {"default": _database("default"), "archive": _database("archive")}
_TASKS = "django.tasks"
if django.VERSION < (6,):
    INSTALLED_APPS.append("django_tasks")
    _TASKS = "django_tasks"
TASKS = {
    "default": {
        "BACKEND": os.environ.get("ORCHARD_BACKEND", "lambda_tasks.django.LambdaTasksBackend"),
        "QUEUES": ["default", "mail"],
        "OPTIONS": {"max_retries": 1, "retry_on": ["builtins.ConnectionError"]},
    },
    "immediate": {"BACKEND": f"{_TASKS}.backends.immediate.ImmediateBackend"},
}
LAMBDA_TASKS: dict[str, Any] = {}
