"""The tasks that a template's schedules name: of EventBridge's rules, of its Scheduler, and of SAM's events."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lambda_tasks.local.template.model import Model

_SAM_EVENTS = ("Schedule", "ScheduleV2", "CloudWatchEvent", "EventBridgeRule")
_SCHEDULE, _RULE = "AWS::Scheduler::Schedule", "AWS::Events::Rule"


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
    template = model.template
    for function in model.functions.values():
        for name, event in function.events.items():
            if isinstance(event, dict) and event.get("Type") in _SAM_EVENTS:
                own = template.resolve((event.get("Properties") or {}).get("Input"))
                path: tuple[str, ...] = (
                    "Resources",
                    function.name,
                    "Properties",
                    "Events",
                    name,
                    "Properties",
                    "Input",
                )
                for task in _task_names(own):
                    yield ScheduledTask(f"{function.name}.{name}", path, task, function=function.name)
    for name, resource in template.resources(_SCHEDULE, _RULE).items():
        own = resource["Properties"]
        is_rule = resource["Type"] == _RULE
        targets = template.resolve(own.get("Targets") or [] if is_rule else [own.get("Target") or {}])
        path = ("Resources", name, "Properties", "Targets" if is_rule else "Target", "Input")
        for target in targets if isinstance(targets, list) else ():
            for task, queue_url in _tasks_of_target(target if isinstance(target, dict) else {}):
                yield _scheduled(model, name, path, task, str(target.get("Arn", "")), queue_url)


def _scheduled(model: Model, name: str, path: tuple[str, ...], task: str, arn: str, queue_url: str) -> ScheduledTask:
    if queue_url:  # a universal target: the queue is in the input
        arn = next((one for one in model.queues if one.rpartition(":")[2] == queue_url.rpartition("/")[2]), arn)
    own = arn.rpartition(":function:")[2].split(":")[0] if ":function:" in arn else ""
    function = next((one.name for one in model.functions.values() if own in (one.own_name, one.name)), None)
    return ScheduledTask(name, path, task, arn, function)


def _tasks_of_target(target: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    value = _parsed(target.get("Input"))
    queue_url = str(value.get("QueueUrl", "")) if isinstance(value, dict) else ""
    for task in _task_names(value):
        yield task, queue_url


def _task_names(value: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield the names of tasks in an input: a message, or a call of SQS whose ``MessageBody`` is one."""
    value = _parsed(value)
    if not isinstance(value, dict):
        return
    name = value.get("task_name")
    if isinstance(name, str):
        yield name
    for key in ("MessageBody", "Entries"):
        for one in value[key] if isinstance(value.get(key), list) else [value.get(key)]:
            yield from _task_names(one)


def _parsed(value: Any) -> Any:  # noqa: ANN401
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return None
