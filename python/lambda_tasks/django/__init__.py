"""The backend of ``django.tasks``: ``lambda_tasks.django.LambdaTasksBackend``. Without Django nothing imports it.

The public names are imported when they are first used: an app of this name may be loaded before models are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from lambda_tasks.django.backend import LambdaTasksBackend
    from lambda_tasks.django.definition import options
    from lambda_tasks.django.moved import lambda_task, task_logger

__all__ = ["LambdaTasksBackend", "lambda_task", "options", "task_logger"]

_MODULES = {
    "LambdaTasksBackend": "backend",
    "lambda_task": "moved",
    "options": "definition",
    "task_logger": "moved",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute can be anything
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415

    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
