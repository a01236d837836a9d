"""The settings of the project."""

from __future__ import annotations

import os
from typing import Any

import django

SECRET_KEY = "of a test"
DEBUG = False
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "django_project.urls"
ALLOWED_HOSTS = ["*"]
_CONTRIBUTED = ("admin", "auth", "contenttypes", "messages", "sessions")
INSTALLED_APPS = [*(f"django.contrib.{app}" for app in _CONTRIBUTED), "django_project.orchard", "lambda_tasks.django"]
MIGRATION_MODULES = dict.fromkeys(_CONTRIBUTED)  # their tables are made at once, which takes a tenth of the time
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "/static/"


def _database(name: str) -> dict[str, Any]:
    engine = os.environ.get("ORCHARD_ENGINE", "django.db.backends.sqlite3")
    folder = os.environ.get("ORCHARD_FOLDER")
    path = f"{folder}/{name}.sqlite3" if folder else f"file:{name}?mode=memory&cache=shared"
    options: dict[str, Any] = {} if folder else {"uri": True}
    options["init_command"] = "PRAGMA synchronous = OFF"  # nothing of it is to outlast a power cut
    age = int(os.environ.get("ORCHARD_CONN_MAX_AGE", "0"))
    return {"ENGINE": engine, "NAME": path, "OPTIONS": options, "CONN_MAX_AGE": age}


DATABASES = {"default": _database("default"), "archive": _database("archive")}
if "ORCHARD_POSTGRESQL" in os.environ:  # the folder of its socket
    _SERVER = {"HOST": os.environ["ORCHARD_POSTGRESQL"], "USER": "postgres", "NAME": "postgres"}
    DATABASES["postgresql"] = {"ENGINE": "django.db.backends.postgresql", **_SERVER}
if "ORCHARD_MARIADB" in os.environ:  # the path of its socket
    import pymysql

    pymysql.install_as_MySQLdb()
    _SERVER = {"HOST": os.environ["ORCHARD_MARIADB"], "USER": "root", "NAME": "orchard"}
    DATABASES["mariadb"] = {"ENGINE": "django.db.backends.mysql", **_SERVER}
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
