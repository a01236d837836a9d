"""A message as it leaves: what a task call becomes, and the requests of SQS that send it."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import TYPE_CHECKING, Any

from lambda_tasks.errors import InvalidTask
from lambda_tasks.tasks import message
from lambda_tasks.tasks.context import context, outgoing_attributes
from lambda_tasks.tasks.options import MAX_DELAY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lambda_tasks.tasks.task import Task

# Of one message, and of one batch together.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MAX_MESSAGE_BYTES = 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Outgoing:
    """One message. `attributes` and `system_attributes` are in SQS's spelling; repr shows no content."""

    task_name: str
    queue: str
    body: str = dataclasses.field(repr=False)
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    system_attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    delay_seconds: int = 0
    group: str | None = None
    deduplication_id: str | None = None
    at: datetime | None = None

    @property
    def size_bytes(self) -> int:
        """What counts towards the limit: the body, and names, types and values of the message attributes."""
        return len(self.body.encode()) + sum(
            len(name.encode()) + len(value["DataType"]) + len(value["StringValue"].encode())
            for name, value in self.attributes.items()
        )

    def request(self, queue_url: str) -> dict[str, Any]:
        """Return what SendMessage and an entry of SendMessageBatch have in common.

        Raises:
            InvalidTask: the queue is FIFO, and the message has no group, or a delay.

        """
        self._check_fifo(queue_url)
        fields = {
            "MessageBody": self.body,
            "MessageAttributes": self.attributes,
            "MessageSystemAttributes": self.system_attributes,
            "DelaySeconds": self.delay_seconds,
            "MessageGroupId": self.group,
            "MessageDeduplicationId": self.deduplication_id,
        }
        return {name: value for name, value in fields.items() if value}

    def due(self, queue_url: str, now: float) -> Outgoing | None:
        """Return the message with its time `at` as a delay from `now` (epoch seconds); None where SQS has none for it.

        A delay is at most 15 minutes, and a FIFO queue has none for a single message.
        """
        if self.at is None:
            return self
        seconds = max(0, math.ceil(self.at.timestamp() - now))
        if seconds > (0 if is_fifo(queue_url) else MAX_DELAY_SECONDS):
            return None
        return dataclasses.replace(self, at=None, delay_seconds=seconds)

    def _check_fifo(self, queue_url: str) -> None:
        if not is_fifo(queue_url):
            return
        source = f"task {self.task_name}, queue {queue_url}"
        if self.delay_seconds:
            remedy = "set the queue's own DelaySeconds, or use options(at=...)"
            raise InvalidTask("a FIFO queue takes no delay of a single message", source=source, remedy=remedy)
        if self.group is None:
            raise InvalidTask("a FIFO queue needs a group", source=source, remedy='use options(group="...")')


def make(task: Task[..., Any], kwargs: Mapping[str, Any]) -> Outgoing:
    """Return the message that runs `task` with `kwargs`, in the context of who calls.

    Raises:
        InvalidKwargs: the task would not accept them.
        InvalidContext: what the message would carry beside them has no form in JSON, or is too large.

    """
    return with_body(template(task), task, kwargs)


def template(task: Task[..., Any]) -> Outgoing:
    """Return what all messages of one call of ``enqueue_many`` have in common.

    Raises:
        InvalidTask: no message can name the task, or it has both a delay and a time.
        InvalidContext: as `make`.

    """
    _check(task)
    sending = task.sending
    with context.bind(**sending.context):
        attributes, system_attributes = outgoing_attributes()
    return Outgoing(
        task_name=task.name,
        queue=task.configuration.queue,
        body="",
        attributes=attributes,
        system_attributes=system_attributes,
        delay_seconds=math.ceil(task.configuration.delay),
        group=sending.group,
        deduplication_id=sending.deduplication_id,
        at=sending.at,
    )


def with_body(common: Outgoing, task: Task[..., Any], kwargs: Mapping[str, Any]) -> Outgoing:
    """Return the message with its own body.

    Raises:
        InvalidKwargs: as `make`.

    """
    return dataclasses.replace(common, body=_sendable(message.encode(task, kwargs)))


def is_fifo(queue_url: str) -> bool:
    """Tell by its name, which must end so, whether a queue is FIFO."""
    return queue_url.endswith(".fifo")


def now() -> float:
    """Return the time, in epoch seconds."""
    return time.time()


def _check(task: Task[..., Any]) -> None:
    source = f"task {task.name}"
    if task.function.__module__ == "__main__" or "<locals>" in task.name:
        remedy = "define it at the top level of a module that the worker can import"
        raise InvalidTask("no message can name the task", source=source, remedy=remedy)
    if task.sending.at is not None and task.configuration.delay:
        raise InvalidTask("there is a delay and a time", source=source, remedy="use one of options(delay=, at=)")


def _sendable(body: str) -> str:
    """Escape the two characters that JSON may hold as they are and SQS does not take."""
    if "\ufffe" in body or "\uffff" in body:
        return body.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
    return body
