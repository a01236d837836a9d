"""``lambda-tasks run``: one message, in this process."""

from __future__ import annotations

import os
import sys

import rich_click as click

from lambda_tasks.command_line.arguments import BadInput
from lambda_tasks.containers import one_message
from lambda_tasks.settings import MESSAGE


@click.command("run")
@click.argument("message", required=False)
@click.option(
    "--retry",
    "is_tried_again",
    is_flag=True,
    help="Try again here, after the backoff, where nothing else would: for tasks of ECS.",
)
def command(message: str | None, *, is_tried_again: bool) -> int:
    """Run one message in this process: MESSAGE, else LAMBDA_TASKS_MESSAGE, else standard input.

    The exit status is 0 where it is done, 1 where it failed for good, and 75 where it is to be tried again.
    """
    text = message if message is not None else os.environ.pop(MESSAGE, "") or None
    if text is None and not sys.stdin.isatty():
        text = sys.stdin.read()
    if not text or not text.strip():
        remedy = "give it as the argument, in the variable, or on standard input"
        raise BadInput("there is no message to run", variable=MESSAGE, remedy=remedy)
    return one_message.run(text, is_tried_again=is_tried_again)
