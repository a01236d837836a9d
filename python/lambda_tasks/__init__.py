"""Secrets before the runtime starts, and a dispatcher for SQS messages, as one Lambda layer.

The public names are imported when they are first used. The exec wrapper imports this package at every cold start and
needs none of them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambda_tasks.definition.batch import Item
    from lambda_tasks.definition.recorded import redact_record
    from lambda_tasks.enqueue.topics import apublish, publish
    from lambda_tasks.environment.freshness import on_secrets_changed
    from lambda_tasks.errors import (
        HardTimeLimitExceeded,
        LambdaTasksError,
        Reject,
        Retry,
        SoftTimeLimitExceeded,
    )
    from lambda_tasks.messages.context import context
    from lambda_tasks.records import TaskFailed, TaskRecord
    from lambda_tasks.tasks.task import Task, task
    from lambda_tasks.telemetry.report import on_outcome, on_start
    from lambda_tasks.workflow.errors import StepTimeout
    from lambda_tasks.workflow.gather import gather
    from lambda_tasks.workflow.loop import steps
    from lambda_tasks.workflow.step import step

__all__ = [
    "HardTimeLimitExceeded",
    "Item",
    "LambdaTasksError",
    "Reject",
    "Retry",
    "SoftTimeLimitExceeded",
    "StepTimeout",
    "Task",
    "TaskFailed",
    "TaskRecord",
    "apublish",
    "context",
    "gather",
    "on_outcome",
    "on_secrets_changed",
    "on_start",
    "publish",
    "redact_record",
    "step",
    "steps",
    "task",
]

_MODULES = {
    "HardTimeLimitExceeded": "lambda_tasks.errors",
    "Item": "lambda_tasks.definition.batch",
    "LambdaTasksError": "lambda_tasks.errors",
    "Reject": "lambda_tasks.errors",
    "Retry": "lambda_tasks.errors",
    "SoftTimeLimitExceeded": "lambda_tasks.errors",
    "StepTimeout": "lambda_tasks.workflow.errors",
    "Task": "lambda_tasks.tasks.task",
    "TaskFailed": "lambda_tasks.records",
    "TaskRecord": "lambda_tasks.records",
    "apublish": "lambda_tasks.enqueue.topics",
    "context": "lambda_tasks.messages.context",
    "gather": "lambda_tasks.workflow.gather",
    "on_outcome": "lambda_tasks.telemetry.report",
    "on_secrets_changed": "lambda_tasks.environment.freshness",
    "on_start": "lambda_tasks.telemetry.report",
    "publish": "lambda_tasks.enqueue.topics",
    "redact_record": "lambda_tasks.definition.recorded",
    "step": "lambda_tasks.workflow.step",
    "steps": "lambda_tasks.workflow.loop",
    "task": "lambda_tasks.tasks.task",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute can be anything
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - not at a cold start

    if _MODULES[name] != "lambda_tasks.errors":
        importlib.import_module("lambda_tasks.requirements")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value
