"""The arguments that several commands share: pairs, a task and its kwargs, endpoint and region of AWS."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec
import rich_click as click

from lambda_tasks import settings
from lambda_tasks.aws import endpoints
from lambda_tasks.command_line.running_local import template_option
from lambda_tasks.definition.lookup import find_task
from lambda_tasks.errors import ConfigurationError, InvalidKwargs, LambdaTasksError, MessageRejected, TaskNotAllowed
from lambda_tasks.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


class BadInput(ConfigurationError):
    """The error of an argument that cannot be used."""


def region_of_templates(environ: Mapping[str, str]) -> str:
    """Return the region that a template is read for: this process's, else that of the local run."""
    return endpoints.own_region(environ) or "eu-west-1"


def json_option(function: F) -> F:
    """Add ``--json``."""
    return click.option("as_json", "--json", is_flag=True, help="Print JSON for programs.")(function)


def aws_options(function: F) -> F:
    """Add ``--template``, ``--endpoint-url`` and ``--region``."""
    function = template_option(function)
    function = click.option("--region", help="Region of the queue or table; by default as boto3 finds it.")(function)
    return click.option("--endpoint-url", metavar="URL", help="An AWS of your own, such as `lambda-tasks local`.")(
        function
    )


def pairs(texts: Sequence[str], what: str) -> dict[str, str]:
    """Return ``NAME=VALUE`` texts as a mapping.

    Raises:
        BadInput: one has no equals sign, or no name.

    """
    found = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise BadInput(f"{text!r} is no {what}", remedy=f"use NAME=VALUE for a {what}")
        found[name] = value
    return found


def message_body(task_name: str, kwargs: Mapping[str, str], folder: Path | None = None) -> str:
    """Return the body of a message, with each of `kwargs` in the type that the task's annotation says.

    A value is read as its annotation says, or as JSON. If the task cannot be imported here (from `folder`, or the
    current one), a value is read as JSON, or else as text.

    Raises:
        BadInput: the task does not take them, or there is no such task in its module.

    """
    task = _find(task_name, folder)
    values = {name: _any_value(text) for name, text in kwargs.items()}
    if task is not None:
        hints = get_type_hints(task.function, include_extras=True)
        values = {name: _typed(text, hints.get(name, Any)) for name, text in kwargs.items()}
        try:
            task.encode_kwargs(values)
        except InvalidKwargs as error:
            raise BadInput(
                error.problem, source=error.source, remedy=f"the task takes {inspect.signature(task.function)}"
            ) from error
    encoded = msgspec.Raw(msgspec.json.encode(values))
    return msgspec.json.encode({"task_name": task_name, "kwargs": encoded, "n_retries": 0}).decode()


def _find(task_name: str, folder: Path | None) -> Any:  # noqa: ANN401 - a task, with whatever parameters
    sys.path.insert(0, str(folder or Path.cwd()))
    try:
        return find_task(task_name, Settings())
    except TaskNotAllowed as error:
        raise BadInput(error.problem, source=error.source, remedy=error.remedy) from error
    except MessageRejected as error:
        if task_name.rpartition(".")[0] in sys.modules:  # its module is there, and has no such task
            raise BadInput(error.problem, source=error.source, remedy="correct the name") from error
        if not all(part.isidentifier() for part in task_name.split(".")) or "." not in task_name:
            raise BadInput(error.problem, source=error.source, remedy=error.remedy) from error
    except (Exception, SystemExit):  # noqa: BLE001 - the application's packages may be elsewhere
        return None
    finally:
        sys.path.remove(str(folder or Path.cwd()))
    return None


def _typed(text: str, annotation: Any) -> Any:  # noqa: ANN401
    try:
        return msgspec.convert(text, annotation, strict=False)
    except (msgspec.MsgspecError, TypeError, ValueError):
        pass
    try:
        return msgspec.convert(json.loads(text), annotation)
    except (msgspec.MsgspecError, TypeError, ValueError):
        return _any_value(text)


def _any_value(text: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text)
    except ValueError:
        return text


def client(service: str, endpoint_url: str | None, region: str | None) -> Any:  # noqa: ANN401
    """Return boto3's client of a service.

    Raises:
        BadInput: there is no region.

    """
    import boto3  # noqa: PLC0415 - heavy
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    region = region or endpoints.own_region(settings.environ())
    config = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 3})
    try:
        return boto3.client(service, endpoint_url=endpoint_url, region_name=region, config=config)
    except (BotoCoreError, ValueError) as error:
        raise BadInput(str(error).rstrip("."), remedy="add --region or --endpoint-url, or set AWS_REGION") from error


def asked(call: Callable[..., Any], **request: Any) -> Any:  # noqa: ANN401
    """Return AWS's answer.

    Raises:
        BadInput: it refused, or could not be reached.

    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        return call(**request)
    except ClientError as error:
        code = error.response.get("Error", {}).get("QueryErrorCode") or error.response.get("Error", {}).get("Code")
        remedy = "check the name, the region, --endpoint-url and your permissions"
        raise BadInput(f"{error.operation_name} was refused: {code}", remedy=remedy) from error
    except BotoCoreError as error:
        remedy = "check the network, your credentials, the region and --endpoint-url"
        raise BadInput(str(error).rstrip("."), remedy=remedy) from error


def calls_of(sqs: Any) -> Callable[[str, str, Mapping[str, Any]], Any]:  # noqa: ANN401
    """Return a function of operation, queue's URL and request, by boto3's client of SQS. It raises as `asked` does."""

    def call(operation: str, url: str, request: Mapping[str, Any]) -> Any:  # noqa: ANN401
        from botocore import xform_name  # noqa: PLC0415 - heavy

        return asked(getattr(sqs, xform_name(operation)), QueueUrl=url, **request)

    return call


def queue_url(sqs: Any, name: str) -> str:  # noqa: ANN401
    """Return the URL of a queue, given by its URL or its name.

    Raises:
        BadInput: there is no such queue.

    """
    return name if "://" in name else str(asked(sqs.get_queue_url, QueueName=name)["QueueUrl"])


__all__ = [
    "BadInput",
    "LambdaTasksError",
    "asked",
    "aws_options",
    "calls_of",
    "client",
    "json_option",
    "message_body",
    "pairs",
    "queue_url",
]
