"""Secrets before the runtime starts, and a dispatcher for SQS messages, as one Lambda layer.

The public names are imported when they are first used: the exec wrapper imports this package at every cold start and
needs none of them.
"""

from __future__ import annotations

TYPE_CHECKING = False  # that of typing, which costs a cold start 4 ms
if TYPE_CHECKING:
    from typing import Any

    from lambda_tasks.environment.freshness import on_secrets_changed
    from lambda_tasks.errors import (
        HardTimeLimitExceeded,
        LambdaTasksError,
        Reject,
        Retry,
        SoftTimeLimitExceeded,
    )
    from lambda_tasks.state.record import TaskRecord
    from lambda_tasks.tasks.batch import Item
    from lambda_tasks.tasks.context import context
    from lambda_tasks.tasks.task import Task, task
    from lambda_tasks.tasks.telemetry import on_outcome, on_start

__all__ = [
    "HardTimeLimitExceeded",
    "Item",
    "LambdaTasksError",
    "Reject",
    "Retry",
    "SoftTimeLimitExceeded",
    "Task",
    "TaskRecord",
    "context",
    "on_outcome",
    "on_secrets_changed",
    "on_start",
    "task",
]

_MODULES = {
    "HardTimeLimitExceeded": "lambda_tasks.errors",
    "Item": "lambda_tasks.tasks.batch",
    "LambdaTasksError": "lambda_tasks.errors",
    "Reject": "lambda_tasks.errors",
    "Retry": "lambda_tasks.errors",
    "SoftTimeLimitExceeded": "lambda_tasks.errors",
    "Task": "lambda_tasks.tasks.task",
    "TaskRecord": "lambda_tasks.state.record",
    "context": "lambda_tasks.tasks.context",
    "on_outcome": "lambda_tasks.tasks.telemetry",
    "on_secrets_changed": "lambda_tasks.environment.freshness",
    "on_start": "lambda_tasks.tasks.telemetry",
    "task": "lambda_tasks.tasks.task",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute can be anything
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - not at a cold start

    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value
