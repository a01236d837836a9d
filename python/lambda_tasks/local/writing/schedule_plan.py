"""The template that the schedules in the code want: shown as a part to add, or written into the file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lambda_tasks.local.checks.schedule_differences import Difference, differences, scheduled, wanted
from lambda_tasks.local.checks.tasks_in_code import Code, TaskInCode
from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.schedules.messages import is_its_own
from lambda_tasks.local.schedules.resources import SCHEDULE_V2, schedules
from lambda_tasks.local.template.document import template_file
from lambda_tasks.local.template.functions import RAW_FUNCTION
from lambda_tasks.local.template.model import Model, read_model
from lambda_tasks.local.writing.schedule_parts import (
    Around,
    around_of,
    event_name,
    event_of,
    raw_schedule_of,
)
from lambda_tasks.local.writing.yaml_text import Edits

_BY_HAND = "add by hand what `lambda-tasks schedules` prints"
_CHANGED = {"ScheduleExpression", "ScheduleExpressionTimezone"}


@dataclass
class SchedulePlan:
    """The events that a template is to have: by function and name, of each task. `around` has what they refer to."""

    model: Model
    code: Mapping[str, Code]
    events: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    around: dict[str, Around] = field(default_factory=dict)
    names: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def resources(self) -> dict[str, Any]:
        """The part of the template, by logical ids: each function's events, and what they need beside them."""
        found: dict[str, Any] = {}
        for function, events in self.events.items():
            if self.is_raw(function):
                found |= {f"{function}{name}": raw_schedule_of(function, one) for name, one in events.items()}
            else:
                found[function] = {"Properties": {"Events": events}}
            found |= self.around[function].made
        return found

    def is_raw(self, function: str) -> bool:
        """Tell whether a function is CloudFormation's own, which has no events."""
        return bool(self.model.template.content["Resources"][function]["Type"] == RAW_FUNCTION)


def planned(model: Model, code: Mapping[str, Code], function: str | None = None) -> SchedulePlan:
    """Return the events for all tasks with a schedule, of a `function` where several may run a task.

    Raises:
        InvalidTask: AWS would not take a schedule.
        LocalError: it is not known which function is to run a task, or when.

    """
    plan = SchedulePlan(model, code)
    there = {
        str(message["task_name"]): one
        for one in schedules(model)
        for message in one.messages
        if one.function is not None and one.path[3:4] == ("Events",) and not is_its_own(message)
    }
    for functions, task in scheduled(code):
        if task.is_computed:
            problem, remedy = (
                f"the schedule of {task.name} is computed",
                "write it as a text, or a constant of a module",
            )
            raise LocalError(problem, source=str(model.template.path), remedy=remedy)
        event = there.get(task.name)
        owner = str(event.function) if event is not None else _owner(functions.split(","), task, function)
        around = plan.around.setdefault(owner, around_of(model, model.functions[owner]))
        own = plan.events.setdefault(owner, {})
        taken = {*own, *(name for name in model.functions[owner].events if event is None or name != event.name)}
        name = event.name if event is not None else event_name(task.name, taken)
        own[name] = event_of(task.name, *wanted(task), around)
        plan.names[task.name] = owner, name
    return plan


def _owner(functions: list[str], task: TaskInCode, wanted_function: str | None) -> str:
    if wanted_function in functions:
        return str(wanted_function)
    if len(functions) == 1:
        return functions[0]
    remedy = f"add --function, or set LAMBDA_TASKS_MODULES of each: {', '.join(functions)}"
    raise LocalError(f"several functions may run {task.name}", remedy=remedy)


def write(plan: SchedulePlan, path: Path, parameters: Mapping[str, str]) -> list[str]:
    """Change the template's file as the code wants it, and return the places that were changed, in words.

    Comments and everything else stay as they are. The new text is read before it takes the old one's place.

    Raises:
        LocalError: the file cannot be changed by a program. It stays as it is.

    """
    path = template_file(path)
    found = list(differences(plan.model, plan.code))
    if not found:
        return []
    if path.suffix == ".json":
        raise LocalError("a template in JSON is not written", source=str(path), remedy=_BY_HAND)
    before = path.read_bytes().decode()
    ending = "\r\n" if "\r\n" in before else "\n"
    edits = Edits(before.replace("\r\n", "\n"))
    _add_and_change(edits, plan, found, str(path))
    edits = Edits(edits.result())
    for one in found:
        if one.event is not None and not one.changes:
            edits.remove(one.event.path[:-1])
    text = edits.result().replace("\n", ending)
    _verify(plan, path, parameters, text)
    path.write_bytes(text.encode())
    return [_said(one, plan) for one in found]


