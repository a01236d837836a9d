"""Another distribution that is imported as ``lambda_tasks``, such as django-lambda-tasks: which of the two counts.

Lambda looks into the function's own folder first, then into site-packages of layers, and into our layer's folder after
that. So theirs hides ours, and the handler is theirs; or ours hides theirs, which the function's modules ask for.
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
_OF_THEIRS = "decorators.py"  # which we have none of: the files of two distributions may lie in one folder


def check(environ: Mapping[str, str]) -> list[LambdaTasksError]:
    """Return an error where a package of our name that is not ours comes before it: the function's, or a layer's."""
    version = "python{}.{}".format(*sys.version_info)
    of_layers = f"{os.path.dirname(_OURS)}/lib/{version}/site-packages"  # noqa: PTH120
    for root in (environ.get("LAMBDA_TASK_ROOT"), of_layers):
        folder = f"{root}/{_NAME}"
        if root and _is_other(folder):
            remedy = "remove django-lambda-tasks from there; its messages run here too"
            problem = f"{folder}/{_FIRST} hides {_OURS}/{_FIRST}, whose handler would never run"
            return [ShadowedPackage(problem, remedy=remedy)]
    return []


def explained(error: ImportError) -> Exception:
    """Return `error`, or another one where a module of the other distribution was asked for, which ours hides."""
    if not (error.name or "").startswith(f"{_NAME}."):
        return error
    theirs = [folder for entry in sys.path if _is_other(folder := os.path.join(entry, _NAME))]  # noqa: PTH118
    if not theirs:
        return error
    problem = f"there is no {error.name} in {_OURS}/{_FIRST}, which hides {theirs[0]}/{_FIRST}"
    if theirs[0] == _OURS:
        problem = f"{_OURS}/{_OF_THEIRS} is another distribution's, which lies in one folder with {_OURS}/{_FIRST}"
    remedy = "import from lambda_tasks.django, and remove django-lambda-tasks from the function and its layers"
    return ShadowedPackage(problem, remedy=remedy)


def _is_other(folder: str) -> bool:
    """Tell whether a package of our name lies in `folder`, and it is no copy of this one, or none alone."""
    if not os.path.isfile(f"{folder}/{_FIRST}"):  # noqa: PTH113
        return False
    return not os.path.isfile(f"{folder}/environment/shadow.py") or os.path.isfile(f"{folder}/{_OF_THEIRS}")  # noqa: PTH113
