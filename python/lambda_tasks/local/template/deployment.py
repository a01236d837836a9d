"""Make what a template describes: its queues, its other resources, and each function's configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.mapping.filter_criteria import FilterCriteria
from lambda_tasks.local.mapping.judgement import REPORTS_FAILURES
from lambda_tasks.local.queue import Queue, create_queue
from lambda_tasks.local.template.code import as_folder
from lambda_tasks.local.template.document import Template
from lambda_tasks.local.template.functions import FunctionResource
from lambda_tasks.local.template.mappings import MappingResource
from lambda_tasks.local.template.model import model_of
from lambda_tasks.local.template.names import QUEUE, learn_names, queue_name
from lambda_tasks.local.template.resources import make_resources

# Encryption has no effect here, and its key is not made.
_LEFT_OUT = ("KmsDataKeyReusePeriodSeconds", "KmsKeyId", "KmsMasterKeyId", "QueueName", "SSESpecification", "Tags")


@dataclass(frozen=True)
class Source:
    """An SQS event of a function. `window_seconds` and the rest are those of the event source mapping."""

    name: str
    queue_arn: str
    batch_size: int = 10
    window_seconds: float = 0
    maximum_concurrency: int | None = None
    filter_criteria: FilterCriteria = field(default_factory=FilterCriteria)
    reports_failures: bool = False


@dataclass(frozen=True)
class DeployedFunction:
    """A function as its template configures it. `layers` are logical ids or ARNs; `environ` is not shown by repr."""

    name: str
    code: Path
    handler: str
    layers: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)
    memory_mb: int
    timeout_seconds: int
    log_format: str
    sources: tuple[Source, ...]
    concurrency: int | None = None
    runtime: str = ""


@dataclass
class Deployment:
    """What was made, by logical id; queues by ARN too. `skipped` are functions that do not run here, and why."""

    template: Template
    queues: dict[str, Queue] = field(default_factory=dict)
    dead_letters: list[str] = field(default_factory=list)
    functions: list[DeployedFunction] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def queue_of_arn(self, arn: str) -> Queue:
        """Return the queue with this ARN.

        Raises:
            LocalError: the template makes none.

        """
        for queue in self.queues.values():
            if queue.arn == arn:
                return queue
        raise LocalError(f"there is no queue {arn}", source=str(self.template.path), remedy="define it in the template")


def deploy(
    template: Template,
    aws: EmbeddedAws,
    sqs: Any,  # noqa: ANN401
    folder: Path,
    *,
    creates_queues: bool,
) -> Deployment:
    """Make what `template` describes in the embedded AWS, with queues reached by `sqs`, botocore's client.

    Queues of an SQS that already runs (`creates_queues` is false) are only looked up. Code that is no folder becomes
    one below `folder`.

    Raises:
        LocalError: something cannot be made here, or a queue is not there.

    """
    deployment = Deployment(template)
    learn_names(template)
    try:
        _make_queues(deployment, sqs, creates_queues=creates_queues)
        make_resources(template, aws)
    except ClientError as error:
        answer = error.response.get("Error", {})
        reason = ": ".join(filter(None, (answer.get("Code"), str(answer.get("Message", "")).rstrip("."))))
        raise LocalError(f"{error.operation_name} was refused: {reason}", remedy="correct the template") from error
    except ParamValidationError as error:
        reason = " ".join(str(error).split())
        raise LocalError(reason, source=str(template.path), remedy="correct the template") from error
    except BotoCoreError as error:
        raise LocalError(str(error), remedy="check --endpoint-url") from error
    model = model_of(template)
    for function in model.functions.values():
        mappings = model.mappings_of(function.name)
        if function.skipped is not None:
            deployment.skipped[function.name] = function.skipped
            continue
        try:
            code = as_folder(function, folder)
        except LocalError as error:
            if mappings:
                raise
            deployment.skipped[function.name] = error.problem
            continue
        deployment.functions.append(_deployed(function, code, mappings))
    return deployment


def _make_queues(deployment: Deployment, sqs: Any, *, creates_queues: bool) -> None:  # noqa: ANN401
    """Make each queue after the one that its redrive policy names."""
    template = deployment.template
    waiting = template.resources(QUEUE)
    while waiting:
        ready = {name: one for name, one in waiting.items() if not _names_in(one) & (waiting.keys() - {name})}
        if not ready:
            raise LocalError("the queues' redrive policies form a circle", source=str(template.path), remedy="break it")
        for name, resource in ready.items():
            properties = template.resolve(resource["Properties"])
            own_name = queue_name(template, name, resource["Properties"])
            if creates_queues:
                queue = create_queue(sqs, own_name, **_queue_attributes(properties))
            else:
                queue = _existing_queue(sqs, own_name)
            deployment.queues[name] = queue
            template.learn(name, queue.url, Arn=queue.arn, QueueName=own_name, QueueUrl=queue.url)
            if target := properties.get("RedrivePolicy", {}).get("deadLetterTargetArn"):
                deployment.dead_letters.append(target)
            del waiting[name]


def _names_in(value: Any) -> set[str]:  # noqa: ANN401
    """Return every text in a part of a template: the logical ids that it refers to are among them."""
    if isinstance(value, dict):
        return {one.split(".")[0] for part in value.values() for one in _names_in(part)}
    if isinstance(value, list):
        return {name for part in value for name in _names_in(part)}
    return {value} if isinstance(value, str) else set()


def _queue_attributes(properties: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: json.dumps(value) if isinstance(value, dict) else str(value)
        for name, value in properties.items()
        # AWS takes FifoQueue for a FIFO queue alone.
        if name not in _LEFT_OUT and (name, value) != ("FifoQueue", "false")
    }


def _existing_queue(sqs: Any, name: str) -> Queue:  # noqa: ANN401
    try:
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    except ClientError as error:
        endpoint = sqs.meta.endpoint_url
        problem = f"there is no queue {name} at {endpoint}"
        raise LocalError(problem, remedy="create it, or leave --endpoint-url out") from error
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return Queue(sqs, url, answer["Attributes"]["QueueArn"])


def _deployed(function: FunctionResource, code: Path, mappings: Sequence[MappingResource]) -> DeployedFunction:
    return DeployedFunction(
        name=function.name,
        code=code,
        handler=function.handler,
        layers=function.layers,
        environ=function.environ,
        memory_mb=function.memory_mb,
        timeout_seconds=function.timeout_seconds,
        log_format=function.log_format,
        sources=tuple(map(_source, mappings)),
        concurrency=function.reserved,
        runtime=function.runtime,
    )


def _source(mapping: MappingResource) -> Source:
    own = mapping.properties
    maximum = (own.get("ScalingConfig") or {}).get("MaximumConcurrency")
    patterns = [one["Pattern"] for one in (own.get("FilterCriteria") or {}).get("Filters") or ()]
    return Source(
        name=mapping.name,
        queue_arn=mapping.queue_arn,
        batch_size=int(own.get("BatchSize", 10)),
        window_seconds=float(own.get("MaximumBatchingWindowInSeconds", 0)),
        maximum_concurrency=int(maximum) if maximum else None,
        filter_criteria=FilterCriteria.parse(patterns),
        reports_failures=REPORTS_FAILURES in (own.get("FunctionResponseTypes") or ()),
    )
