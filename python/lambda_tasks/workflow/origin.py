"""The delivery that a step belongs to: that of the task which calls it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from lambda_tasks.errors import InvalidSetting
from lambda_tasks.messages import context as contexts
from lambda_tasks.workflow.errors import InvalidStep
from lambda_tasks.workflow.run import Run

if TYPE_CHECKING:
    from lambda_tasks.workflow.protocol import Origin

_making = threading.Lock()


def current() -> Run | None:
    """Return the steps of the delivery that this code belongs to, or None for a plain call.

    A thread that the task has started without its context is the task's, where no other one runs in this process.

    Raises:
        InvalidSetting: there is no table to keep them in.
        InvalidStep: the task cannot have steps, or it is not clear which one this thread belongs to.

    """
    origin = contexts.bearer.get().context.origin
    if origin is None:
        origin = _strays_origin()
    if origin is None:
        return None
    if origin.work is None:
        with _making:
            if origin.work is None:
                origin.work = _begun(origin)
    work: Run = origin.work
    return work


def _begun(origin: Any) -> Run:  # noqa: ANN401 - an Origin, once it is known to be one
    source = f"task {origin.task_name}"
    if origin.definition is not None and origin.definition.options.batch:
        remedy = "let the batch task enqueue a task for each item, and that one have steps"
        raise InvalidStep("a batch task has no steps: its messages end together", source=source, remedy=remedy)
    if origin.stage is None:
        remedy = "set it to the name of the DynamoDB table that keeps the results of steps"
        raise InvalidSetting("there is no table for steps", variable="LAMBDA_TASKS_TABLE", source=source, remedy=remedy)
    return Run(origin)


def _strays_origin() -> Origin | None:
    """Return the message that this thread works for, where its task has started it without a context."""
    running: list[Origin] = [one for one in list(contexts.origins) if one.result is None]
    if len(running) > 1:
        remedy = "start it with contextvars.copy_context().run, or use gather"
        raise InvalidStep("several tasks run here, and a step's thread does not say which is its own", remedy=remedy)
    return running[0] if running else None