def _add_and_change(edits: Edits, plan: SchedulePlan, found: list[Difference], source: str) -> None:
    new: dict[str, dict[str, Any]] = {}
    for one in found:
        owner, name = plan.names.get(one.task.name, ("", ""))
        if one.event is None:
            new.setdefault(owner, {})[name] = plan.events[owner][name]
        elif one.changes and one.event.kind == SCHEDULE_V2:
            for change in one.changes:
                _set(edits, (*one.event.path, change.name), change.wanted)
        elif one.changes and one.event.path[3:4] == ("Events",):
            edits.replace(one.event.path[:-1], plan.events[owner][name])
            new.setdefault(owner, {})
        elif one.changes and one.event.is_of_scheduler:
            for change in one.changes:
                around = one.event.path if change.name in _CHANGED else one.event.target_path
                _set(edits, (*around, change.name), change.wanted)
        elif one.changes:
            raise LocalError(f"{one.event.place} is a rule, which is not changed", source=source, remedy=_BY_HAND)
    resources: dict[str, Any] = {}
    for owner, events in new.items():
        if plan.is_raw(owner):
            resources |= {f"{owner}{name}": raw_schedule_of(owner, one) for name, one in events.items()}
        elif events:
            edits.add(("Resources", owner, "Properties", "Events"), events)
        resources |= plan.around[owner].made
    if resources:
        edits.add(("Resources",), resources)


def _set(edits: Edits, path: tuple[str, ...], value: str) -> None:
    if edits.has(*path):
        edits.replace(path, value)
    else:
        edits.add(path[:-1], {path[-1]: value})


def _verify(plan: SchedulePlan, path: Path, parameters: Mapping[str, str], text: str) -> None:
    """Read the new text as a template of its own: it must say what the code says, and else what it said."""
    template = plan.model.template
    trial = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        trial.write_bytes(text.encode())
        model = read_model(trial, parameters, template.region, template.account_id)
        left = list(differences(model, plan.code))
        is_same = _without(model, plan) == _without(plan.model, plan)
    except LocalError as error:
        problem = f"the template cannot be written: {error.problem}"
        raise LocalError(problem, source=str(path), remedy=_BY_HAND) from error
    finally:
        trial.unlink(missing_ok=True)
    if left or not is_same:
        raise LocalError("the template cannot be written by a program", source=str(path), remedy=_BY_HAND)


def _without(model: Model, plan: SchedulePlan) -> dict[str, Any]:
    """Return a template's content without the schedules, and without what was made for them."""
    made = {name for around in plan.around.values() for name in around.made}
    kinds = (SCHEDULE_V2, "Schedule")
    own = {one.path[:-1] for one in schedules(model) if one.kind in kinds}
    content = {name: one for name, one in model.template.content.items() if name != "Resources"}
    for name, resource in model.template.content["Resources"].items():
        if name in made or resource["Type"] == "AWS::Scheduler::Schedule":
            continue
        properties = dict(resource["Properties"])
        events = properties.pop("Events", None) or {}
        left = {
            each: one for each, one in events.items() if ("Resources", name, "Properties", "Events", each) not in own
        }
        content[f"resource {name}"] = {**resource, "Properties": properties, "Events": left}
    return content


def _said(one: Difference, plan: SchedulePlan) -> str:
    if one.event is None:
        return f"added {'.'.join(plan.names[one.task.name])}: {one.task.name}, {one.task.schedule}"
    if one.changes:
        return f"changed {one.event.place}: {', '.join(change.name for change in one.changes)}"
    return f"removed {one.event.place}: {one.task.name}"


def with_values(code: Code, values: Mapping[str, tuple[str | None, str | None]]) -> Code:
    """Return code whose computed schedules have the `values` that running it gave, by the tasks' names."""
    tasks = {
        name: one
        if name not in values
        else dataclasses.replace(
            one, schedule=values[name][0], schedule_timezone=values[name][1], is_computed=False, is_unknown=False
        )
        for name, one in code.tasks.items()
    }
    return Code(tasks, code.names)
