"""The mode ``eager``: a message runs in the process that enqueues it, by the same code as on Lambda.

The message's record names no queue, so the dispatcher changes no visibility and looks up no dead-letter queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambda_tasks.dispatch import dispatcher
from lambda_tasks.enqueue.message_id import MessageId
from lambda_tasks.errors import MessageDeferred
from lambda_tasks.messages.outcome import Outcome
from lambda_tasks.state import memory

if TYPE_CHECKING:
    from lambda_tasks.enqueue.outgoing import Outgoing
    from lambda_tasks.settings import Settings


_keys = memory.Memory()


def run(message: Outgoing, settings: Settings) -> str:
    """Run `message` now, and return the message id that it had.

    Raises:
        MessageDeferred: a singleton of the task runs elsewhere, or a payload cannot be had.
        BaseException: the task's own error, or the one that rejected the message.

    """
    record = message.record()
    result = dispatcher.process_here(record, settings, _keys)
    if result.outcome is Outcome.DEFERRED:
        raise MessageDeferred("the message cannot run now", source=f"task {message.task_name}") from result.error
    if result.error is not None and result.outcome is not Outcome.SUCCEEDED:
        raise result.error
    message_id = MessageId(record["messageId"])
    if settings.table is None:
        message_id.became(message.task_name, result)
    return message_id
