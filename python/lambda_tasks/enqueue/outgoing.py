"""Outgoing messages: made of a task's definition, options and kwargs, and written as requests of SQS."""

from __future__ import annotations

import hashlib
import math
import time
import uuid
from typing import TYPE_CHECKING, Any, cast

import msgspec

from lambda_tasks.definition.options import MAX_DELAY_SECONDS
from lambda_tasks.errors import InvalidTask
from lambda_tasks.messages import body
from lambda_tasks.messages.attributes import EXPIRES_AT, IDEMPOTENCY_KEY, as_attributes
from lambda_tasks.messages.context import outgoing_attributes
from lambda_tasks.messages.payload import size_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lambda_tasks.aws.queue_address import QueueAddress
    from lambda_tasks.definition.definition import Definition
    from lambda_tasks.enqueue.message_options import MessageOptions
    from lambda_tasks.messages.sqs_event import Record


class Outgoing(msgspec.Struct, frozen=True):
    """A message on its way to SQS. The attributes are in SQS's spelling. ``repr`` shows no content.

    One that `is_recorded` has a record already, under an id of its sender's own.
    """

    task_name: str
    queue: str
    body: str
    attributes: Mapping[str, Any] = {}
    system_attributes: Mapping[str, Any] = {}
    delay_seconds: int | None = None
    group: str | None = None
    deduplication_id: str | None = None
    at: datetime | None = None
    is_recorded: bool = False
    attempts: int = 1  # of a job, and its task's own limit, where the message becomes one
    timeout_seconds: float | None = None

    def __repr__(self) -> str:
        return f"Outgoing({self.task_name}, queue {self.queue})"

    @property
    def size_bytes(self) -> int:
        """The bytes that count towards SQS's limit."""
        return size_bytes(self.body, self.attributes)

    def request(self, queue: QueueAddress) -> dict[str, Any]:
        """Return the fields that SendMessage and an entry of SendMessageBatch have in common.

        Raises:
            InvalidTask: the queue is FIFO, and the message has no group, or a delay.

        """
        self._check_fifo(queue)
        fields: dict[str, Any] = {
            "MessageBody": self.body,
            "MessageAttributes": self.attributes,
            "MessageSystemAttributes": self.system_attributes,
            "MessageGroupId": self.group,
            "MessageDeduplicationId": self.deduplication_id,
        }
        request = {name: value for name, value in fields.items() if value}
        if self.delay_seconds is not None and not queue.is_fifo:
            request["DelaySeconds"] = self.delay_seconds  # 0 too, which overrides the queue's own
        return request

    def due(self, queue: QueueAddress) -> Outgoing | None:
        """Return the message with its time `at` as a delay from now, or None where SQS cannot delay it.

        A delay is at most 15 minutes, and a FIFO queue has none for a single message.
        """
        if self.at is None:
            return self
        seconds = max(0, math.ceil(self.at.timestamp() - time.time()))
        if seconds > (0 if queue.is_fifo else MAX_DELAY_SECONDS):
            return None
        return msgspec.structs.replace(self, at=None, delay_seconds=seconds)

    @property
    def seconds_until_due(self) -> float:
        """The seconds from now until the message is to be delivered, where it does not go through SQS."""
        return self.delay_seconds or 0 if self.at is None else max(0, round(self.at.timestamp() - time.time()))

    def record(self, *, receive_count: int = 1, message_id: str | None = None) -> Record:
        """Return the record of an SQS event for the message, where it does not go through SQS."""
        now_ms = str(round(time.time() * 1000))
        attributes = {
            "ApproximateReceiveCount": str(receive_count),
            "SentTimestamp": now_ms,
            "SenderId": "AIDAEXAMPLE",
            "ApproximateFirstReceiveTimestamp": now_ms,
            **{name: value["StringValue"] for name, value in self.system_attributes.items()},
            **({"MessageGroupId": self.group} if self.group else {}),
        }
        record: dict[str, Any] = {
            "messageId": message_id or str(uuid.uuid4()),
            "receiptHandle": "",
            "body": self.body,
            "attributes": attributes,
            "messageAttributes": {
                name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
                for name, value in self.attributes.items()
            },
            "md5OfBody": hashlib.md5(self.body.encode(), usedforsecurity=False).hexdigest(),
            "eventSource": "aws:sqs",
            "eventSourceARN": f"local:{self.queue}",
            "awsRegion": "local",
        }
        return cast("Record", record)

    def _check_fifo(self, queue: QueueAddress) -> None:
        if not queue.is_fifo:
            return
        source = f"task {self.task_name}, queue {queue.url}"
        if self.delay_seconds:
            remedy = "set the queue's own DelaySeconds, or use options(at=...)"
            raise InvalidTask("a FIFO queue takes no delay of a single message", source=source, remedy=remedy)
        if self.group is None:
            raise InvalidTask("a FIFO queue needs a group", source=source, remedy='use options(group="...")')


