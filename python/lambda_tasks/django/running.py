"""One run of a task of ``django.tasks``: its result as signals and the task's context have it."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from lambda_tasks import settings
from lambda_tasks.django.request import Request
from lambda_tasks.django.tasks_api import (
    Task,
    TaskContext,
    TaskError,
    TaskResult,
    TaskResultStatus,
    normalize_json,
    task_backends,
    task_finished,
    task_started,
)
from lambda_tasks.errors import traceback_of
from lambda_tasks.messages.body import MAX_ID_CHARACTERS
from lambda_tasks.messages.context import current
from lambda_tasks.messages.outcome import Outcome
from lambda_tasks.telemetry import report

if TYPE_CHECKING:
    from lambda_tasks.telemetry.report import Report


@dataclasses.dataclass
class Call:
    """A call of a task: its arguments, and the request that they came with, if a backend sent it."""

    task: Task
    args: list[Any]
    kwargs: dict[str, Any]
    id: str | None = None
    request: Request | None = None

    def __repr__(self) -> str:
        return f"<call of {self.task.module_path}>"

    def positional(self, context: TaskContext | None) -> list[Any]:
        """Return the arguments by position, behind `context` where the task takes one."""
        return [context, *self.args] if self.task.takes_context else self.args

    def by_name(self) -> dict[str, Any]:
        """Return the arguments by name, with defaults. Those that do not fit, as the call will say, have numbers."""
        try:
            bound = inspect.signature(self.task.func).bind(*self.positional(None), **self.kwargs)
        except TypeError:
            return {**{str(number): value for number, value in enumerate(self.args)}, **self.kwargs}
        bound.apply_defaults()
        if self.task.takes_context:
            bound.arguments.pop(next(iter(bound.arguments)))
        return bound.arguments


# The results of this process's running messages, by SQS's message id; and those that a sender here waits for, by id.
_running: dict[str, TaskResult] = {}
awaited: dict[str, TaskResult] = {}


@functools.cache
def worker_id() -> str:
    """Return the id of this process: on Lambda its log stream, which leads to what it logged."""
    return settings.environ().get("AWS_LAMBDA_LOG_STREAM_NAME", "")[-MAX_ID_CHARACTERS:] or f"pid-{os.getpid()}"


def run(*, call: Call) -> object:
    """Run a task, and return what it returned, in JSON's types."""
    result = _started(call)
    returned = call.task.func(*call.positional(TaskContext(task_result=result)), **call.kwargs)
    return _returned(result, returned)


async def run_async(*, call: Call) -> object:
    """Run an async task as `run` does an ordinary one."""
    result = _started(call)
    returned = await call.task.func(*call.positional(TaskContext(task_result=result)), **call.kwargs)
    return _returned(result, returned)


def update(result: TaskResult, **values: object) -> None:
    """Change a result in place, as Django's own backends do: whoever holds it sees what became of it."""
    for name, value in values.items():
        object.__setattr__(result, name, value)


def _started(call: Call) -> TaskResult:
    context, now = current(), timezone.now()
    request = call.request or Request(call.task.backend, call.task.queue_name)
    result = awaited.get(call.id or "")
    if result is None:
        result = TaskResult(
            task=request.task_of(call.task),
            id=call.id or context.message_id,
            status=TaskResultStatus.READY,
            enqueued_at=request.enqueued_at,
            started_at=None,
            last_attempted_at=None,
            finished_at=None,
            args=call.args,
            kwargs=call.kwargs,
            backend=request.backend,
            errors=[],
            worker_ids=[],
        )
    workers = [worker_id()] * context.attempt
    running = TaskResultStatus.RUNNING
    update(result, status=running, started_at=now, last_attempted_at=now, worker_ids=workers)
    _running[context.message_id] = result
    task_started.send(sender=type(task_backends[result.backend]), task_result=result)
    return result


def _returned(result: TaskResult, value: object) -> object:
    normalized = normalize_json(value)
    update(result, _return_value=normalized)
    return normalized


@report.on_outcome
def _finished(told: Report) -> None:
    """Send the signal of a task that is finished; one that is to run again is ready, and not finished."""
    result = _running.pop(told.message_id, None)
    if result is None:
        return
    if told.error is not None:
        path = f"{type(told.error).__module__}.{type(told.error).__qualname__}"
        result.errors.append(TaskError(exception_class_path=path, traceback=traceback_of(told.error)))
    if told.outcome is Outcome.SUCCEEDED:
        status = TaskResultStatus.SUCCESSFUL
    elif told.outcome.is_dead:
        status = TaskResultStatus.FAILED
    else:
        update(result, status=TaskResultStatus.READY)
        return
    update(result, status=status, finished_at=timezone.now())
    task_finished.send(sender=type(task_backends[result.backend]), task_result=result)
