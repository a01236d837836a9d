"""The events about failures: one for a message, or one for many, as JSON objects.

The documents give their shapes. Keys are added, and never change their meaning; `VERSION` grows where one would.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lambda_tasks.errors import type_name_of
from lambda_tasks.telemetry import told_errors
from lambda_tasks.telemetry.metrics import UNKNOWN
from lambda_tasks.telemetry.report import shown_task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambda_tasks.telemetry.report import Report

VERSION = 1
ONE, MANY = "lambda_tasks.failure", "lambda_tasks.failures"
_MAX_REASON_CHARACTERS = 1024
_MAX_TYPE_CHARACTERS = 256
_MOST_KINDS = 20
_MOST_KINDS_COUNTED = 1000
_CONSOLES = {
    "aws-cn": "{region}.console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}
_CONSOLE = "{region}.console.aws.amazon.com"

Event = dict[str, Any]


def of_message(
    report: Report, details: Mapping[str, str], environ: Mapping[str, str], request_id: str, *, has_run: bool
) -> Event:
    """Return the event of one message. `details` are those that its record has: its queue, and kwargs where allowed."""
    error = report.error
    return _without_empty(
        {
            "type": ONE,
            "version": VERSION,
            "task": shown_task(report) or "",
            "message_id": report.message_id,
            "outcome": report.outcome.value,
            "error_type": "" if error is None else type_name_of(error)[:_MAX_TYPE_CHARACTERS],
            "reason": "" if error is None else told_errors.text(error)[:_MAX_REASON_CHARACTERS],
            "queue": details.get("queue", ""),
            "correlation_id": report.correlation_id,
            "kwargs": details.get("kwargs", ""),
            "kwargs_note": details.get("kwargs_note", ""),
            **_of_function(environ, request_id),
        }
    ) | {"attempts": report.attempt if has_run else report.attempt - 1, "receive_count": report.receive_count}


def of_many(kinds: Counter[tuple[str, str]], first: Event, environ: Mapping[str, str], request_id: str) -> Event:
    """Return the event of a flood: the count of its messages, by task and error, and the event of the first one."""
    return {
        "type": MANY,
        "version": VERSION,
        "count": kinds.total(),
        "kinds": [
            {"task": task, "error_type": error_type, "count": count}
            for (task, error_type), count in kinds.most_common(_MOST_KINDS)
        ],
        "first": first,
        **_without_empty(_of_function(environ, request_id)),
    }


def count(kinds: Counter[tuple[str, str]], event: Event, report: Report) -> None:
    """Count an event by its task and error. Names that senders choose do not make a kind of their own."""
    kind = (event["task"] if report.is_found and report.task else UNKNOWN, event.get("error_type", ""))
    kinds[kind if kind in kinds or len(kinds) < _MOST_KINDS_COUNTED else (UNKNOWN, "")] += 1


def subject(event: Event) -> str:
    """Return a line about an event, as the subject of an e-mail: up to 100 characters of ASCII.

    Source: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    """
    if event["type"] == MANY:
        text = f"{event['count']} messages failed in {event.get('function', 'a worker')}"
    else:
        text = f"{event.get('task', 'a message')} {event['outcome']}: {event.get('error_type', '')}"
    return "".join(one if " " <= one <= "~" else "?" for one in text)[:100].strip() or ONE


def is_one(body: object) -> bool:
    """Tell whether the body of a message is an event about failures: nobody is told that it failed, for ever."""
    return isinstance(body, str) and f"{ONE}" in body


def _of_function(environ: Mapping[str, str], request_id: str) -> Event:
    group, stream = environ.get("AWS_LAMBDA_LOG_GROUP_NAME", ""), environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "")
    return {
        "failed_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time())),
        "function": environ.get("AWS_LAMBDA_FUNCTION_NAME", ""),
        "function_version": environ.get("AWS_LAMBDA_FUNCTION_VERSION", ""),
        "region": environ.get("AWS_REGION", ""),
        "request_id": request_id,
        "log_group": group,
        "log_stream": stream,
        "logs": _log_link(environ.get("AWS_REGION", ""), group, stream),
    }


def _log_link(region: str, group: str, stream: str) -> str:
    """Return the address of a log stream in CloudWatch's console, whose fragment is encoded twice, with $ for %."""
    if not (region and group and stream):
        return ""
    from lambda_tasks.aws.endpoints import partition_of  # noqa: PLC0415 - for a message that failed

    console = _CONSOLES.get(partition_of(region), _CONSOLE).format(region=region)
    encoded = [quote(quote(one, safe=""), safe="").replace("%", "$") for one in (group, stream)]
    path = f"#logsV2:log-groups/log-group/{encoded[0]}/log-events/{encoded[1]}"
    return f"https://{console}/cloudwatch/home?region={region}{path}"


def _without_empty(event: Event) -> Event:
    return {name: value for name, value in event.items() if value != ""}
