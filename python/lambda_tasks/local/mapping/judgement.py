"""What AWS refuses of an event source mapping of SQS, judged before anything runs.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html, services-sqs-configure.html and
services-sqs-parameters.html of Lambda's guide.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple

from lambda_tasks.local.mapping.pattern_rules import pattern_problem

REPORTS_FAILURES = "ReportBatchItemFailures"
MAX_BATCH_SIZE = {True: 10, False: 10_000}  # of a FIFO queue, and of a standard one
_MAX_WINDOW_SECONDS = 300
_MAX_FILTERS = 5
_OF_ALL = frozenset(
    {
        "BatchSize",
        "Enabled",
        "FilterCriteria",
        "FunctionResponseTypes",
        "KmsKeyArn",
        "LoggingConfig",
        "MaximumBatchingWindowInSeconds",
        "MetricsConfig",
        "ProvisionedPollerConfig",
        "ScalingConfig",
    }
)
_OF_SAM = _OF_ALL | {"Queue"}
_OF_CLOUDFORMATION = _OF_ALL | {"EventSourceArn", "FunctionName", "Tags"}
_INSIDE = {
    "ScalingConfig": frozenset({"MaximumConcurrency"}),
    "FilterCriteria": frozenset({"Filters"}),
    "ProvisionedPollerConfig": frozenset({"MinimumPollers", "MaximumPollers", "PollerGroupName"}),
    "MetricsConfig": frozenset({"Metrics"}),
}


class Refusal(NamedTuple):
    """A reason for which AWS does not make a mapping, the property that it is about, and what to do."""

    problem: str
    remedy: str
    key: str = ""


def refusals(
    properties: Mapping[str, Any],
    *,
    is_sam: bool,
    is_fifo: bool,
    timeout_seconds: int,
    visibility_seconds: int | None,
) -> list[Refusal]:
    """Return why AWS would refuse a mapping with these properties, spelt as in a template.

    `timeout_seconds` is the function's. `visibility_seconds` is the queue's, None where it is not known.
    """
    found = _unknown(properties, is_sam=is_sam) + _wrong_shapes(properties)
    wrong = {one.key for one in found}
    size = _number(properties, "BatchSize", 1, MAX_BATCH_SIZE[is_fifo], found)
    window = _number(properties, "MaximumBatchingWindowInSeconds", 0, _MAX_WINDOW_SECONDS, found)
    scaling = properties.get("ScalingConfig")
    if isinstance(scaling, dict):
        _number(scaling, "MaximumConcurrency", 2, 1000, found)
        if scaling.get("MaximumConcurrency") and properties.get("ProvisionedPollerConfig"):
            remedy = "remove ScalingConfig or ProvisionedPollerConfig"
            found.append(Refusal("provisioned pollers have no MaximumConcurrency", remedy, "ScalingConfig"))
    if is_fifo and window:
        problem = f"MaximumBatchingWindowInSeconds is {window}, and FIFO queues have no batching window"
        found.append(Refusal(problem, "remove it", "MaximumBatchingWindowInSeconds"))
    if size and size > MAX_BATCH_SIZE[True] and not is_fifo and not window:
        problem = f"BatchSize is {size}, and more than 10 need a batching window"
        found.append(Refusal(problem, "set MaximumBatchingWindowInSeconds to 1 or more", "BatchSize"))
    if visibility_seconds is not None and visibility_seconds < timeout_seconds:
        times = f"{visibility_seconds} s is below the function's Timeout of {timeout_seconds} s"
        problem = f"the queue's VisibilityTimeout of {times}"
        found.append(Refusal(problem, f"set it to six times the Timeout, {6 * timeout_seconds} s"))
    if str(properties.get("Enabled", "true")).lower() not in ("true", "false"):
        found.append(Refusal(f"Enabled is {properties['Enabled']}", "write true or false", "Enabled"))
    if "FunctionResponseTypes" not in wrong:
        found += _response_types(properties.get("FunctionResponseTypes") or [])
    if "FilterCriteria" not in wrong:
        found += _patterns((properties.get("FilterCriteria") or {}).get("Filters") or [])
    return found


def _unknown(properties: Mapping[str, Any], *, is_sam: bool) -> list[Refusal]:
    known = _OF_SAM if is_sam else _OF_CLOUDFORMATION
    found = [_unknown_name(name, name, known) for name in properties if name not in known]
    for key, inner in _INSIDE.items():
        value = properties.get(key)
        if isinstance(value, dict):
            found += [_unknown_name(name, key, inner, f"{key} ") for name in value if name not in inner]
    queue = "Queue" if is_sam else "EventSourceArn"
    if not str(properties.get(queue, "")).startswith("arn:"):
        problem = f"{queue} is {properties[queue]}, and no ARN" if properties.get(queue) else f"{queue} is missing"
        found.append(Refusal(problem, f"write {queue}: !GetAtt <the queue>.Arn", queue))
    return found


def _unknown_name(name: str, key: str, known: frozenset[str], where: str = "") -> Refusal:
    near = difflib.get_close_matches(name, known, 1)
    remedy = f"write {near[0]}" if near else f"remove it: there are {', '.join(sorted(known))}"
    return Refusal(f"{where or 'a mapping of SQS '}has no property {name}", remedy, key)


def _wrong_shapes(properties: Mapping[str, Any]) -> list[Refusal]:
    found = []
    for key in (*_INSIDE, "FunctionResponseTypes"):
        value = properties.get(key)
        wanted = list if key == "FunctionResponseTypes" else dict
        if value and not isinstance(value, wanted):
            kind = "list" if wanted is list else "map"
            found.append(Refusal(f"{key} is no {kind}", f"write a {kind}", key))
    return found


def _number(properties: Mapping[str, Any], key: str, low: int, high: int, found: list[Refusal]) -> int | None:
    text = properties.get(key)
    if text is None:
        return None
    if not str(text).isdecimal() or not low <= int(text) <= high:
        found.append(Refusal(f"{key} is {text}", f"write a whole number from {low} to {high}", key))
        return None
    return int(text)


def _response_types(types: list[Any]) -> list[Refusal]:
    wrong = [one for one in types if one != REPORTS_FAILURES]
    return [
        Refusal(f"FunctionResponseTypes has {one}", f"write {REPORTS_FAILURES}", "FunctionResponseTypes")
        for one in wrong
    ]


def _patterns(filters: Any) -> list[Refusal]:  # noqa: ANN401
    key = "FilterCriteria"
    if not isinstance(filters, list):
        return [Refusal("Filters is no list", "write a list of Pattern", key)]
    found = []
    if len(filters) > _MAX_FILTERS:
        found.append(Refusal(f"there are {len(filters)} filters", f"use {_MAX_FILTERS} at most", key))
    for one in filters:
        if not isinstance(one, dict) or set(one) != {"Pattern"}:
            found.append(Refusal("a filter has no Pattern", "write Pattern: and a JSON object as text", key))
        elif problem := pattern_problem(one["Pattern"]):
            found.append(Refusal(f"the filter pattern {_shortened(one['Pattern'])} {problem}", "correct it", key))
    return found


def _shortened(pattern: Any) -> str:  # noqa: ANN401
    text = " ".join(str(pattern).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
