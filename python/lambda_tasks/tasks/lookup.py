"""Find the task that a message names, importing no module that is not allowed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lambda_tasks.errors import TaskNotAllowed, UnknownTask
from lambda_tasks.tasks.task import Task

if TYPE_CHECKING:
    from lambda_tasks.settings import Settings


def find_task(name: str, settings: Settings) -> Task[..., Any]:
    """Return the task at the dotted path `name`, importing its module where that is allowed.

    Raises:
        TaskNotAllowed: the module is outside ``LAMBDA_TASKS_MODULES``, or the object is not a task.
        UnknownTask: there is no such module, or nothing of that name in it.

    """
    module_name, _, attribute = name.rpartition(".")
    source = f"task {ascii(name)[1:-1]}"
    if not module_name or not all(part.isidentifier() for part in name.split(".")):
        raise UnknownTask("the name is not a dotted path", source=source, remedy="use package.module.task")
    _check_allowed(module_name, source, settings)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise UnknownTask(
                f"there is no module {error.name}", source=source, remedy="deploy it, or correct the name"
            ) from error
        raise  # the module is there; something that it imports is not
    found = getattr(module, attribute, None)
    if found is None:
        raise UnknownTask(f"{module_name} has no {attribute}", source=source, remedy="deploy it, or correct the name")
    if not isinstance(found, Task):
        raise TaskNotAllowed("the object is not a task", source=source, remedy="put @task above the function")
    _check_allowed(found.function.__module__, source, settings)  # it may be imported there from elsewhere
    return found


def import_modules(settings: Settings) -> None:
    """Import what ``LAMBDA_TASKS_MODULES`` names in full, so that the init phase pays for it and not a message."""
    for module in settings.modules_named_in_full:
        importlib.import_module(module)


def _check_allowed(module_name: str, source: str, settings: Settings) -> None:
    if not settings.allows_module(module_name):
        remedy = f"add {module_name} to LAMBDA_TASKS_MODULES if its tasks may run"
        raise TaskNotAllowed("the module is not allowed", source=source, remedy=remedy)
