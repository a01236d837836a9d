"""Secrets before the runtime starts, and a dispatcher for SQS messages, as one Lambda layer.

The public names are imported when they are first used: the exec wrapper imports this package at every cold start and
needs none of them.
"""

from __future__ import annotations

TYPE_CHECKING = False  # that of typing, which costs a cold start 4 ms
if TYPE_CHECKING:
    from typing import Any

    from lambda_tasks.errors import LambdaTasksError
    from lambda_tasks.tasks.context import context
    from lambda_tasks.tasks.task import Task, task

__all__ = ["LambdaTasksError", "Task", "context", "task"]

_MODULES = {
    "LambdaTasksError": "lambda_tasks.errors",
    "Task": "lambda_tasks.tasks.task",
    "context": "lambda_tasks.tasks.context",
    "task": "lambda_tasks.tasks.task",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute can be anything
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - not at a cold start

    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value
