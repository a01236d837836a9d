"""The differences between the schedules of the tasks in the code and those of the template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lambda_tasks.definition.schedules import expression
from lambda_tasks.errors import InvalidTask
from lambda_tasks.local.checks.finding import Finding, shown_path
from lambda_tasks.local.checks.tasks_in_code import Code, TaskInCode
from lambda_tasks.local.schedules.messages import KEY, has_kwargs, input_of, is_its_own
from lambda_tasks.local.schedules.resources import SCHEDULE_V2, ScheduleResource, schedules
from lambda_tasks.local.template.model import Model


@dataclass(frozen=True)
class Change:
    """A property of a schedule that is to have another value: `found` is the template's, `wanted` the code's."""

    name: str
    found: str
    wanted: str


@dataclass(frozen=True)
class Difference:
    """A difference between code and template, of a `task` that a `function` runs.

    Without an `event` the schedule is missing; with `changes` the event has other values; with neither it is one too
    many. With a `problem` the code's own schedule cannot be used.
    """

    function: str
    task: TaskInCode
    event: ScheduleResource | None = None
    changes: tuple[Change, ...] = ()
    problem: str = ""
    remedy: str = ""


def scheduled(code: Mapping[str, Code]) -> list[tuple[str, TaskInCode]]:
    """Return the tasks with a schedule, each with the functions that may run it joined by a comma."""
    found: dict[str, tuple[list[str], TaskInCode]] = {}
    for function, own in code.items():
        for task in own.tasks.values():
            if task.schedule is not None or task.is_computed:
                found.setdefault(task.name, ([], task))[0].append(function)
    return [(",".join(functions), task) for functions, task in found.values()]


def differences(model: Model, code: Mapping[str, Code]) -> Iterator[Difference]:
    """Yield the differences of a template from the `code` of its functions, by their logical ids."""
    events: dict[str, list[ScheduleResource]] = {}
    for one in schedules(model):
        for message in one.messages:
            if not is_its_own(message):
                events.setdefault(str(message["task_name"]), []).append(one)
    for functions, task in scheduled(code):
        yield from _of_task(functions, task, events.get(task.name, ()))
    for function, own in code.items():
        for task in own.tasks.values():
            if task.schedule is None and not (task.is_computed or task.is_unknown):
                for event in events.get(task.name, ()):
                    if event.function == function and event.kind == SCHEDULE_V2:
                        yield Difference(function, task, event)


def findings(model: Model, code: Mapping[str, Code]) -> Iterator[Finding]:
    """Yield the differences in words, with the lines of the template."""
    for one in differences(model, code):
        yield _finding(model, one)


def wanted(task: TaskInCode) -> tuple[str, str]:
    """Return expression and time zone of a task's schedule, as the template is to have them.

    Raises:
        InvalidTask: AWS would not take them.

    """
    text = expression.parse(task.schedule).text
    zone = task.schedule_timezone
    return text, expression.UTC if zone is None else expression.checked_zone("schedule_timezone", zone)


def _of_task(functions: str, task: TaskInCode, events: Sequence[ScheduleResource]) -> Iterator[Difference]:
    names = functions.split(",")
    try:
        if not task.is_computed:
            wanted(task)
    except InvalidTask as error:
        yield Difference(names[0], task, problem=error.problem, remedy=str(error.remedy))
        return
    if not events:
        yield Difference(functions, task)
        return
    changes = [_changes(event, task) for event in events]
    same = [event for event, own in zip(events, changes, strict=True) if not own]
    if not same:
        first = next((n for n, event in enumerate(events) if event.is_of_scheduler), 0)
        yield Difference(events[first].function or names[0], task, events[first], changes[first])
        same = [events[first]]
    for event in events:
        if event is not same[0] and event.function in names and event.kind == SCHEDULE_V2:
            yield Difference(event.function or names[0], task, event)


def _changes(event: ScheduleResource, task: TaskInCode) -> tuple[Change, ...]:
    found = []
    if not event.is_of_scheduler:
        found.append(Change("Type", event.kind, SCHEDULE_V2))
    if not task.is_computed:
        text, zone = wanted(task)
        if _canonical(event.expression) != text:
            found.append(Change("ScheduleExpression", str(event.expression), text))
        if (event.timezone or expression.UTC) != zone:
            found.append(Change("ScheduleExpressionTimezone", event.timezone or expression.UTC, zone))
    messages = [one for one in event.messages if one.get("task_name") == task.name]
    if any(not _is_wanted(one, event) for one in messages) or len(event.messages) > 1:
        found.append(Change("Input", str(event.input), input_of(task.name)))
    return tuple(found)


def _is_wanted(message: Mapping[str, Any], event: ScheduleResource) -> bool:
    if has_kwargs(message) or message.get("n_retries") not in (None, 0):
        return False
    # A queue's messages have ids of their own, and their keys in attributes.
    return event.function is None or not event.is_of_scheduler or message.get("idempotency_key") == KEY


def _canonical(text: str | None) -> str | None:
    try:
        return None if text is None else expression.parse(text).text
    except InvalidTask:
        return text


def _finding(model: Model, one: Difference) -> Finding:
    functions = one.function.split(",")
    command = f"lambda-tasks schedules --template {shown_path(model.template.path)} --write"
    if one.problem:
        line = model.template.line("Resources", functions[0])
        return Finding(functions[0], f"the schedule of {one.task.name} cannot be used: {one.problem}", one.remedy, line)
    if one.event is None:
        line = model.template.line("Resources", functions[0], "Properties", "Events")
        text = f", {one.task.schedule}," if one.task.schedule else ""
        problem = f"the schedule of {one.task.name}{text} is missing"
        return Finding(functions[0], problem, f"add it: {command}", line)
    event = one.event
    if not one.changes:
        problem = f"{one.task.name} has no schedule in the code"
        if one.task.schedule is not None or one.task.is_computed:
            problem = f"{one.task.name} is scheduled a second time"
        return Finding(event.place, problem, f"remove it: {command}", model.template.line(*event.path))
    first = one.changes[0]
    said = "; ".join(f"{change.name} is {change.found}, and the code has {change.wanted}" for change in one.changes)
    path = event.target_path if first.name == "Input" else event.path
    return Finding(
        event.place,
        f"it differs from the schedule of {one.task.name}: {said}",
        f"correct it: {command}",
        model.template.line(*path, first.name),
    )
