"""The documented ways to attach the layer: each gives the function the time and the permissions that the handler uses."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import yaml

import documents
import fault_proxy
import runtime_process
from copies import ROOT
from events import message_body
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.queue import Queue, redrive_policy

# What Lambda itself does by the function's role, before and after the handler:
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-permissions
BY_THE_MAPPING = {
    ("sqs:ReceiveMessage", "tasks"),
    ("sqs:DeleteMessage", "tasks"),
    ("sqs:GetQueueAttributes", "tasks"),
}

Permission = tuple[str, str]
"""An action, and the queue that it is allowed on: "tasks" or "dead letters"."""


class Reader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML with the short forms of CloudFormation's functions."""


Reader.add_multi_constructor("!", lambda _, suffix, node: f"!{suffix} {node.value}")


def snippet(language: str, holds: str) -> str:
    (block,) = documents.blocks(language, holds, "docs/how-to/deploying.md")
    return block.text


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def permissions(statements: Iterable[tuple[Any, Any]]) -> Iterator[Permission]:
    """Yield each action of each statement with the queue that it is about; logs are no queue."""
    for actions, resources in statements:
        for resource in listed(resources):
            for action in listed(actions):
                if not action.startswith("logs:"):
                    yield action, "dead letters" if "dead" in resource.lower() else "tasks"


def sam() -> Iterator[tuple[Any, Any]]:
    policies = yaml.load(snippet("yaml", "layer:lambda-tasks:1"), Reader)["Worker"]["Properties"]["Policies"]  # noqa: S506
    for statement in policies[0]["Statement"]:
        assert statement["Effect"] == "Allow"
        yield statement["Action"], statement["Resource"]


def cdk() -> Iterator[tuple[Any, Any]]:
    for node in ast.walk(ast.parse(snippet("python", "layer:lambda-tasks:1"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "iam.PolicyStatement":
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            yield ast.literal_eval(given["actions"]), ast.unparse(given["resources"])


def terraform() -> Iterator[tuple[Any, Any]]:
    found = re.findall(
        r"actions +=\s*\[(.*?)\]\s*resources = \[(.*?)\]", snippet("hcl", "layer:lambda-tasks:1"), re.DOTALL
    )
    for actions, resources in found:
        yield re.findall(r'"(.*?)"', actions), resources


def console() -> Iterator[tuple[Any, Any]]:
    for statement in json.loads(snippet("json", '"Statement"'))["Statement"]:
        assert statement["Effect"] == "Allow"
        yield statement["Action"], statement["Resource"]


@pytest.fixture(scope="module")
def seen(embedded_aws: EmbeddedAws) -> set[Permission]:
    """What the handler asks of SQS for messages that succeed, are retried, fail, are rejected, or enqueue another."""
    dead_letters, queue = (_queue(embedded_aws, name) for name in ("snippets-dead-letters", "snippets-tasks"))
    policy = {"RedrivePolicy": redrive_policy(dead_letters, 10)}
    queue.client.set_queue_attributes(QueueUrl=queue.url, Attributes=policy)
    names = {"add": {"number": 1}, "unreliable": {}, "fail": {}, "chain": {"number": 1}, "no_such_task": {}}
    for name, kwargs in names.items():
        queue.send(message_body(f"catalogue.tasks.{name}", **kwargs))
    event = {"Records": [_record(message, queue) for message in queue.receive()]}
    with fault_proxy.serve(embedded_aws.endpoint_url) as proxy:
        environ = {
            **embedded_aws.environ(),
            "AWS_ENDPOINT_URL": proxy.url,
            "LAMBDA_TASKS_MODULES": "catalogue.tasks",
            "LAMBDA_TASKS_QUEUE_URL": queue.url,
        }
        (answer,) = runtime_process.run([event], environ).answers
    assert len(event["Records"]) == len(names)
    assert len(answer["batchItemFailures"]) == 1  # the one that is retried
    found = set()
    for target, body in proxy.seen:
        url = json.loads(body)["QueueUrl"]
        # IAM knows no action of its own for a batch.
        action = target.removeprefix("AmazonSQS.").removesuffix("Batch")
        found.add((f"sqs:{action}", "dead letters" if "dead" in url else "tasks"))
    return found


def _queue(aws: EmbeddedAws, name: str) -> Queue:
    client = aws.client("sqs")
    url = client.create_queue(QueueName=name)["QueueUrl"]
    arn = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return Queue(client, url, arn)


def _record(message: Any, queue: Queue) -> dict[str, Any]:
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": {},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue.arn,
        "awsRegion": "eu-west-1",
    }


@pytest.mark.parametrize("statements", [sam, cdk, terraform, console])
def test_policy_is_what_the_handler_uses(
    statements: Callable[[], Iterator[tuple[Any, Any]]], seen: set[Permission]
) -> None:
    """Each way allows what the handler was seen to do and what Lambda does with its role, and nothing else."""
    assert set(permissions(statements())) == seen | BY_THE_MAPPING


def test_handler_uses_what_defaults_lack(seen: set[Permission]) -> None:
    """The calls that the recorder saw are those whose want would cost backoff and reasons."""
    assert seen == {
        ("sqs:ChangeMessageVisibility", "tasks"),
        ("sqs:GetQueueAttributes", "tasks"),
        ("sqs:SendMessage", "dead letters"),
        ("sqs:SendMessage", "tasks"),
    }


@pytest.mark.parametrize(
    ("language", "timeout"),
    [("yaml", "Timeout: 60\n"), ("python", "timeout=Duration.seconds(60)"), ("hcl", "timeout       = 60\n")],
)
def test_timeout_is_not_the_default(language: str, timeout: str) -> None:
    """Each way sets a timeout, since three seconds, the default, are too short."""
    assert timeout in snippet(language, "layer:lambda-tasks:1")


def test_console_names_all_of_it() -> None:
    """The way by hand names the timeout, both variables, the policy and the trigger's setting."""
    _, steps = (ROOT / "docs" / "how-to" / "deploying.md").read_text().split("\n## Console\n")

    for part in ("*Timeout*", "/opt/bin/lambda-tasks-exec", "LAMBDA_TASKS_MODULES", "*Create inline policy*"):
        assert part in steps
    assert "*Report batch item\nfailures*" in steps or "*Report batch item failures*" in steps


def test_terraform_may_log() -> None:
    """A role that Terraform makes has no policy of AWS's, so the function's logs are allowed beside the queues."""
    actions = {action for statement, _ in terraform() for action in statement}

    assert {"logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"} <= actions
