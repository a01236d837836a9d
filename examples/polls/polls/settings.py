"""The settings of the polls, of the web server and of the function alike."""

from __future__ import annotations

import os
from pathlib import Path

import django

BASE = Path(__file__).resolve().parent.parent

SECRET_KEY = os.environ.get("POLLS_SECRET_KEY", "")  # of a secret: see template.yaml
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "polls.urls"
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Of a deployment it is PostgreSQL or MySQL: what the web server and the function both reach.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("POLLS_DATABASE", BASE / "polls.sqlite3"),
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
        "ATOMIC_REQUESTS": True,
    }
}

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "lambda_tasks.django",
    "polls",
]
if django.VERSION < (6,):
    INSTALLED_APPS.append("django_tasks")  # the backport of django.tasks

LAMBDA_TASKS = {"TABLE": "django"}  # records and leases, in the database above
TASKS = {"default": {"BACKEND": "lambda_tasks.django.LambdaTasksBackend"}}

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
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
