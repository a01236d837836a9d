"""Messages for later than SQS can delay them: one-off schedules of EventBridge Scheduler, which delete themselves.

Source: https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html
"""

from __future__ import annotations

import json
import math
import time
import uuid
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from lambda_tasks.aws import calls
from lambda_tasks.aws.transport import CallFailed
from lambda_tasks.enqueue import offloading
from lambda_tasks.errors import EnqueueFailed, InvalidSetting

if TYPE_CHECKING:
    from lambda_tasks.aws.queue_address import QueueAddress
    from lambda_tasks.enqueue.outgoing import Outgoing
    from lambda_tasks.settings import Settings

# https://docs.aws.amazon.com/scheduler/latest/UserGuide/scheduler-quotas.html: less than SQS takes; the input of a
# universal target holds the body as a JSON string.
MAX_INPUT_BYTES = 256 * 1024
_SOONEST_SECONDS = 60  # its precision; what is past by the time that the request arrives would be refused


def create(message: Outgoing, queue: QueueAddress, settings: Settings) -> str:
    """Create a schedule that sends `message` at its time, and return the schedule's ARN.

    Raises:
        InvalidSetting: there is no role for it.
        MessageTooLarge: as `offloading.offloaded`.
        EnqueueFailed: EventBridge Scheduler did not take it.

    """
    name = f"lambda-tasks-{uuid.uuid4().hex}"
    if settings.scheduler_role_arn is None:
        remedy = "set it to a role that scheduler.amazonaws.com may assume and that has sqs:SendMessage on the queue"
        problem = "the time is further away than SQS can delay a message, and a schedule needs a role"
        raise InvalidSetting(problem, variable="LAMBDA_TASKS_SCHEDULER_ROLE_ARN", remedy=remedy)
    message = offloading.offloaded(message, MAX_INPUT_BYTES // 2, settings)
    assert message.at is not None  # noqa: S101 - for mypy: nothing else is scheduled
    request = {
        "ScheduleExpression": expression(message.at, time.time()),
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "ClientToken": name,
        "Description": f"Sends one message for {message.task_name}"[:512],
        "Target": {**_target(message, queue), "RoleArn": settings.scheduler_role_arn},
    }
    try:
        return calls.calls().create_schedule(name, request, region=queue.region)
    except CallFailed as error:
        remedy = "check LAMBDA_TASKS_SCHEDULER_ROLE_ARN, the role's scheduler:CreateSchedule and iam:PassRole"
        raise EnqueueFailed(error.problem, source=f"queue {queue.url}", remedy=remedy) from error


def expression(at: datetime, now: float) -> str:
    """Return the expression of a schedule for the time `at`, or a little after `now` (epoch seconds)."""
    epoch_seconds = max(math.ceil(at.timestamp()), math.ceil(now) + _SOONEST_SECONDS)
    return f"at({datetime.fromtimestamp(epoch_seconds, timezone.utc):%Y-%m-%dT%H:%M:%S})"


def _target(message: Outgoing, queue: QueueAddress) -> dict[str, Any]:
    """Return the queue itself as the target where that can send the message, else the call of its API.

    A queue as target takes a body and a group; attributes, with which the context travels, and a deduplication ID take
    a universal target (https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html).
    """
    request = message.request(queue)
    if request.keys() <= {"MessageBody", "MessageGroupId"}:
        group = {"SqsParameters": {"MessageGroupId": message.group}} if message.group else {}
        return {"Arn": queue.arn, "Input": message.body, **group}
    call = json.dumps({"QueueUrl": queue.url, **request}, ensure_ascii=False)
    return {"Arn": f"arn:{queue.partition}:scheduler:::aws-sdk:sqs:sendMessage", "Input": call}
