"""The settings of the project."""

from __future__ import annotations

import os
from typing import Any

SECRET_KEY = "of a test"
DEBUG = False
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django_project.orchard"]


def _database(name: str) -> dict[str, Any]:
    engine = os.environ.get("ORCHARD_ENGINE", "django.db.backends.sqlite3")
    folder = os.environ.get("ORCHARD_FOLDER")
    path = f"{folder}/{name}.sqlite3" if folder else f"file:{name}?mode=memory&cache=shared"
    options = {} if folder else {"uri": True}
    age = int(os.environ.get("ORCHARD_CONN_MAX_AGE", "0"))
    return {"ENGINE": engine, "NAME": path, "OPTIONS": options, "CONN_MAX_AGE": age}


DATABASES = {"default": _database("default"), "archive": _database("archive")}
LAMBDA_TASKS: dict[str, Any] = {}
