"""What a template has beside its queues and functions, made in the embedded AWS: secrets, tables, buckets, topics."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from lambda_tasks.local.embedded_aws import ACCOUNT_ID, EmbeddedAws
from lambda_tasks.local.template.document import Template
from lambda_tasks.local.template.names import topic_name

_TABLE_KEYS = ("AttributeDefinitions", "BillingMode", "GlobalSecondaryIndexes", "KeySchema", "LocalSecondaryIndexes")
_SUBSCRIPTION_KEYS = ("FilterPolicy", "FilterPolicyScope", "RawMessageDelivery")


def make_resources(template: Template, aws: EmbeddedAws) -> None:
    """Make them, and teach `template` their names. Queues are there already."""
    makers: dict[str, Callable[[Template, EmbeddedAws, str, dict[str, Any]], None]] = {
        "AWS::S3::Bucket": _make_bucket,
        "AWS::SecretsManager::Secret": _make_secret,
        "AWS::DynamoDB::Table": _make_table,
        "AWS::Serverless::SimpleTable": _make_simple_table,
        "AWS::SSM::Parameter": _make_parameter,
        "AWS::SNS::Topic": _make_topic,
        "AWS::Events::EventBus": _make_event_bus,
        "AWS::SNS::Subscription": _make_subscription,
    }
    for kind, make in makers.items():
        for name, resource in template.resources(kind).items():
            make(template, aws, name, template.resolve(resource["Properties"]))


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


def _make_topic(template: Template, aws: EmbeddedAws, name: str, properties: dict[str, Any]) -> None:
    topic = topic_name(template, name, properties)
    attributes = {key: properties[key] for key in ("ContentBasedDeduplication", "FifoTopic") if key in properties}
    arn = aws.client("sns").create_topic(Name=topic, Attributes=attributes)["TopicArn"]
    template.learn(name, arn, TopicArn=arn, TopicName=topic)
    for subscription in properties.get("Subscription") or ():
        _subscribe(aws, arn, subscription)


def _make_event_bus(template: Template, aws: EmbeddedAws, name: str, properties: dict[str, Any]) -> None:
    bus = properties.get("Name", name)
    arn = aws.client("events").create_event_bus(Name=bus)["EventBusArn"]
    template.learn(name, bus, Name=bus, Arn=arn)


def _make_subscription(template: Template, aws: EmbeddedAws, name: str, properties: dict[str, Any]) -> None:  # noqa: ARG001
    _subscribe(aws, str(properties.get("TopicArn")), properties)


def _subscribe(aws: EmbeddedAws, topic_arn: str, properties: Mapping[str, Any]) -> None:
    """Subscribe a queue. Other endpoints, such as addresses for mail, get nothing from this machine."""
    if properties.get("Protocol") != "sqs":
        return
    attributes = {
        key: properties[key] if isinstance(properties[key], str) else json.dumps(properties[key])
        for key in _SUBSCRIPTION_KEYS
        if key in properties
    }
    aws.client("sns").subscribe(
        TopicArn=topic_arn, Protocol="sqs", Endpoint=properties.get("Endpoint"), Attributes=attributes
    )
