"""Settings of the project that both sides of the benchmark run; the environment says which side this is."""

import os

SECRET_KEY = "of a benchmark"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",  # which theirs needs
    *os.environ["BENCH_APPS"].split(),
    "bench_shop",
]
_SOCKET = os.environ.get("BENCH_SOCKET")
_SQLITE = {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("BENCH_DATABASE", ":memory:")}
_POSTGRESQL = {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "postgres", "HOST": _SOCKET}
DATABASES = {"default": {**(_POSTGRESQL if _SOCKET else _SQLITE), "CONN_MAX_AGE": 600}}
LAMBDA_TASKS_QUEUES = {"default": {"queue_url": "https://sqs.eu-west-1.amazonaws.com/123456789012/tasks"}}
TASKS = {"default": {"BACKEND": "lambda_tasks.django.LambdaTasksBackend"}} if "BENCH_RESULTS" in os.environ else {}
LOGGING_CONFIG = None
