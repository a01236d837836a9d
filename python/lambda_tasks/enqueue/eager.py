"""Run a message where it is enqueued, by the same code as on Lambda: ``LAMBDA_TASKS_MODE=eager``.

The message's record names no queue, so the dispatcher has none to change visibility in, or to look up a dead-letter
queue of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambda_tasks.dispatch import dispatcher
from lambda_tasks.errors import MessageDeferred
from lambda_tasks.messages.outcome import Outcome

if TYPE_CHECKING:
    from lambda_tasks.enqueue.outgoing import Outgoing
    from lambda_tasks.settings import Settings


def run(message: Outgoing, settings: Settings) -> str:
    """Run `message` now, and return the message id that it had.

    Raises:
        MessageDeferred: a singleton of the task runs elsewhere, or a payload cannot be had.
        BaseException: what the task raised, or why the message was rejected.

    """
    record = message.record()
    result = dispatcher.process_here(record, settings)
    if result.outcome is Outcome.DEFERRED:
        raise MessageDeferred("the message cannot run now", source=f"task {message.task_name}") from result.error
    if result.error is not None and result.outcome is not Outcome.SUCCEEDED:
        raise result.error
    return record["messageId"]
