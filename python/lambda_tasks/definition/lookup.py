"""The lookup of the task that a message names. No module is imported that is not allowed."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from lambda_tasks.definition.definition import Definition
from lambda_tasks.errors import TaskNotAllowed, UnknownTask

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import ModuleType

    from lambda_tasks.settings import Settings


_LONGEST_NAME_SHOWN = 256  # whoever sends a message chooses it

adapters: list[Callable[[object], Definition | None]] = []
"""What makes a definition of the tasks of another framework, or None of what is none of them."""


class ModuleRaised(Exception):
    """The module of a task is there, and raised `error` while it was imported. `module` is what is not imported now."""

    def __init__(self, module: str, error: BaseException) -> None:
        super().__init__(f"{module} raised {type(error).__name__} while it was imported")
        self.module = module
        self.error = error


class Lookup:
    """The tasks that this process has found so far: `known`, by name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.known: dict[str, Definition] = {}

    def find(self, name: str) -> Definition:
        """Return the definition of the task at the dotted path `name`, importing its module where that is allowed.

        Raises:
            ModuleRaised: the module raised while it was imported. The next call imports it anew.
            TaskNotAllowed: the module is outside ``LAMBDA_TASKS_MODULES``, or the object is not a task.
            UnknownTask: there is no such module, or nothing of that name in it.

        """
        definition = self.known.get(name)
        if definition is None:
            definition = self.known[name] = _find(name, self._settings)
        return definition

    def import_modules(self) -> None:
        """Import the modules that ``LAMBDA_TASKS_MODULES`` names in full, in the init phase and not for a message."""
        for module in self._settings.modules_named_in_full:
            importlib.import_module(module)


def find_task(name: str, settings: Settings) -> Definition:
    """Return the definition of the task at the dotted path `name`, importing its module where that is allowed.

    Raises:
        TaskNotAllowed: as `Lookup.find`.
        UnknownTask: as `Lookup.find`.
        BaseException: what the module raised while it was imported.

    """
    try:
        return _find(name, settings)
    except ModuleRaised as raised:
        raise raised.error from None


def _find(name: str, settings: Settings) -> Definition:
    module_name, _, attribute = name.rpartition(".")
    source = f"task {ascii(name[:_LONGEST_NAME_SHOWN])[1:-1]}"
    if not module_name or not all(part.isidentifier() for part in name.split(".")):
        raise UnknownTask("the name is not a dotted path", source=source, remedy="use package.module.task")
    _check_allowed(module_name, source, settings)
    found = getattr(_imported(module_name, source), attribute, None)
    if found is None:
        raise UnknownTask(f"{module_name} has no {attribute}", source=source, remedy="deploy it, or correct the name")
    definition = getattr(found, "definition", None)
    if definition is None:
        definition = next(filter(None, (adapt(found) for adapt in adapters)), None)
    if not isinstance(definition, Definition):
        raise TaskNotAllowed("the object is not a task", source=source, remedy="put @task above the function")
    _check_allowed(definition.module, source, settings)  # it may be imported there from elsewhere
    return definition


def _imported(module_name: str, source: str) -> ModuleType:
    before = set(sys.modules)
    try:
        return importlib.import_module(module_name)
    except BaseException as error:
        _forget_orphans(before)
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise UnknownTask(
                f"there is no module {error.name}", source=source, remedy="deploy it, or correct the name"
            ) from error
        raise ModuleRaised(_first_missing(module_name), error) from error


def _forget_orphans(before: Collection[str]) -> None:
    """Forget the modules below a package that raised: Python forgets the package alone.

    Imported anew, the package would not get them for attributes. Other modules that were imported to their end stay, as
    Python has it: what they registered, they would register twice.
    """
    for name in sorted(sys.modules.keys() - before):  # a package comes before what is below it
        package = name.rpartition(".")[0]
        if package and package not in sys.modules:
            sys.modules.pop(name, None)


def _first_missing(module_name: str) -> str:
    """Return the outermost package of a module, or the module itself, that is not imported."""
    parts = module_name.split(".")
    names = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
    return next((name for name in names if name not in sys.modules), module_name)


def _check_allowed(module_name: str, source: str, settings: Settings) -> None:
    if not settings.allows_module(module_name):
        remedy = f"add {module_name} to LAMBDA_TASKS_MODULES if its tasks may run"
        raise TaskNotAllowed("the module is not allowed", source=source, remedy=remedy)
