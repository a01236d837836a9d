"""The submission of messages as jobs, which run ``lambda-tasks run`` and find their message in `settings.MESSAGE`.

Sources: https://docs.aws.amazon.com/batch/latest/APIReference/API_SubmitJob.html,
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
"""

from __future__ import annotations

import functools
import json
import math
import re
import uuid
from typing import TYPE_CHECKING, Any

from lambda_tasks import settings
from lambda_tasks.aws import calls
from lambda_tasks.aws.transport import CallFailed
from lambda_tasks.enqueue import offloading
from lambda_tasks.enqueue.jobs.target import Target
from lambda_tasks.errors import EnqueueFailed, InvalidTask

if TYPE_CHECKING:
    from lambda_tasks.enqueue.outgoing import Outgoing
    from lambda_tasks.settings import Settings

# Overrides of a task of ECS have up to 8,192 characters, and a job of Batch is such a task; with room for the rest.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskOverride.html
MAX_MESSAGE_BYTES = 7 * 1024
_MOST_ATTEMPTS = 10  # of Batch
_LEAST_SECONDS = 60  # of a timeout of Batch
# Beyond the task's own limit: the container starts, and what the task leaves behind is settled.
_AROUND_TASK_SECONDS = 120
_NO_REASON = "without a reason"


def submit(message: Outgoing, url: str, current: Settings) -> str:
    """Submit a job that runs `message`, and return its id: Batch's job ID, or the ARN of a task of ECS.

    Raises:
        InvalidSetting: `url` names no target of jobs.
        InvalidTask: the message has a delay, a time, a group or a deduplication ID, which no job has.
        MessageTooLarge: the message does not fit into a job, and there is no bucket for payloads.
        EnqueueFailed: the service did not take it.

    """
    variable = settings.queue_url_variable(message.queue)
    target = Target.parse(url, variable, settings.environ())
    _check(message, url)
    variables = {settings.MESSAGE: _text(message, current), variable: url}
    environment = [{"name": name, "value": value} for name, value in variables.items()]
    try:
        return (_batch if target.service == "batch" else _ecs)(message, target, environment)
    except CallFailed as error:
        remedy = "check the target, the region, the network, and the role's " + (
            "batch:SubmitJob"
            if target.service == "batch"
            else "ecs:RunTask, ecs:DescribeTaskDefinition and iam:PassRole"
        )
        detail = f": {error.detail}" if error.detail else ""
        raise EnqueueFailed(error.problem + detail, source=url, remedy=remedy) from error


def _check(message: Outgoing, url: str) -> None:
    problem = ""
    if message.delay_seconds:
        problem = "a job takes no delay"
    elif message.at is not None:
        problem = "a job takes no time to begin at"
    elif message.group is not None or message.deduplication_id is not None:
        problem = "a job takes neither a group nor a deduplication ID"
    if problem:
        remedy = "leave it out, or send to a queue of SQS that a worker consumes"
        raise InvalidTask(problem, source=f"task {message.task_name}, {url}", remedy=remedy)


def _text(message: Outgoing, current: Settings) -> str:
    text = _record(message)
    if len(text.encode()) <= MAX_MESSAGE_BYTES:
        return text
    return _record(offloading.offloaded(message, min(message.size_bytes - 1, MAX_MESSAGE_BYTES), current))


def _record(message: Outgoing) -> str:
    """Return the message as `lambda-tasks run` takes it: its body, or its record where that says more."""
    record: dict[str, Any] = {"body": message.body}
    if message.attributes:
        record["messageAttributes"] = message.record()["messageAttributes"]
    if message.system_attributes:
        record["attributes"] = {name: one["StringValue"] for name, one in message.system_attributes.items()}
    return json.dumps(record) if len(record) > 1 else message.body


def batch_request(message: Outgoing, target: Target, environment: list[dict[str, str]]) -> dict[str, Any]:
    """Return the request of Batch's ``SubmitJob``."""
    name = re.sub(r"[^A-Za-z0-9_]+", "-", message.task_name).strip("-_")
    request: dict[str, Any] = {
        "jobName": name[:128] or "task",
        "jobQueue": target.place,
        "jobDefinition": target.definition,
        "containerOverrides": {"environment": environment},
        # Its attempts are our retries. What failed for good, or cannot begin, is not tried again; a lost host is.
        "retryStrategy": {
            "attempts": max(1, min(message.attempts, _MOST_ATTEMPTS)),
            "evaluateOnExit": [{"onExitCode": code, "action": "EXIT"} for code in ("1", "2")],
        },
    }
    if message.timeout_seconds is not None:
        seconds = math.ceil(message.timeout_seconds) + _AROUND_TASK_SECONDS
        request["timeout"] = {"attemptDurationSeconds": max(_LEAST_SECONDS, seconds)}
    return request


def _batch(message: Outgoing, target: Target, environment: list[dict[str, str]]) -> str:
    request = batch_request(message, target, environment)
    answer = calls.calls().submit("batch", "SubmitJob", request, region=target.region)
    return _taken(answer.get("jobId"), "Batch")


def _ecs(message: Outgoing, target: Target, environment: list[dict[str, str]]) -> str:
    container = target.options.get("container") or _container(target.definition, target.region)
    request = {
        "cluster": target.place,
        "taskDefinition": target.definition,
        "count": 1,
        "startedBy": "lambda-tasks",
        "clientToken": str(uuid.uuid4()),  # so that a request that is made again starts one task
        "overrides": {"containerOverrides": [{"name": container, "environment": environment}]},
        **target.network,
    }
    answer = calls.calls().submit("ecs", "RunTask", request, region=target.region)
    tasks, failures = answer.get("tasks") or [], answer.get("failures") or []
    if failures and not tasks:
        raise CallFailed(f"ECS started no task for {message.task_name}: {failures[0].get('reason') or _NO_REASON}")
    return _taken(tasks[0].get("taskArn") if tasks else None, "ECS")


@functools.cache
def _container(definition: str, region: str) -> str:
    """Return the name of a task definition's first container, which is asked for once."""
    answer = calls.calls().submit("ecs", "DescribeTaskDefinition", {"taskDefinition": definition}, region=region)
    try:
        return str(answer["taskDefinition"]["containerDefinitions"][0]["name"])
    except (LookupError, TypeError) as error:
        raise CallFailed("ECS did not say which containers the task definition has") from error


def _taken(job_id: object, service: str) -> str:
    if not isinstance(job_id, str) or not job_id:
        raise CallFailed(f"{service} did not say whether it took the job")
    return job_id
