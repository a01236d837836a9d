"""The variables by which other programs reach a session: its endpoint, every queue, dead-letter queue and table."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lambda_tasks.local.session import Session
from lambda_tasks.settings import queue_url_variable

_OWN = ("LAMBDA_TASKS_DEAD_LETTER_QUEUE_URL", "LAMBDA_TASKS_PAYLOAD_BUCKET", "LAMBDA_TASKS_TABLE")
_QUEUE, _DEAD, _PAYLOADS, _TABLE = queue_url_variable("default"), *_OWN
_TABLES = ("AWS::DynamoDB::Table", "AWS::Serverless::SimpleTable")


def exports_of(session: Session) -> dict[str, str]:
    """Return them. A variable that a function has too is as the function has it.

    The first queue, dead-letter queue and table have the names that this library's settings have. Every one has that
    name with its logical id behind it, such as ``LAMBDA_TASKS_QUEUE_URL_JOBS``.
    """
    deployment = session.deployment
    dead_arns = set(deployment.dead_letters)
    urls = {name: queue.url for name, queue in deployment.queues.items() if queue.arn not in dead_arns}
    dead = {name: queue.url for name, queue in deployment.queues.items() if queue.arn in dead_arns}
    tables = {name: str(deployment.template.known[name]) for name in deployment.template.resources(*_TABLES)}
    found = dict(session.aws.environ())
    if not session.has_own_sqs and deployment.queues:
        found["AWS_ENDPOINT_URL_SQS"] = next(iter(deployment.queues.values())).client.meta.endpoint_url
    for variable, values in ((_QUEUE, urls), (_DEAD, dead), (_TABLE, tables)):
        found |= {f"{variable}_{_upper(name)}": value for name, value in values.items()}
    if session.queues:
        found[_QUEUE] = next(iter(session.queues.values())).url
    for variable, values in ((_DEAD, dead), (_TABLE, tables)):
        if values:
            found[variable] = next(iter(values.values()))
    for function in deployment.functions:
        found |= {name: value for name, value in function.environ.items() if _is_address(name, value, found)}
    return found


def _is_address(name: str, value: str, found: Mapping[str, str]) -> bool:
    return (name.startswith(_QUEUE) or name in _OWN) and bool(value) and (name == _PAYLOADS or value in found.values())


def _upper(name: str) -> str:
    """Return a logical id as a part of a variable's name: ``HighPriorityJobs`` is ``HIGH_PRIORITY_JOBS``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()
