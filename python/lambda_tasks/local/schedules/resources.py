"""The schedules and rules of a template, in one form: SAM's events, EventBridge's rules, and those of its Scheduler."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lambda_tasks.local.template.functions import FunctionResource
from lambda_tasks.local.template.model import Model

SCHEDULE_V2, RAW_SCHEDULE = "ScheduleV2", "AWS::Scheduler::Schedule"
RAW_RULE = "AWS::Events::Rule"
# SAM's events, and the property that has the expression of each; those with none have a pattern.
_SAM_EVENTS = {SCHEDULE_V2: "ScheduleExpression", "Schedule": "Schedule", "CloudWatchEvent": "", "EventBridgeRule": ""}
_PLACEHOLDER, _QUOTE = re.compile(r"(<[A-Za-z0-9_.-]+>)"), re.compile(r'(?<!\\)"')
_ATTEMPT = "<aws.scheduler.attempt-number>"
_OWN_CALL = ":aws-sdk:sqs:sendMessage"


@dataclass(frozen=True)
class ScheduleResource:
    """A schedule or a rule with one target: a `function` by its logical id, a queue by its ARN, or something else.

    `name` is its own, `place` names it in words, `path` leads to its properties, `target_path` to what it sends.
    `kind` is its type. `input` is the text that it sends; `transform` makes that of a rule's event. A rule with a
    pattern has no `expression`.
    """

    name: str
    place: str
    path: tuple[str, ...]
    target_path: tuple[str, ...]
    kind: str
    expression: str | None
    timezone: str | None
    function: str | None
    queue_arn: str = ""
    input: str | None = None
    transform: Mapping[str, Any] = field(default_factory=dict, hash=False)
    aws_name: str = ""
    group: str = "default"
    message_group: str | None = None
    is_enabled: bool = True
    is_call: bool = False

    @property
    def is_of_scheduler(self) -> bool:
        """Whether it is one of EventBridge Scheduler, which knows time zones and replaces keywords."""
        return self.kind in (SCHEDULE_V2, RAW_SCHEDULE)

    @property
    def messages(self) -> list[Mapping[str, Any]]:
        """The messages in what it sends: one, those of a call of SQS, or none."""
        text = self.input
        if text is None and self.transform.get("InputTemplate"):
            text = filled(str(self.transform["InputTemplate"]), {})
        elif text is not None and parsed(text) is None:
            text = text.replace(_ATTEMPT, "1")  # a number, which JSON has without quotation marks
        return list(_messages(text))


def schedules(model: Model) -> list[ScheduleResource]:
    """Return every schedule and rule of a template, once for each of its targets."""
    found = []
    for function in model.functions.values():
        for name, event in function.events.items():
            if isinstance(event, dict) and event.get("Type") in _SAM_EVENTS:
                found.append(_of_event(model, function, name, event))
    for name, resource in model.template.resources(RAW_SCHEDULE, RAW_RULE).items():
        found += _of_resource(model, name, resource)
    return found


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return the template of an input transformer with its variables' `values`, which are JSON; within text, plain.

    Source: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html
    """

    parts, is_in_text = [], False
    for part in _PLACEHOLDER.split(template):
        if _PLACEHOLDER.fullmatch(part):
            text = values.get(part[1:-1], '""')
            parts.append(text[1:-1] if is_in_text and text.startswith('"') else text)
        else:
            is_in_text ^= len(_QUOTE.findall(part)) % 2 == 1
            parts.append(part)
    return "".join(parts)


def parsed(value: Any) -> Any:  # noqa: ANN401 - an input is any JSON
    """Return what JSON text says, and None for text that is none; anything else as it is."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return None


def _of_event(model: Model, function: FunctionResource, name: str, event: Mapping[str, Any]) -> ScheduleResource:
    kind = str(event["Type"])
    own = model.template.resolve(event.get("Properties") or {})
    path: tuple[str, ...] = ("Resources", function.name, "Properties", "Events", name, "Properties")
    return ScheduleResource(
        name=name,
        place=f"{function.name}.{name}",
        path=path,
        target_path=path,
        kind=kind,
        expression=_text(own.get(_SAM_EVENTS[kind])) if _SAM_EVENTS[kind] else None,
        timezone=_text(own.get("ScheduleExpressionTimezone")),
        function=function.name,
        input=_input(own),
        transform=_transform(own),
        aws_name=str(own.get("Name") or own.get("RuleName") or f"{function.name}{name}"),
        group=str(own.get("GroupName") or "default"),
        is_enabled=_is_enabled(own),
    )


def _of_resource(model: Model, name: str, resource: Mapping[str, Any]) -> Iterator[ScheduleResource]:
    own = model.template.resolve(resource["Properties"])
    is_rule = resource["Type"] == RAW_RULE
    targets = own.get("Targets") or [] if is_rule else [own.get("Target") or {}]
    for target in targets if isinstance(targets, list) else ():
        if not isinstance(target, dict):
            continue
        arn = str(target.get("Arn", ""))
        call = parsed(target.get("Input"))
        is_call = arn.endswith(_OWN_CALL) and isinstance(call, dict)
        if is_call:
            url = str(call.get("QueueUrl", ""))
            arn = next((one for one in model.queues if one.rpartition(":")[2] == url.rpartition("/")[2]), arn)
        yield ScheduleResource(
            name=name,
            place=name,
            path=("Resources", name, "Properties"),
            target_path=("Resources", name, "Properties", "Targets" if is_rule else "Target"),
            kind=str(resource["Type"]),
            expression=_text(own.get("ScheduleExpression")),
            timezone=_text(own.get("ScheduleExpressionTimezone")),
            function=_function(model, arn),
            queue_arn=arn if ":sqs:" in arn else "",
            input=_input(target),
            transform=_transform(target),
            aws_name=str(own.get("Name") or name),
            group=str(own.get("GroupName") or "default"),
            message_group=(target.get("SqsParameters") or {}).get("MessageGroupId"),
            is_enabled=_is_enabled(own),
            is_call=is_call,
        )


def _function(model: Model, arn: str) -> str | None:
    """Return the logical id of the function with this ARN, with a version or an alias or without."""
    own = arn.rpartition(":function:")[2].split(":")[0] if ":function:" in arn else ""
    return next((one.name for one in model.functions.values() if own in (one.own_name, one.name)), None)


def _messages(value: Any) -> Iterator[Mapping[str, Any]]:  # noqa: ANN401
    value = parsed(value)
    if not isinstance(value, dict):
        return
    if isinstance(value.get("task_name"), str):
        yield value
    for key in ("MessageBody", "Entries"):
        for one in value[key] if isinstance(value.get(key), list) else [value.get(key)]:
            yield from _messages(one)


def _input(own: Mapping[str, Any]) -> str | None:
    value = own.get("Input")
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _transform(own: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what makes the input of a rule's event: ``InputPath``, or ``InputPathsMap`` and ``InputTemplate``."""
    if isinstance(own.get("InputTransformer"), dict):
        return dict(own["InputTransformer"])
    return {"InputPath": own["InputPath"]} if own.get("InputPath") else {}


def _is_enabled(own: Mapping[str, Any]) -> bool:
    state = str(own.get("State", "ENABLED")).upper()
    return not state.startswith("DISABLED") and str(own.get("Enabled", "true")).lower() != "false"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
