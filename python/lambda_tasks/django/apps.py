"""The app ``lambda_tasks.django``, for ``INSTALLED_APPS``: what ``manage.py check`` says of tasks."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks


class LambdaTasksConfig(AppConfig):
    """The app. Its label is not that of django-lambda-tasks, whose tables and migrations stay as they are."""

    name = "lambda_tasks.django"
    label = "lambda_tasks_django"
    verbose_name = "AWS Lambda tasks"

    def ready(self) -> None:
        """Register the checks."""
        from lambda_tasks.django.checks import check_deployment, check_tasks  # noqa: PLC0415 - not before apps are ready

        checks.register(check_tasks, "lambda_tasks")
        checks.register(check_deployment, "lambda_tasks", deploy=True)
