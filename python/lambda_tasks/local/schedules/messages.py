"""The message that a task's schedule sends, and the key by which a second delivery of one firing is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# Not ``<aws.scheduler.execution-id>``, which each attempt to deliver one firing has of its own:
# https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
KEY = "<aws.scheduler.schedule-arn> <aws.scheduler.scheduled-time>"


def message_of(task_name: str) -> dict[str, Any]:
    """Return the message that runs a scheduled task: without kwargs, and with the firing's own id for a key."""
    return {"task_name": task_name, "kwargs": {}, "n_retries": 0, "idempotency_key": KEY}


def input_of(task_name: str) -> str:
    """Return that message as the input of a schedule."""
    return json.dumps(message_of(task_name))


def is_its_own(message: Mapping[str, Any]) -> bool:
    """Tell whether a message is a template's own: it has kwargs, and not the key of those that code asks for."""
    return has_kwargs(message) and message.get("idempotency_key") != KEY


def has_kwargs(message: Mapping[str, Any]) -> bool:
    """Tell whether a message has kwargs, which no schedule in code gives."""
    return message.get("kwargs") not in (None, {})
