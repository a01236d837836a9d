"""``lambda-tasks send``: one message that runs a task."""

from __future__ import annotations

import json
import uuid
from typing import Any

import rich_click as click

from lambda_tasks import settings
from lambda_tasks.command_line.arguments import (
    BadInput,
    asked,
    aws_options,
    client,
    json_option,
    message_body,
    pairs,
    queue_url,
)
from lambda_tasks.command_line.output import Output
from lambda_tasks.command_line.running_local import use_running
from lambda_tasks.messages.attributes import ATTRIBUTE
from lambda_tasks.settings import queue_url_variable


@click.command("send")
@click.argument("task")
@click.argument("kwargs", nargs=-1, metavar="[NAME=VALUE]...")
@click.option(
    "--queue",
    default="default",
    show_default=True,
    metavar="NAME",
    help="The queue: its name among the tasks' queues, its name in SQS, or its URL.",
)
@click.option("--queue-url", "given_url", metavar="URL", hidden=True, help="URL or name of the queue in SQS.")
@click.option("--delay", type=click.IntRange(0, 900), default=0, metavar="SECONDS", help="Time before it may run.")
@click.option("--group", help="Message group ID, for FIFO and fair queues.")
@click.option("--deduplication-id", help="Deduplication ID, for FIFO queues.")
@click.option("--context", multiple=True, metavar="NAME=VALUE", help="What the message carries beside its kwargs.")
@aws_options
@json_option
def command(
    task: str,
    kwargs: tuple[str, ...],
    queue: str,
    given_url: str | None,
    delay: int,
    group: str | None,
    deduplication_id: str | None,
    context: tuple[str, ...],
    endpoint_url: str | None,
    region: str | None,
    *,
    as_json: bool,
) -> None:
    """Send one message that runs TASK, a dotted path such as shop.tasks.send_receipt.

    If the task can be imported from this folder, values are read as its annotations say, and checked. Else they are
    JSON, or text.
    """
    body = message_body(task, pairs(kwargs, "kwarg"))
    variable = queue_url_variable(queue)
    run = use_running(variable, endpoint_url, given_url or queue)
    wanted = given_url or settings.environ().get(variable)
    if not wanted and queue != "default":
        wanted = run.queues.get(queue, queue) if run else queue
    if not wanted:
        remedy = "set it, or add --queue, or start `lambda-tasks local` in this folder"
        raise BadInput("there is no queue to send to", variable=variable, remedy=remedy)
    sqs = client("sqs", endpoint_url, region)
    url = queue_url(sqs, wanted)
    if url.endswith(".fifo") and not group:
        raise BadInput("a FIFO queue needs a group for each message", source=url, remedy="add --group NAME")
    request: dict[str, Any] = {"QueueUrl": url, "MessageBody": body}
    if delay:
        request["DelaySeconds"] = delay
    if group:
        request["MessageGroupId"] = group
    if url.endswith(".fifo"):  # two equal messages that are sent by hand are meant
        deduplication_id = deduplication_id or str(uuid.uuid4())
    if deduplication_id:
        request["MessageDeduplicationId"] = deduplication_id
    if context:
        carried = json.dumps(pairs(context, "context"))
        request["MessageAttributes"] = {ATTRIBUTE: {"DataType": "String", "StringValue": carried}}
    message_id = asked(sqs.send_message, **request)["MessageId"]
    output = Output(as_json)
    if as_json:
        output.json({"message_id": message_id, "queue_url": url, "task": task})
    output.line(f"sent {task} as message {message_id}")
