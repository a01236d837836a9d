"""Make what a template describes: queues, secrets, parameters, tables, buckets, and each function's configuration."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from lambda_tasks.local.embedded_aws import ACCOUNT_ID, EmbeddedAws
from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.mapping.filter_criteria import FilterCriteria
from lambda_tasks.local.queue import Queue, create_queue
from lambda_tasks.local.template.document import Template

FUNCTION = "AWS::Serverless::Function"
_LAYER = "AWS::Serverless::LayerVersion"
_QUEUE = "AWS::SQS::Queue"
# Encryption has no effect here, and its key is not made.
_LEFT_OUT = ("KmsDataKeyReusePeriodSeconds", "KmsKeyId", "KmsMasterKeyId", "QueueName", "SSESpecification", "Tags")
_FUNCTION_KEYS = (
    "CodeUri",
    "Environment",
    "Events",
    "Handler",
    "Layers",
    "LoggingConfig",
    "MemorySize",
    "PackageType",
    "ReservedConcurrentExecutions",
    "Timeout",
)
_TABLE_KEYS = ("AttributeDefinitions", "BillingMode", "GlobalSecondaryIndexes", "KeySchema", "LocalSecondaryIndexes")


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


@dataclass
class Deployment:
    """What was made, by logical id; queues by ARN too."""

    template: Template
    queues: dict[str, Queue] = field(default_factory=dict)
    dead_letters: list[str] = field(default_factory=list)
    functions: list[DeployedFunction] = field(default_factory=list)

    def queue_of_arn(self, arn: str) -> Queue:
        """Return the queue with this ARN.

        Raises:
            LocalError: the template makes none.

        """
        for queue in self.queues.values():
            if queue.arn == arn:
                return queue
        raise LocalError(f"there is no queue {arn}", source=str(self.template.path), remedy="define it in the template")


def deploy(template: Template, aws: EmbeddedAws, sqs: Any, *, creates_queues: bool) -> Deployment:  # noqa: ANN401
    """Make what `template` describes in the embedded AWS, with queues reached by `sqs`, botocore's client.

    Queues of an SQS that already runs (`creates_queues` is false) are only looked up.

    Raises:
        LocalError: something cannot be made here, or a queue is not there.

    """
    deployment = Deployment(template)
    makers: dict[str, Callable[[Template, EmbeddedAws, str, dict[str, Any]], None]] = {
        "AWS::S3::Bucket": _make_bucket,
        "AWS::SecretsManager::Secret": _make_secret,
        "AWS::DynamoDB::Table": _make_table,
        "AWS::Serverless::SimpleTable": _make_simple_table,
        "AWS::SSM::Parameter": _make_parameter,
    }
    try:
        _make_queues(deployment, sqs, creates_queues=creates_queues)
        for kind, make in makers.items():
            for name, resource in template.resources(kind).items():
                make(template, aws, name, template.resolve(resource.get("Properties", {})))
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        raise LocalError(f"{error.operation_name} was refused: {code}", remedy="correct the template") from error
    except BotoCoreError as error:
        raise LocalError(str(error), remedy="check --endpoint-url") from error
    deployment.functions += [_function(template, name, one) for name, one in template.resources(FUNCTION).items()]
    return deployment


def _make_queues(deployment: Deployment, sqs: Any, *, creates_queues: bool) -> None:  # noqa: ANN401
    """Make each queue after the one that its redrive policy names."""
    template = deployment.template
    waiting = template.resources(_QUEUE)
    while waiting:
        ready = {name: one for name, one in waiting.items() if not _names_in(one) & (waiting.keys() - {name})}
        if not ready:
            raise LocalError("the queues' redrive policies form a circle", source=str(template.path), remedy="break it")
        for name, resource in ready.items():
            properties = template.resolve(resource.get("Properties", {}))
            is_fifo = properties.get("FifoQueue") == "true"
            queue_name = properties.get("QueueName") or f"{name}{'.fifo' if is_fifo else ''}"
            if creates_queues:
                queue = create_queue(sqs, queue_name, **_queue_attributes(properties))
            else:
                queue = _existing_queue(sqs, queue_name)
            deployment.queues[name] = queue
            template.learn(name, queue.url, Arn=queue.arn, QueueName=queue_name, QueueUrl=queue.url)
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
        if name not in _LEFT_OUT
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


def _make_secret(template: Template, aws: EmbeddedAws, name: str, properties: dict[str, Any]) -> None:
    text = properties.get("SecretString")
    if text is None:
        generate = properties.get("GenerateSecretString", {})
        text = secrets.token_urlsafe(int(generate.get("PasswordLength", 32)))
        if key := generate.get("GenerateStringKey"):
            text = json.dumps({**json.loads(generate.get("SecretStringTemplate", "{}")), key: text})
    client = aws.client("secretsmanager")
    arn = client.create_secret(Name=properties.get("Name", name), SecretString=text)["ARN"]
    template.learn(name, arn, Id=arn)


def _make_parameter(template: Template, aws: EmbeddedAws, name: str, properties: dict[str, Any]) -> None:
    parameter = properties.get("Name", name)
    kind = properties.get("Type", "String")
    aws.client("ssm").put_parameter(Name=parameter, Value=properties["Value"], Type=kind)
    template.learn(name, parameter, Value=properties["Value"], Type=kind)


def _make_bucket(template: Template, aws: EmbeddedAws, name: str, properties: dict[str, Any]) -> None:
    bucket = properties.get("BucketName", name.lower())
    aws.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": aws.region})
    template.learn(name, bucket, Arn=f"arn:aws:s3:::{bucket}")


def _make_simple_table(template: Template, aws: EmbeddedAws, name: str, properties: dict[str, Any]) -> None:
    key = properties.get("PrimaryKey", {"Name": "id", "Type": "String"})
    kind = {"String": "S", "Number": "N", "Binary": "B"}[key["Type"]]
    own = {
        "AttributeDefinitions": [{"AttributeName": key["Name"], "AttributeType": kind}],
        "KeySchema": [{"AttributeName": key["Name"], "KeyType": "HASH"}],
    }
    _make_table(template, aws, name, {**properties, **own})


def _make_table(template: Template, aws: EmbeddedAws, name: str, properties: dict[str, Any]) -> None:
    table = properties.get("TableName", name)
    client = aws.client("dynamodb")
    request = {key: properties[key] for key in _TABLE_KEYS if key in properties}
    for index in request.get("GlobalSecondaryIndexes", ()):
        index.pop("ProvisionedThroughput", None)
    client.create_table(**{**request, "BillingMode": "PAY_PER_REQUEST"}, TableName=table)
    if expiry := properties.get("TimeToLiveSpecification"):
        specification = {"AttributeName": expiry["AttributeName"], "Enabled": expiry.get("Enabled") == "true"}
        client.update_time_to_live(TableName=table, TimeToLiveSpecification=specification)
    template.learn(name, table, Arn=f"arn:aws:dynamodb:{aws.region}:{ACCOUNT_ID}:table/{table}")


def _function(template: Template, name: str, resource: Mapping[str, Any]) -> DeployedFunction:
    raw = template.function_properties(resource)
    properties = template.resolve({key: raw[key] for key in _FUNCTION_KEYS if key in raw})
    if properties.get("PackageType") == "Image" or not isinstance(properties.get("CodeUri"), str):
        problem = f"{name} has no folder of code"
        raise LocalError(problem, source=str(template.path), remedy="set its CodeUri to one: images do not run here")
    code = template.path.parent / properties["CodeUri"]
    if not code.is_dir():
        raise LocalError(f"there is no folder {code}", source=f"function {name}", remedy="correct its CodeUri")
    reserved = properties.get("ReservedConcurrentExecutions")
    return DeployedFunction(
        name=name,
        code=code,
        handler=properties.get("Handler", ""),
        layers=tuple(properties.get("Layers", ())),
        environ=properties.get("Environment", {}).get("Variables", {}),
        memory_mb=int(properties.get("MemorySize", 128)),
        timeout_seconds=int(properties.get("Timeout", 3)),
        log_format=properties.get("LoggingConfig", {}).get("LogFormat", "Text"),
        sources=tuple(_sources(name, properties.get("Events", {}))),
        concurrency=int(reserved) if reserved else None,
    )


def _sources(function: str, events: Mapping[str, Any]) -> list[Source]:
    found = []
    for name, event in events.items():
        if event.get("Type") != "SQS":
            continue
        own = event["Properties"]
        maximum = own.get("ScalingConfig", {}).get("MaximumConcurrency")
        if own.get("Enabled") == "false":
            continue
        patterns = [one["Pattern"] for one in own.get("FilterCriteria", {}).get("Filters", ())]
        found.append(
            Source(
                name=f"{function}.{name}",
                queue_arn=own["Queue"],
                batch_size=int(own.get("BatchSize", 10)),
                window_seconds=float(own.get("MaximumBatchingWindowInSeconds", 0)),
                maximum_concurrency=int(maximum) if maximum else None,
                filter_criteria=FilterCriteria.parse(patterns),
                reports_failures="ReportBatchItemFailures" in own.get("FunctionResponseTypes", ()),
            )
        )
    return found
