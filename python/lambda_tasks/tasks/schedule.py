"""Messages for later than SQS can delay them: one-off schedules of EventBridge Scheduler, which delete themselves.

Source: https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html
"""

from __future__ import annotations

import json
import math
import uuid
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from lambda_tasks.aws import endpoints
from lambda_tasks.aws.transport import CallFailed
from lambda_tasks.errors import EnqueueFailed, InvalidSetting
from lambda_tasks.tasks import aws_calls, payload

if TYPE_CHECKING:
    from lambda_tasks.settings import Settings
    from lambda_tasks.tasks.outgoing import Outgoing

# https://docs.aws.amazon.com/scheduler/latest/UserGuide/scheduler-quotas.html: less than SQS takes; the input of a
# universal target holds the body as a JSON string.
MAX_INPUT_BYTES = 256 * 1024
_SOONEST_SECONDS = 60  # its precision; what is past by the time that the request arrives would be refused


def create(message: Outgoing, queue_url: str, settings: Settings, now: float) -> str:
    """Create a schedule that sends `message` at its time, and return the schedule's ARN.

    Raises:
        InvalidSetting: there is no role for it.
        MessageTooLarge: as `payload.offloaded`.
        EnqueueFailed: EventBridge Scheduler did not take it.

    """
    region = aws_calls.region_of(queue_url)
    name = f"lambda-tasks-{uuid.uuid4().hex}"
    if settings.scheduler_role_arn is None:
        remedy = "set it to a role that scheduler.amazonaws.com may assume and that has sqs:SendMessage on the queue"
        problem = "the time is further away than SQS can delay a message, and a schedule needs a role"
        raise InvalidSetting(problem, variable="LAMBDA_TASKS_SCHEDULER_ROLE_ARN", remedy=remedy)
    message = payload.offloaded(message, MAX_INPUT_BYTES // 2, settings)
    request = {
        "ScheduleExpression": _expression(message, now),
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "ClientToken": name,
        "Description": f"Sends one message for {message.task_name}"[:512],
        "Target": {**_target(message, queue_url), "RoleArn": settings.scheduler_role_arn},
    }
    try:
        return aws_calls.calls().create_schedule(name, request, region=region)
    except CallFailed as error:
        remedy = "check LAMBDA_TASKS_SCHEDULER_ROLE_ARN, the role's scheduler:CreateSchedule and iam:PassRole"
        raise EnqueueFailed(error.problem, source=f"queue {queue_url}", remedy=remedy) from error


def queue_arn(queue_url: str) -> str:
    """Return the ARN of the queue at `queue_url`, which ends in account and name."""
    region = aws_calls.region_of(queue_url)
    account, name = queue_url.rstrip("/").split("/")[-2:]
    return f"arn:{endpoints.partition_of(region)}:sqs:{region}:{account}:{name}"


def _expression(message: Outgoing, now: float) -> str:
    assert message.at is not None  # noqa: S101 - for mypy: nothing else is scheduled
    epoch_seconds = max(math.ceil(message.at.timestamp()), math.ceil(now) + _SOONEST_SECONDS)
    return f"at({datetime.fromtimestamp(epoch_seconds, timezone.utc):%Y-%m-%dT%H:%M:%S})"


def _target(message: Outgoing, queue_url: str) -> dict[str, Any]:
    """Return the queue itself as the target where that can send the message, else the call of its API.

    A queue as target takes a body and a group; attributes, with which the context travels, and a deduplication ID take
    a universal target (https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html).
    """
    request = message.request(queue_url)
    if request.keys() <= {"MessageBody", "MessageGroupId"}:
        group = {"SqsParameters": {"MessageGroupId": message.group}} if message.group else {}
        return {"Arn": queue_arn(queue_url), "Input": message.body, **group}
    partition = endpoints.partition_of(aws_calls.region_of(queue_url))
    call = json.dumps({"QueueUrl": queue_url, **request}, ensure_ascii=False)
    return {"Arn": f"arn:{partition}:scheduler:::aws-sdk:sqs:sendMessage", "Input": call}
