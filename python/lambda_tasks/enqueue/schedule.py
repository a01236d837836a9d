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

import msgspec

from lambda_tasks.aws import calls
from lambda_tasks.aws.transport import CallFailed
from lambda_tasks.enqueue import offloading
from lambda_tasks.enqueue.message_options import LATEST_EPOCH_SECONDS
from lambda_tasks.errors import EnqueueFailed, InvalidSetting

if TYPE_CHECKING:
    from lambda_tasks.aws.queue_address import QueueAddress
    from lambda_tasks.enqueue.outgoing import Outgoing
    from lambda_tasks.settings import Settings

# https://docs.aws.amazon.com/scheduler/latest/UserGuide/scheduler-quotas.html: less than SQS takes; the input of a
# universal target holds the body as a JSON string.
MAX_INPUT_BYTES = 256 * 1024
_ENVELOPE_BYTES = 4096  # at most, for the queue's URL, ids and names
_RETRY_SECONDS, _RETRIES = 86400, 185  # the longest that Scheduler tries: a day
_SOONEST_SECONDS = 60  # its precision; a time that is past when the request arrives would be refused


def create(message: Outgoing, queue: QueueAddress, settings: Settings) -> str:
    """Create a schedule that sends `message` at its time, and return the schedule's ARN.

    Raises:
        InvalidSetting: there is no role for it.
        MessageTooLarge: as `offloading.offloaded`.
        EnqueueFailed: EventBridge Scheduler did not take it.

    """
    name = f"lambda-tasks-{uuid.uuid4().hex}"
    if settings.scheduler_role_arn is None:
        remedy = (
            "set it to a role that scheduler.amazonaws.com may assume and that has sqs:SendMessage on the queue, and "
            "kms:GenerateDataKey and kms:Decrypt on the key of an encrypted one"
        )
        problem = "the time is further away than SQS can delay a message, and a schedule needs a role"
        raise InvalidSetting(problem, variable="LAMBDA_TASKS_SCHEDULER_ROLE_ARN", remedy=remedy)
    message = msgspec.structs.replace(message, body=_literal(message.body))
    message = offloading.offloaded(message, (MAX_INPUT_BYTES - _ENVELOPE_BYTES) // 2, settings)
    assert message.at is not None  # noqa: S101 - for mypy: nothing else is scheduled
    request = {
        "ScheduleExpression": expression(message.at, time.time()),
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "ClientToken": name,
        "Description": f"Sends one message for {message.task_name}"[:512],
        "Target": {
            **_target(message, queue),
            "RoleArn": settings.scheduler_role_arn,
            "RetryPolicy": {"MaximumEventAgeInSeconds": _RETRY_SECONDS, "MaximumRetryAttempts": _RETRIES},
            **_dead_letters(settings),
        },
    }
    try:
        return calls.calls().create_schedule(name, request, region=queue.region)
    except CallFailed as error:
        remedy = "check LAMBDA_TASKS_SCHEDULER_ROLE_ARN, the role's scheduler:CreateSchedule and iam:PassRole"
        raise EnqueueFailed(error.problem, source=f"queue {queue.url}", remedy=error.remedy or remedy) from error


def expression(at: datetime, now: float) -> str:
    """Return the expression of a schedule for the time `at`, or a little after `now` (epoch seconds)."""
    epoch_seconds = max(math.ceil(at.timestamp()), math.ceil(now) + _SOONEST_SECONDS)
    epoch_seconds = min(epoch_seconds, LATEST_EPOCH_SECONDS)  # of another framework's message, which was not checked
    return f"at({datetime.fromtimestamp(epoch_seconds, timezone.utc):%Y-%m-%dT%H:%M:%S})"


def _target(message: Outgoing, queue: QueueAddress) -> dict[str, Any]:
    """Return the queue itself as the target where that can send the message, else a call of its API.

    A queue as target takes a body and a group. Attributes and a deduplication ID need a universal target
    (https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html).
    """
    request = message.request(queue)
    if request.keys() <= {"MessageBody", "MessageGroupId"}:
        group = {"SqsParameters": {"MessageGroupId": message.group}} if message.group else {}
        return {"Arn": queue.arn, "Input": message.body, **group}
    call = json.dumps({"QueueUrl": queue.url, **request}, ensure_ascii=False)
    return {"Arn": f"arn:{queue.partition}:scheduler:::aws-sdk:sqs:sendMessage", "Input": _literal(call)}


def _literal(text: str) -> str:
    """Return JSON in which Scheduler finds nothing to replace, such as ``<aws.scheduler.execution-id>`` among kwargs.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
    """
    return text.replace("<aws.", "\\u003caws.")


def _dead_letters(settings: Settings) -> dict[str, Any]:
    """Return the queue for what cannot be sent when it is due. Scheduler takes no FIFO queue for that.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html
    """
    if settings.dead_letter_queue_url is None:
        return {}
    queue = calls.queue_at(settings.dead_letter_queue_url)
    return {} if queue.is_fifo else {"DeadLetterConfig": {"Arn": queue.arn}}
