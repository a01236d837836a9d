"""What ``Ref`` and ``Fn::GetAtt`` of a template's resources stand for before anything is made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.template.document import Template

QUEUE = "AWS::SQS::Queue"


def learn_names(template: Template) -> None:
    """Teach `template` the names and ARNs that its resources will have."""
    place = f"{template.region}:{template.account_id}"
    learners: dict[str, Callable[[Template, str, Mapping[str, Any], str], None]] = {
        QUEUE: _queue,
        "AWS::SecretsManager::Secret": _secret,
        "AWS::SSM::Parameter": _parameter,
        "AWS::SNS::Topic": _topic,
        "AWS::Events::EventBus": _event_bus,
        "AWS::DynamoDB::Table": _table,
        "AWS::Serverless::SimpleTable": _table,
        "AWS::S3::Bucket": _bucket,
        "AWS::KMS::Key": _key,
        "AWS::Lambda::Function": _function,
        "AWS::Serverless::Function": _function,
        "AWS::Lambda::Version": _version,
        "AWS::Lambda::Alias": _version,
    }
    for kind, learner in learners.items():
        for name, resource in template.resources(kind).items():
            learner(template, name, resource["Properties"], place)


def queue_name(template: Template, name: str, properties: Mapping[str, Any]) -> str:
    """Return a queue's name: its own, or one made of its logical id, which ends in ``.fifo`` where the queue is so."""
    own = template.resolve({key: properties[key] for key in ("QueueName", "FifoQueue") if key in properties})
    return own.get("QueueName") or f"{name}{'.fifo' if own.get('FifoQueue') == 'true' else ''}"


def own_name(template: Template, properties: Mapping[str, Any], key: str, default: str) -> str:
    """Return the name that a resource's properties give it, or `default`.

    Raises:
        LocalError: it is no text.

    """
    name = template.resolve({key: properties.get(key)})[key] if key in properties else ""
    if not isinstance(name, str):
        raise LocalError(f"{key} of {default} is no text", source=str(template.path), remedy="correct it")
    return name or default


def _queue(template: Template, name: str, properties: Mapping[str, Any], place: str) -> None:
    queue = queue_name(template, name, properties)
    region, account_id = place.split(":")
    url = f"https://sqs.{region}.amazonaws.com/{account_id}/{queue}"
    template.learn(name, url, Arn=f"arn:aws:sqs:{place}:{queue}", QueueName=queue, QueueUrl=url)


def _secret(template: Template, name: str, properties: Mapping[str, Any], place: str) -> None:
    arn = f"arn:aws:secretsmanager:{place}:secret:{own_name(template, properties, 'Name', name)}"
    template.learn(name, arn, Id=arn)


def _parameter(template: Template, name: str, properties: Mapping[str, Any], place: str) -> None:  # noqa: ARG001
    template.learn(name, own_name(template, properties, "Name", f"/{name}"), Type="String", Value="")


def _topic(template: Template, name: str, properties: Mapping[str, Any], place: str) -> None:
    topic = topic_name(template, name, properties)
    arn = f"arn:aws:sns:{place}:{topic}"
    template.learn(name, arn, TopicArn=arn, TopicName=topic)


def _event_bus(template: Template, name: str, properties: Mapping[str, Any], place: str) -> None:
    bus = own_name(template, properties, "Name", name)
    template.learn(name, bus, Name=bus, Arn=f"arn:aws:events:{place}:event-bus/{bus}")


def topic_name(template: Template, name: str, properties: Mapping[str, Any]) -> str:
    """Return a topic's name, which ends in ``.fifo`` where the topic is so."""
    is_fifo = template.resolve(properties.get("FifoTopic", False)) == "true"
    return own_name(template, properties, "TopicName", f"{name}.fifo" if is_fifo else name)


def _table(template: Template, name: str, properties: Mapping[str, Any], place: str) -> None:
    table = own_name(template, properties, "TableName", name)
    arn = f"arn:aws:dynamodb:{place}:table/{table}"
    template.guess(name, table, Arn=arn, StreamArn=f"{arn}/stream/local")


def _bucket(template: Template, name: str, properties: Mapping[str, Any], place: str) -> None:  # noqa: ARG001
    bucket = own_name(template, properties, "BucketName", name.lower())
    template.guess(name, bucket, Arn=f"arn:aws:s3:::{bucket}")


def _key(template: Template, name: str, properties: Mapping[str, Any], place: str) -> None:  # noqa: ARG001
    template.guess(name, name, Arn=f"arn:aws:kms:{place}:key/{name}", KeyId=name)


def _function(template: Template, name: str, properties: Mapping[str, Any], place: str) -> None:
    function = own_name(template, properties, "FunctionName", name)
    arn = f"arn:aws:lambda:{place}:function:{function}"
    template.guess(name, function, Arn=arn)
    template.known[f"{name}.Alias"] = template.known[f"{name}.Version"] = f"{arn}:local"


def _version(template: Template, name: str, properties: Mapping[str, Any], place: str) -> None:
    function = str(template.resolve(properties.get("FunctionName", ""))).rpartition(":function:")[2]
    template.guess(name, f"arn:aws:lambda:{place}:function:{function}:local")
