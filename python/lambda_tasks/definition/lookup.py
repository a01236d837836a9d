"""Find the task that a message names, importing no module that is not allowed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from lambda_tasks.definition.definition import Definition
from lambda_tasks.errors import TaskNotAllowed, UnknownTask

if TYPE_CHECKING:
    from lambda_tasks.settings import Settings


class Lookup:
    """The tasks that this process has found so far, by name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[str, Definition] = {}

    def find(self, name: str) -> Definition:
        """Return the definition of the task at the dotted path `name`; see `find_task`."""
        definition = self._known.get(name)
        if definition is None:
            definition = self._known[name] = find_task(name, self._settings)
        return definition

    def import_modules(self) -> None:
        """Import what ``LAMBDA_TASKS_MODULES`` names in full, so that the init phase pays for it and not a message."""
        for module in self._settings.modules_named_in_full:
            importlib.import_module(module)


def find_task(name: str, settings: Settings) -> Definition:
    """Return the definition of the task at the dotted path `name`, importing its module where that is allowed.

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
    definition = getattr(found, "definition", None)
    if not isinstance(definition, Definition):
        raise TaskNotAllowed("the object is not a task", source=source, remedy="put @task above the function")
    _check_allowed(definition.function.__module__, source, settings)  # it may be imported there from elsewhere
    return definition


def _check_allowed(module_name: str, source: str, settings: Settings) -> None:
    if not settings.allows_module(module_name):
        remedy = f"add {module_name} to LAMBDA_TASKS_MODULES if its tasks may run"
        raise TaskNotAllowed("the module is not allowed", source=source, remedy=remedy)
