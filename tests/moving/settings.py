"""Settings of a project that uses django-lambda-tasks 0.8.1."""

import os

SECRET_KEY = "of a test"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "lambda_tasks",
    "shop",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["SHOP_DATABASE"]}}
LAMBDA_TASKS_QUEUES = {"default": {"queue_url": os.environ["SHOP_QUEUE_URL"]}}
LAMBDA_TASKS_DEFAULT_SOFT_TIMEOUT = 20
LAMBDA_TASKS_DEFAULT_HARD_TIMEOUT = 30
