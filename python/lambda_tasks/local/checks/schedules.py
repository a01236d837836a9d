"""The tasks that a template's schedules name: of EventBridge's rules, of its Scheduler, and of SAM's events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lambda_tasks.local.schedules.resources import schedules
from lambda_tasks.local.template.model import Model


@dataclass(frozen=True)
class ScheduledTask:
    """A task that is sent on a schedule: to a `function` by its logical id, else to what `target_arn` names."""

    place: str
    path: tuple[str, ...]
    task_name: str
    target_arn: str = ""
    function: str | None = None


def scheduled_tasks(model: Model) -> Iterator[ScheduledTask]:
    """Yield every task that a schedule names in its input."""
    for one in schedules(model):
        for message in one.messages:
            path, name = (*one.target_path, "Input"), str(message["task_name"])
            yield ScheduledTask(one.place, path, name, one.queue_arn, one.function)
