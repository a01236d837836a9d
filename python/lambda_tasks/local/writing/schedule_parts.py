"""The part of a template that the schedules of tasks need: SAM's events, their role, and a dead-letter queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lambda_tasks.local.schedules.messages import input_of
from lambda_tasks.local.schedules.resources import RAW_SCHEDULE, SCHEDULE_V2
from lambda_tasks.local.template.functions import FunctionResource
from lambda_tasks.local.template.model import Model, QueueResource
from lambda_tasks.local.writing.yaml_text import Short

_LONGEST_RETENTION_SECONDS = 1_209_600
# Below the day for which a key is kept, so that no delivery of a firing comes after its key has gone.
_RETRY_POLICY = {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 185}


@dataclass(frozen=True)
class Around:
    """What the events of one function refer to: a `role` and a `dead_letters` queue, by their logical ids.

    `made` has those of them that the template does not have yet.
    """

    role: str
    dead_letters: str
    made: Mapping[str, Any]


def event_of(task_name: str, text: str, zone: str, around: Around) -> dict[str, Any]:
    """Return the event of a task's schedule, ``ScheduleV2``."""
    own: dict[str, Any] = {"ScheduleExpression": text}
    if zone != "UTC":
        own["ScheduleExpressionTimezone"] = zone
    own |= {
        "Input": input_of(task_name),
        "RetryPolicy": dict(_RETRY_POLICY),
        "DeadLetterConfig": {"Arn": Short("!GetAtt", f"{around.dead_letters}.Arn")},
        "RoleArn": Short("!GetAtt", f"{around.role}.Arn"),
        "OmitName": True,  # else two stacks of one template would have one name
    }
    return {"Type": SCHEDULE_V2, "Properties": own}


def raw_schedule_of(function: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what SAM would make of such an event: a schedule of CloudFormation's own, for a function of that kind."""
    own = dict(event["Properties"])
    target = {name: own[name] for name in ("RoleArn", "Input", "RetryPolicy", "DeadLetterConfig")}
    about = {name: one for name, one in own.items() if name.startswith("ScheduleExpression")}
    arn = Short("!GetAtt", f"{function}.Arn")
    properties = {**about, "FlexibleTimeWindow": {"Mode": "OFF"}, "Target": {"Arn": arn, **target}}
    return {"Type": RAW_SCHEDULE, "Properties": properties}


def event_name(task_name: str, taken: Mapping[str, Any] | set[str]) -> str:
    """Return a name for the event of a task: of its own name or, where that is `taken`, of its whole path."""
    *_, own = task_name.split(".")
    short, whole = _camel_case(own), _camel_case(task_name.replace(".", "_"))
    return whole if short in taken else short


def around_of(model: Model, function: FunctionResource) -> Around:
    """Return role and dead-letter queue for the schedules of a function: those of the template, or new ones."""
    made: dict[str, Any] = {}
    queue = _dead_letters(model, function)
    dead_letters = f"{function.name}ScheduleDeadLetters" if queue is None else queue.name
    if queue is None:
        queue = next((one for one in model.queues.values() if one.name == dead_letters), None)
        if queue is None:
            properties = {"MessageRetentionPeriod": _LONGEST_RETENTION_SECONDS}
            made[dead_letters] = {"Type": "AWS::SQS::Queue", "Properties": properties}
    role = _role(model, function) or f"{function.name}ScheduleRole"
    if role not in model.template.content["Resources"]:
        made[role] = _new_role(function.name, dead_letters, _key(model, queue))
    return Around(role, dead_letters, made)


def _dead_letters(model: Model, function: FunctionResource) -> QueueResource | None:
    """Return a queue of the template for what cannot be delivered. Scheduler takes no FIFO queue for that."""
    raw = model.template.function_properties(model.template.content["Resources"][function.name])
    config = model.template.resolve(raw.get("EventInvokeConfig") or {})
    on_failure = ((config.get("DestinationConfig") or {}).get("OnFailure") or {}).get("Destination")
    sources = [model.queues[one.queue_arn] for one in model.mappings_of(function.name) if one.queue_arn in model.queues]
    arns = [on_failure, *(one.redrive.get("deadLetterTargetArn") for one in sources)]
    queues = [model.queues[str(arn)] for arn in arns if arn in model.queues]
    return next((one for one in queues if not one.is_fifo), None)


def _role(model: Model, function: FunctionResource) -> str | None:
    """Return the role of the template that another schedule of the function has."""
    for event in function.events.values():
        own = event.get("Properties") if isinstance(event, dict) and event.get("Type") == SCHEDULE_V2 else None
        given = own.get("RoleArn") if isinstance(own, dict) else None
        names = given.get("Fn::GetAtt") if isinstance(given, dict) else None
        if isinstance(names, list) and names and names[0] in model.template.content["Resources"]:
            return str(names[0])
    return None


def _key(model: Model, queue: QueueResource | None) -> object:
    """Return the ARN of the key that encrypts a queue; None where that is SQS's own, or known by an alias alone."""
    if queue is None:
        return None
    given = model.template.content["Resources"][queue.name]["Properties"].get("KmsMasterKeyId")
    name = given.get("Ref") or (given.get("Fn::GetAtt") or [None])[0] if isinstance(given, dict) else None
    if name in model.template.resources("AWS::KMS::Key"):
        return Short("!GetAtt", f"{name}.Arn")
    text = str(queue.properties.get("KmsMasterKeyId", ""))
    return text if text.startswith("arn:") else None


def _new_role(function: str, dead_letters: str, key: object) -> dict[str, Any]:
    arn = Short("!GetAtt", f"{function}.Arn")
    statements: list[dict[str, Any]] = [
        # An alias, where the function has one, lies below its ARN.
        {
            "Effect": "Allow",
            "Action": "lambda:InvokeFunction",
            "Resource": [arn, Short("!Sub", f"${{{function}.Arn}}:*")],
        },
        {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": Short("!GetAtt", f"{dead_letters}.Arn")},
    ]
    if key is not None:
        actions = ["kms:Decrypt", "kms:GenerateDataKey"]
        statements.append({"Effect": "Allow", "Action": actions, "Resource": key})
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "scheduler.amazonaws.com"},
        "Action": "sts:AssumeRole",
        # https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html
        "Condition": {"StringEquals": {"aws:SourceAccount": Short("!Ref", "AWS::AccountId")}},
    }
    version = "2012-10-17"
    policy = {"PolicyName": "schedules", "PolicyDocument": {"Version": version, "Statement": statements}}
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {"Version": version, "Statement": [trust]},
            "Policies": [policy],
        },
    }


def as_json(value: Any) -> Any:  # noqa: ANN401 - a part of a template can be anything
    """Return a part with its short forms written out, as JSON has them."""
    if isinstance(value, Short):
        if value.tag == "!GetAtt":
            return {"Fn::GetAtt": value.value.split(".", 1)}
        return {"Ref": value.value} if value.tag == "!Ref" else {f"Fn::{value.tag[1:]}": value.value}
    if isinstance(value, Mapping):
        return {name: as_json(one) for name, one in value.items()}
    return [as_json(one) for one in value] if isinstance(value, list) else value


def _camel_case(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_") if part)
