"""Django's system checks of tasks: what would fail on Lambda is told by ``manage.py check``."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.checks import Error, Warning  # noqa: A004 - as Django has it
from django.db import connections
from django.utils.module_loading import module_has_submodule

from lambda_tasks import settings
from lambda_tasks.errors import LambdaTasksError
from lambda_tasks.tasks.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.core.checks import CheckMessage

    from lambda_tasks.settings import Settings

_MODES = {
    "eager": "run in the process that enqueues them",
    "local": "run in processes of the machine that enqueues them",
    "off": "are dropped",
}


def check_tasks(app_configs: object = None, **_: Any) -> Iterator[CheckMessage]:  # noqa: ANN401, ARG001 - as Django calls it
    """Yield what is wrong with the settings, and with each task of `lambda_tasks.task` in the apps' modules."""
    try:
        current = settings.current()
    except LambdaTasksError as error:
        yield Error(str(error), id="lambda_tasks.E002")
        return
    yield from _check_database(current)
    seen = set()
    for task in _tasks():
        if task.name not in seen:
            seen.add(task.name)
            yield from _check_task(task, current)


def check_deployment(app_configs: object = None, **_: Any) -> Iterator[CheckMessage]:  # noqa: ANN401, ARG001
    """Yield what is for development alone."""
    try:
        current = settings.current()
    except LambdaTasksError:
        return  # as `check_tasks` says
    mode, alias = current.mode, current.record_database
    if alias in connections and connections[alias].vendor == "sqlite":
        hint = "Use PostgreSQL, MySQL or MariaDB: execution environments do not share a file."
        problem = f"LAMBDA_TASKS_TABLE names the database {alias!r}, which is SQLite."
        yield Warning(problem, hint=hint, id="lambda_tasks.W005")
    if mode in _MODES:
        hint = "Set LAMBDA_TASKS_MODE=sqs in production."
        yield Warning(f"LAMBDA_TASKS_MODE is {mode}: tasks {_MODES[mode]}.", hint=hint, id="lambda_tasks.W002")


def _check_database(current: Settings) -> Iterator[CheckMessage]:
    """Yield what is wrong with the database of leases and records. It is not asked."""
    alias = current.record_database
    if alias is None:
        return
    if alias not in connections:
        hint = f"Use one of DATABASES: {', '.join(sorted(connections))}."
        yield Error(f"LAMBDA_TASKS_TABLE names no database: {alias!r}.", hint=hint, id="lambda_tasks.E004")
        return
    features = connections[alias].features
    if not features.supports_stored_generated_columns or not features.supports_ignore_conflicts:
        hint = "Use PostgreSQL, MySQL, MariaDB or SQLite, or a table of DynamoDB."
        engine = connections[alias].settings_dict["ENGINE"]
        problem = f"LAMBDA_TASKS_TABLE names the database {alias!r}, whose engine {engine} has not what leases need."
        yield Error(problem, hint=hint, id="lambda_tasks.E005")


def _check_task(task: Task[..., Any], current: Settings) -> Iterator[CheckMessage]:
    options, module = task.configuration, task.definition.module
    variable = settings.queue_url_variable(options.queue)
    if current.mode == "sqs" and variable not in current.queue_urls:
        hint = f'Set {variable}, or LAMBDA_TASKS = {{"QUEUE_URLS": {{{options.queue!r}: ...}}}}.'
        problem = f"{task.name} has the queue {options.queue!r}, which has no URL."
        yield Warning(problem, hint=hint, id="lambda_tasks.W001")
    if not current.allows_module(module):
        hint = f"Add {module} to LAMBDA_TASKS_MODULES."
        yield Error(
            f"{task.name} lies outside of LAMBDA_TASKS_MODULES: it would be rejected.",
            hint=hint,
            id="lambda_tasks.E003",
        )
    if current.table is None and (options.singleton or options.idempotency_key or options.rate_limit):
        kind = "a singleton" if options.singleton else "idempotent" if options.idempotency_key else "rate-limited"
        hint = "Set LAMBDA_TASKS_TABLE, for the function too."
        yield Warning(f"{task.name} is {kind}, which needs a table.", hint=hint, id="lambda_tasks.W003")
    if not current.django:
        hint = "Remove LAMBDA_TASKS_DJANGO=0."
        yield Warning(f"Django would not be set up before {module} is imported.", hint=hint, id="lambda_tasks.W004")


def _tasks() -> Iterator[Task[..., Any]]:
    """Yield the tasks that the modules of the installed apps define; the module ``tasks`` of each is imported."""
    for config in apps.get_app_configs():
        if module_has_submodule(config.module, "tasks") and not config.name.startswith(("django.", "lambda_tasks.")):
            importlib.import_module(f"{config.name}.tasks")
        for name, module in list(sys.modules.items()):
            if f"{name}.".startswith(f"{config.name}."):
                values = list(getattr(module, "__dict__", {}).values())
                yield from (value for value in values if issubclass(type(value), Task))
