"""Another distribution that is imported as ``lambda_tasks``, such as django-lambda-tasks: which of the two counts.

Lambda looks into the function's own folder first, and into layers after that. So theirs hides ours, and the handler is
theirs; or ours hides theirs, which the function's modules ask for.
"""

from __future__ import annotations

import os
import sys

from lambda_tasks.errors import LambdaTasksError, ShadowedPackage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = "lambda_tasks"
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib costs 2 ms
_FIRST = "__init__.py"


def check_task_root(environ: Mapping[str, str]) -> list[LambdaTasksError]:
    """Return an error where the function's folder has a package of our name that is not ours."""
    root = environ.get("LAMBDA_TASK_ROOT")
    folder = f"{root}/{_NAME}"
    if root and _is_other(folder):
        remedy = "remove django-lambda-tasks from the function; its messages run here too"
        problem = f"{folder}/{_FIRST} hides {_OURS}/{_FIRST}, whose handler would never run"
        return [ShadowedPackage(problem, remedy=remedy)]
    return []


def explained(error: ModuleNotFoundError) -> Exception:
    """Return `error`, or another one where a module of the other distribution was asked for, which ours hides."""
    if not (error.name or "").startswith(f"{_NAME}."):
        return error
    theirs = [folder for entry in sys.path if _is_other(folder := os.path.join(entry, _NAME))]  # noqa: PTH118
    if not theirs:
        return error
    problem = f"there is no {error.name} in {_OURS}/{_FIRST}, which hides {theirs[0]}/{_FIRST}"
    return ShadowedPackage(problem, remedy="import from lambda_tasks, and remove django-lambda-tasks from the function")


def _is_other(folder: str) -> bool:
    """Tell whether a package of our name lies in `folder`, and it is no copy of this one."""
    return os.path.isfile(f"{folder}/{_FIRST}") and not os.path.isfile(f"{folder}/environment/shadow.py")  # noqa: PTH113
