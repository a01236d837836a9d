"""Enqueue: one task call becomes one SQS message."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

from lambda_tasks import settings
from lambda_tasks.aws import endpoints
from lambda_tasks.aws.credentials import CredentialChain
from lambda_tasks.aws.transport import CallFailed, Transport
from lambda_tasks.errors import EnqueueFailed, InvalidTask
from lambda_tasks.tasks import message

if TYPE_CHECKING:
    from lambda_tasks.tasks.task import Task

_SEND_TIMEOUT_SECONDS = 10.0


def enqueue(task: Task[..., Any], kwargs: dict[str, Any]) -> str:
    """Send one message that runs `task` with `kwargs`, and return its message id.

    Raises:
        InvalidKwargs: the task would not accept them.
        InvalidSetting: the queue's URL is not set.
        EnqueueFailed: SQS did not take the message.

    """
    _check_importable(task)
    queue_url = settings.current().queue_url(task.configuration.queue)
    request: dict[str, Any] = {"QueueUrl": queue_url, "MessageBody": message.encode(task, kwargs)}
    if task.configuration.delay:
        request["DelaySeconds"] = round(task.configuration.delay)
    region = _region(queue_url)
    try:
        answer = transport().call(
            "sqs",
            "SendMessage",
            request,
            region=region,
            partition=endpoints.partition_of(region),
            deadline=time.monotonic() + _SEND_TIMEOUT_SECONDS,
        )
    except CallFailed as error:
        remedy = "check the queue's URL, the role's sqs:SendMessage and the network"
        raise EnqueueFailed(error.problem, source=f"queue {queue_url}", remedy=remedy) from error
    return str(answer["MessageId"])


def _check_importable(task: Task[..., Any]) -> None:
    if task.function.__module__ == "__main__" or "<locals>" in task.name:
        remedy = "define it at the top level of a module that the worker can import"
        raise InvalidTask("no message can name the task", source=f"task {task.name}", remedy=remedy)


def _region(queue_url: str) -> str:
    """Return the region that `queue_url` names, else the function's own."""
    host = queue_url.partition("://")[2].split("/")[0].split(".")
    if host[0] == "sqs" and len(host) > 2:
        return host[1]
    return settings.environ().get("AWS_REGION") or settings.environ().get("AWS_DEFAULT_REGION") or "us-east-1"


@functools.cache
def transport() -> Transport:
    """Return the transport of this process, made when it is first needed."""
    environ = settings.environ()
    return Transport(CredentialChain(environ), environ)
