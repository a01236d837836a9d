"""The request of a task's sender: what travels with a message, and is kept in its record, beside the arguments."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from lambda_tasks.definition import values
from lambda_tasks.django.tasks_api import InvalidTask

if TYPE_CHECKING:
    from lambda_tasks.django.tasks_api import Task, TaskResult


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a task was enqueued. ``repr`` does not show the arguments."""

    backend: str
    queue_name: str
    priority: int = 0
    enqueued_at: datetime | None = None
    run_after: datetime | None = None
    args: list[Any] = []
    kwargs: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"Request({self.backend}, {self.queue_name})"

    @classmethod
    def of(cls, result: TaskResult) -> Request:
        """Return the request that `result` is the result of, without its arguments."""
        task = result.task
        return cls(result.backend, task.queue_name, task.priority, result.enqueued_at, task.run_after)

    def with_arguments(self, result: TaskResult) -> str:
        """Return the request as JSON, with the arguments.

        Raises:
            ValueError: a number among them is not finite.

        """
        whole = msgspec.structs.replace(self, args=result.args, kwargs=result.kwargs)
        return values.encode_value(whole).decode()

    def task_of(self, found: Task) -> Task:
        """Return the task as it was enqueued, where it still can be; else as it is defined."""
        try:
            return dataclasses.replace(
                found,
                backend=self.backend,
                queue_name=self.queue_name,
                priority=self.priority,
                run_after=self.run_after,
            )
        except InvalidTask:
            return found


DECODER = msgspec.json.Decoder(Request)
