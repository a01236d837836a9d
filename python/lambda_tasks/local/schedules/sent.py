"""What a schedule or a rule sends when it fires: its input, with what EventBridge puts into it.

Sources: https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html and
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any

from lambda_tasks.local.schedules.resources import ScheduleResource, filled


def sent_by(schedule: ScheduleResource, at: datetime, region: str, account_id: str) -> str:
    """Return the text that `schedule` sends for the time `at`, in UTC."""
    time = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    if schedule.is_of_scheduler:
        arn = f"arn:aws:scheduler:{region}:{account_id}:schedule/{schedule.group}/{schedule.aws_name}"
        text = schedule.input or _event("aws.scheduler", time, region, account_id, arn)
        values = {
            "schedule-arn": arn,
            "scheduled-time": time,
            "execution-id": uuid.uuid4().hex[:16],
            "attempt-number": "1",
        }
        for name, value in values.items():
            text = text.replace(f"<aws.scheduler.{name}>", value)
        return text
    if schedule.input is not None:
        return schedule.input
    arn = f"arn:aws:events:{region}:{account_id}:rule/{schedule.aws_name}"
    event = _event("aws.events", time, region, account_id, arn)
    if "InputTemplate" in schedule.transform:
        paths = schedule.transform.get("InputPathsMap") or {}
        found = {name: json.dumps(_at(json.loads(event), str(path))) for name, path in paths.items()}
        own = {
            "aws.events.event.json": event,
            "aws.events.event.ingestion-time": json.dumps(time),
            "aws.events.rule-arn": json.dumps(arn),
            "aws.events.rule-name": json.dumps(schedule.aws_name),
        }
        return filled(str(schedule.transform["InputTemplate"]), own | found)
    if "InputPath" in schedule.transform:
        return json.dumps(_at(json.loads(event), str(schedule.transform["InputPath"])))
    return event


def _event(source: str, time: str, region: str, account_id: str, arn: str) -> str:
    """Return the event that EventBridge sends where there is no input."""
    event: dict[str, Any] = {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": source,
        "account": account_id,
        "time": time,
        "region": region,
        "resources": [arn],
        "detail": {} if source == "aws.events" else "{}",
    }
    return json.dumps(event)


def _at(event: Any, path: str) -> Any:  # noqa: ANN401 - a part of an event can be anything
    """Return the part of an event at a path such as ``$.detail.id``; nothing where there is none."""
    for name in path.removeprefix("$").strip(".").split("."):
        if name:
            event = event.get(name) if isinstance(event, dict) else None
    return "" if event is None else event
