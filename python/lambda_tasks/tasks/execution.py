"""One message to one outcome."""

from __future__ import annotations

import enum
import importlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lambda_tasks.errors import InvalidTask, MessageRejected, PayloadUnavailable, TaskNotAllowed, UnknownTask
from lambda_tasks.tasks import message
from lambda_tasks.tasks.task import Task

if TYPE_CHECKING:
    from lambda_tasks.settings import Settings


class Outcome(enum.Enum):
    """What happened to a message, and whether it is final: a message that is not stays in the queue."""

    SUCCEEDED = "succeeded"
    SKIPPED = "skipped"
    RETRYING = "retrying"
    FAILED = "failed"
    REJECTED = "rejected"
    DEFERRED = "deferred"

    @property
    def deletes_message(self) -> bool:
        """Whether SQS may delete the message. A failed or rejected one is left to the queue's redrive policy."""
        return self in (Outcome.SUCCEEDED, Outcome.SKIPPED)


@dataclass(frozen=True)
class Result:
    """The outcome of one message; `error` says why, `value` is what the task returned. Neither is shown by repr."""

    outcome: Outcome
    task_name: str | None = None
    error: BaseException | None = None
    value: object = None
    duration_ms: float = 0.0

    def __repr__(self) -> str:
        return f"Result({self.task_name}: {self.outcome.value})"


def execute(body: object, settings: Settings) -> Result:
    """Decode `body`, find its task, validate the kwargs, run it, and say how it went. Never raises for the task."""
    started = time.perf_counter()
    task_name = None
    try:
        received = message.decode(body)
        task_name = received.task_name
        task = find_task(task_name, settings)
        kwargs = task.decode_kwargs(received.kwargs)
    except (MessageRejected, InvalidTask) as error:
        return Result(Outcome.REJECTED, task_name, error, duration_ms=_ms_since(started))
    except PayloadUnavailable as error:
        return Result(Outcome.DEFERRED, task_name, error, duration_ms=_ms_since(started))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - the task's module raised while it was imported
        return Result(Outcome.FAILED, task_name, error, duration_ms=_ms_since(started))
    return _run(task, kwargs, started)


def find_task(name: str, settings: Settings) -> Task[..., Any]:
    """Return the task at the dotted path `name`, importing its module where that is allowed.

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
    if not isinstance(found, Task):
        raise TaskNotAllowed("the object is not a task", source=source, remedy="put @task above the function")
    _check_allowed(found.function.__module__, source, settings)  # it may be imported there from elsewhere
    return found


def _check_allowed(module_name: str, source: str, settings: Settings) -> None:
    if not settings.allows_module(module_name):
        remedy = f"add {module_name} to LAMBDA_TASKS_MODULES if its tasks may run"
        raise TaskNotAllowed("the module is not allowed", source=source, remedy=remedy)


def _run(task: Task[..., Any], kwargs: dict[str, Any], started: float) -> Result:
    try:
        value = task.function(**kwargs)
    except KeyboardInterrupt:
        raise
    except task.configuration.ignore_errors as error:
        return Result(Outcome.SUCCEEDED, task.name, error, duration_ms=_ms_since(started))
    except BaseException as error:  # noqa: BLE001 - a task that exits must not take the batch with it
        return Result(Outcome.FAILED, task.name, error, duration_ms=_ms_since(started))
    return Result(Outcome.SUCCEEDED, task.name, value=value, duration_ms=_ms_since(started))


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
