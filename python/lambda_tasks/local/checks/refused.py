"""What AWS refuses of a template's queues and mappings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lambda_tasks.local.checks.finding import Finding
from lambda_tasks.local.mapping.judgement import refusals
from lambda_tasks.local.template.mappings import MappingResource
from lambda_tasks.local.template.model import Model, QueueResource
from lambda_tasks.setting_values import LONGEST_FUNCTION_SECONDS

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
_LIMITS = {
    "DelaySeconds": (0, 900),
    "MaximumMessageSize": (1024, 1_048_576),
    "MessageRetentionPeriod": (60, 1_209_600),
    "ReceiveMessageWaitTimeSeconds": (0, 20),
    "VisibilityTimeout": (0, 43_200),
}
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
_MAX_TIMEOUT_SECONDS = 900
_MAX_MANAGED_TIMEOUT_SECONDS = LONGEST_FUNCTION_SECONDS


def refused(model: Model) -> list[Finding]:
    """Return what AWS would refuse of the template."""
    found = []
    for queue in model.queues.values():
        found += _of_queue(model, queue)
    for function in model.functions.values():
        longest = _MAX_MANAGED_TIMEOUT_SECONDS if function.is_managed else _MAX_TIMEOUT_SECONDS
        if not 1 <= function.timeout_seconds <= longest:
            problem, remedy = f"Timeout is {function.timeout_seconds}", f"write 1 to {longest} seconds"
            if longest < function.timeout_seconds <= _MAX_MANAGED_TIMEOUT_SECONDS:
                remedy += ", or a CapacityProviderConfig: Managed Instances have up to 90 minutes"
            path = ("Resources", function.name, "Properties", "Timeout")
            found.append(_finding(model, function.name, path, problem, remedy))
    pairs: set[tuple[str, str]] = set()
    for mapping in model.mappings:
        found += _of_mapping(model, mapping)
        pair = (mapping.function, mapping.queue_arn)
        if pair in pairs:
            problem = f"{mapping.function} has two mappings of {mapping.queue_arn.rpartition(':')[2]}"
            found.append(_finding(model, mapping.name, mapping.path, problem, "remove one"))
        pairs.add(pair)
    return found


def _of_mapping(model: Model, mapping: MappingResource) -> list[Finding]:
    queue = model.queues.get(mapping.queue_arn)
    found = refusals(
        mapping.properties,
        is_sam=mapping.is_sam,
        is_fifo=mapping.queue_arn.endswith(".fifo"),
        timeout_seconds=model.functions[mapping.function].timeout_seconds,
        visibility_seconds=queue.visibility_seconds if queue else None,
    )
    return [_finding(model, mapping.name, (*mapping.path, one.key), one.problem, one.remedy) for one in found]


def _of_queue(model: Model, queue: QueueResource) -> list[Finding]:
    path = ("Resources", queue.name, "Properties")
    found = []
    for key, (low, high) in _LIMITS.items():
        text = queue.properties.get(key)
        if text is not None and not _is_within(text, low, high):
            remedy = f"write a whole number from {low} to {high}"
            found.append(_finding(model, queue.name, (*path, key), f"{key} is {text}", remedy))
    wants_fifo = queue.properties.get("FifoQueue") == "true"
    if wants_fifo != queue.is_fifo:
        remedy = "end its name in .fifo" if wants_fifo else "set FifoQueue: true, or give it another name"
        name, said = queue.arn.rpartition(":")[2], "true" if wants_fifo else "not true"
        problem = f"QueueName is {name}, and FifoQueue is {said}"
        found.append(_finding(model, queue.name, (*path, "QueueName"), problem, remedy))
    if "RedrivePolicy" in queue.properties:
        found += _of_redrive(model, queue, queue.redrive, (*path, "RedrivePolicy"))
    return found


def _of_redrive(model: Model, queue: QueueResource, policy: Mapping[str, Any], path: tuple[str, ...]) -> list[Finding]:
    found = []
    count, target = policy.get("maxReceiveCount"), policy.get("deadLetterTargetArn")
    if not _is_within(count, 1, 1000):
        said = "has no maxReceiveCount" if count is None else f"has a maxReceiveCount of {count}"
        found.append(_finding(model, queue.name, path, f"RedrivePolicy {said}", "write a whole number from 1 to 1000"))
    if not str(target or "").startswith("arn:"):
        said = "has no deadLetterTargetArn" if target is None else f"has {target} for deadLetterTargetArn, and no ARN"
        remedy = "write deadLetterTargetArn: !GetAtt <the dead-letter queue>.Arn"
        found.append(_finding(model, queue.name, path, f"RedrivePolicy {said}", remedy))
    elif str(target).endswith(".fifo") != queue.is_fifo:
        kind, other = ("FIFO", "standard") if queue.is_fifo else ("standard", "FIFO")
        problem = f"the dead-letter queue of a {kind} queue is a {other} queue"
        found.append(_finding(model, queue.name, path, problem, f"make it a {kind} queue too"))
    return found


def _is_within(text: object, low: int, high: int) -> bool:
    return str(text).isdecimal() and low <= int(str(text)) <= high


def _finding(model: Model, place: str, path: tuple[str, ...], problem: str, remedy: str) -> Finding:
    return Finding(place, problem, remedy, model.template.line(*path), is_refused=True)
