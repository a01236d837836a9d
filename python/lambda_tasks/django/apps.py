"""The app ``lambda_tasks.django``, for ``INSTALLED_APPS``: what ``manage.py check`` says of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import AppConfig
from django.core import checks

from lambda_tasks.errors import InvalidSetting
from lambda_tasks.state import openers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.core.checks import CheckMessage

    from lambda_tasks.settings import Settings
    from lambda_tasks.state.protocol import State


class LambdaTasksConfig(AppConfig):
    """The app. Its label is not that of django-lambda-tasks, whose tables and migrations stay as they are."""

    name = "lambda_tasks.django"
    label = "lambda_tasks_django"
    verbose_name = "AWS Lambda tasks"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks, and the store of records in a database of Django's."""
        openers.django = _open
        checks.register(_check_tasks, "lambda_tasks")
        checks.register(_check_deployment, "lambda_tasks", deploy=True)


def _check_tasks(**given: Any) -> Iterable[CheckMessage]:  # noqa: ANN401 - as Django calls it
    from lambda_tasks.django.checks import check_tasks  # noqa: PLC0415 - a function never checks

    return check_tasks(**given)


def _check_deployment(**given: Any) -> Iterable[CheckMessage]:  # noqa: ANN401
    from lambda_tasks.django.checks import check_deployment  # noqa: PLC0415

    return check_deployment(**given)


def _open(alias: str, settings: Settings) -> State:
    """Open the store in the database `alias`. It does no query.

    Raises:
        InvalidSetting: there is no such database.

    """
    from django.db import connections  # noqa: PLC0415 - not before apps are ready

    from lambda_tasks.django.store.messages import OrmState  # noqa: PLC0415

    if alias not in connections:
        problem, remedy = f"there is no database {alias!r}", f"use one of DATABASES: {', '.join(sorted(connections))}"
        raise InvalidSetting(problem, variable="LAMBDA_TASKS_TABLE", remedy=remedy)
    return OrmState(alias, record_ttl_seconds=settings.record_ttl_seconds)