def make(definition: Definition, options: MessageOptions, kwargs: Mapping[str, Any]) -> Outgoing:
    """Return the message that runs a task with `kwargs`, in the context of the caller.

    Raises:
        InvalidKwargs: the task would not accept them.
        InvalidContext: values of the context have no form in JSON, or are too large.

    """
    return with_body(template(definition, options), definition, kwargs)


def template(definition: Definition, options: MessageOptions) -> Outgoing:
    """Return the message without its body: all that the messages of one ``enqueue_many`` have in common.

    Raises:
        InvalidTask: no message can name the task, or it has both a delay and a time.
        InvalidContext: as `make`.

    """
    _check(definition, options)
    attributes, system_attributes = outgoing_attributes(options.context)
    if options.expires is not None:
        expires = options.expires
        at = time.time() + expires if isinstance(expires, (int, float)) else expires.timestamp()
        attributes |= as_attributes({EXPIRES_AT: f"{math.floor(max(0.0, at) * 1000) / 1000:.3f}"})
    if options.idempotency_key is not None:
        attributes |= as_attributes({IDEMPOTENCY_KEY: options.idempotency_key})
    return Outgoing(
        task_name=definition.name,
        queue=definition.options.queue,
        body="",
        attributes=attributes,
        system_attributes=system_attributes,
        delay_seconds=math.ceil(definition.options.delay) if definition.has_delay else None,
        group=options.group,
        deduplication_id=options.deduplication_id,
        at=options.at,
        attempts=definition.options.max_retries + 1,
        timeout_seconds=definition.options.hard_timeout,
    )


def with_body(common: Outgoing, definition: Definition, kwargs: Mapping[str, Any]) -> Outgoing:
    """Return the message with its own body.

    Raises:
        InvalidKwargs: as `make`.

    """
    text = body.encode(definition.name, definition.encode_kwargs(kwargs))
    if definition.options.idempotency_key is True and IDEMPOTENCY_KEY not in common.attributes:
        # The same in whatever is sent again after a timeout.
        attributes = {**common.attributes, **as_attributes({IDEMPOTENCY_KEY: uuid.uuid4().hex})}
        return msgspec.structs.replace(common, body=_sendable(text), attributes=attributes)
    return msgspec.structs.replace(common, body=_sendable(text))


def of_body(task_name: str, kwargs: bytes, more: Mapping[str, Any], *, queue: str, **options: Any) -> Outgoing:  # noqa: ANN401
    """Return the message of a framework's own task, in the context of the caller, with `more` fields of the body.

    The options are fields of `Outgoing`.
    """
    attributes, system_attributes = outgoing_attributes()
    text = _sendable(body.encode(task_name, kwargs, more))
    return Outgoing(task_name, queue, text, attributes, system_attributes, is_recorded=True, **options)


def _check(definition: Definition, options: MessageOptions) -> None:
    source = f"task {definition.name}"
    if definition.function.__module__ == "__main__" or "<locals>" in definition.name:
        remedy = "define it at the top level of a module that the worker can import"
        raise InvalidTask("no message can name the task", source=source, remedy=remedy)
    if not definition.leads_back:
        remedy = "put @task above a function at the top level of its module, and call the task as the function"
        raise InvalidTask("the task's name does not lead to it", source=source, remedy=remedy)
    if options.at is not None and definition.options.delay:
        raise InvalidTask("there is a delay and a time", source=source, remedy="use one of options(delay=, at=)")


def _sendable(body: str) -> str:
    """Escape the two characters that JSON may hold as they are and SQS does not take."""
    if "\ufffe" in body or "\uffff" in body:
        return body.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
    return body
