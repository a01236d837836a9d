"""The tasks of a template's functions, with their schedules: read, and where that is not enough imported."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lambda_tasks.definition.lookup import find_task
from lambda_tasks.local.checks.advice import OUR_HANDLER, code_of, own_tasks
from lambda_tasks.local.checks.tasks_in_code import Code
from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.template.model import Model
from lambda_tasks.local.writing.schedule_plan import with_values
from lambda_tasks.settings import Settings


def code_of_functions(model: Model) -> dict[str, Code]:
    """Return the tasks of each function with our handler. Where a schedule cannot be read its module is imported.

    Raises:
        LocalError: code is not here, or cannot be imported.

    """
    found = {}
    with tempfile.TemporaryDirectory(prefix="lambda-tasks-") as folder:
        for function in model.functions.values():
            if function.handler != OUR_HANDLER:
                continue
            code = code_of(function, Path(folder))
            if code is None:
                raise LocalError(f"the code of {function.name} is not here", remedy="correct its CodeUri")
            own = own_tasks(function, code)
            place = str(function.code) if function.code is not None else folder
            found[function.name] = with_values(own, _values(own, place))
    return found


def _values(code: Code, folder: str) -> Mapping[str, tuple[str | None, str | None]]:
    """Return schedule and time zone of the tasks whose own cannot be read, as their modules define them."""
    found = {}
    for name, task in code.tasks.items():
        if task.is_computed or task.is_unknown:
            sys.path.insert(0, folder)
            try:
                options = find_task(name, Settings()).options
            except (Exception, SystemExit) as error:
                problem = f"the schedule of {name} is computed, and its module cannot be imported here: {error}"
                raise LocalError(problem, remedy="install what it imports, or write the schedule as a text") from error
            finally:
                sys.path.remove(folder)
            found[name] = options.schedule, options.schedule_timezone
    return found
