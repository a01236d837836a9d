"""The message group of a task of ``django.tasks``: the order of a FIFO queue, the tenant of a fair queue."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from lambda_tasks.definition import values
from lambda_tasks.enqueue.message_options import MessageOptions
from lambda_tasks.errors import InvalidTask

if TYPE_CHECKING:
    from lambda_tasks.django.running import Call

GROUP = "group"


def check_group(given: Any) -> None:  # noqa: ANN401 - whatever the application's settings hold
    """Check what the option is set to: a group's name, or a tuple with names of arguments.

    Raises:
        InvalidTask: it is neither.

    """
    if isinstance(given, (tuple, list)) and given and all(isinstance(one, str) for one in given):
        return
    if given is not None and not isinstance(given, str):
        remedy = 'use a text, or a tuple with names of the task\'s parameters, such as ("customer_id",)'
        raise InvalidTask(f"group is {given!r}", remedy=remedy)
    MessageOptions().with_changes("group", {GROUP: given})


def group_of(given: str | tuple[str, ...] | None, call: Call) -> str | None:
    """Return the group of a call: the one that is `given`, or one for each value of the arguments of those names.

    Raises:
        InvalidTask: the task has no such parameter.

    """
    if given is None or isinstance(given, str):
        return given
    arguments = call.by_name()
    missing = [name for name in given if name not in arguments]
    if missing:
        source, remedy = f"task {call.task.module_path}", "name parameters of the task"
        raise InvalidTask(f"there is no argument {missing[0]} for the group", source=source, remedy=remedy)
    chosen = [arguments[name] for name in given]
    if len(chosen) == 1 and isinstance(chosen[0], (int, str)):
        try:
            MessageOptions().with_changes("group", {GROUP: str(chosen[0])})
            return str(chosen[0])
        except InvalidTask:
            pass  # SQS takes no such text for a group
    return hashlib.sha256(values.encode_value(chosen)).hexdigest()
