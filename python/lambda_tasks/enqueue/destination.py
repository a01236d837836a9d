"""The destination of messages. It depends on ``LAMBDA_TASKS_MODE``, and on their number, size and time."""

from __future__ import annotations

import contextlib
import logging
import uuid
from typing import TYPE_CHECKING, Any

from lambda_tasks import settings
from lambda_tasks.aws import calls
from lambda_tasks.aws.transport import CallFailed
from lambda_tasks.enqueue import offloading, outgoing, queued, refusals
from lambda_tasks.enqueue.message_id import MessageId
from lambda_tasks.enqueue.outgoing import Outgoing
from lambda_tasks.errors import InvalidSetting
from lambda_tasks.messages.payload import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from lambda_tasks.aws.queue_address import QueueAddress
    from lambda_tasks.definition.definition import Definition
    from lambda_tasks.enqueue.message_options import MessageOptions
    from lambda_tasks.enqueue.results import Enqueued
    from lambda_tasks.settings import Settings

    Destination = Callable[[Outgoing], str]
    QueueOf = Callable[[str], QueueAddress | None]

logger = logging.getLogger("lambda_tasks")

_diversions: list[tuple[Destination, QueueOf]] = []


def enqueue(definition: Definition, options: MessageOptions, kwargs: Mapping[str, Any]) -> MessageId:
    """Send one message that runs a task with `kwargs`, and return its message id (of a schedule: its ARN).

    Raises:
        InvalidKwargs: the task would not accept them.
        InvalidSetting: the queue's URL is not set, or a schedule's role.
        MessageTooLarge: it is too large for SQS, and there is no bucket for payloads.
        EnqueueFailed: SQS, S3 or EventBridge Scheduler did not take it.
        BaseException: what the task raised, where ``LAMBDA_TASKS_MODE`` is ``eager``.

    """
    return send(outgoing.make(definition, options, kwargs))


def enqueue_many(definition: Definition, options: MessageOptions, many_kwargs: Iterable[Mapping[str, Any]]) -> Enqueued:
    """Send one message for each of `many_kwargs`, and return a message id or an error for each.

    Raises:
        InvalidSetting: as `enqueue`, before anything is sent.
        InvalidTask: no message can name the task, or all of them would have one deduplication ID.

    """
    from lambda_tasks.enqueue import many  # noqa: PLC0415 - threads, which few functions need

    common = many.common(definition, options)
    current = settings.current()
    if _diversions:
        destination, queue_of = _diversions[-1]
        return many.one_by_one(definition, common, many_kwargs, destination, queue=queue_of(common.queue))
    if current.mode != "sqs":
        return many.one_by_one(definition, common, many_kwargs, _destination(current))
    url = current.queue_url(common.queue)
    if settings.names_jobs(url):
        return many.one_by_one(definition, common, many_kwargs, _destination(current))
    queue = calls.queue_at(url)
    if common.due(queue) is None:
        return many.one_by_one(definition, common, many_kwargs, _destination(current), queue=queue)
    return many.in_batches(definition, common, many_kwargs, queue, current)


def send(message: Outgoing) -> MessageId:
    """Send one message to the destination of this process, and return its message id."""
    message_id = _destination(settings.current())(message)
    return message_id if isinstance(message_id, MessageId) else MessageId(message_id)


def is_diverted() -> bool:
    """Tell whether a test has this process's messages."""
    return bool(_diversions)


@contextlib.contextmanager
def diverted(destination: Destination, queue_of: QueueOf = lambda _: None) -> Iterator[None]:
    """Give every message of this process to `destination`, whatever its mode is: for tests.

    `queue_of` gives the queue of a name, where `destination` takes messages as that does.
    """
    diversion = destination, queue_of
    _diversions.append(diversion)
    try:
        yield
    finally:
        _diversions.remove(diversion)


def _destination(current: Settings) -> Destination:
    if _diversions:
        return _diversions[-1][0]
    if current.mode == "eager":
        from lambda_tasks.enqueue import eager  # noqa: PLC0415 - the dispatcher, which a web application lacks

        return lambda message: eager.run(message, current)
    if current.mode == "local":
        return _run_locally
    if current.mode == "off":
        return _drop
    return lambda message: _send_to_sqs(message, current)


def _run_locally(message: Outgoing) -> str:
    try:
        from lambda_tasks.local.workers import pool  # noqa: PLC0415 - processes and threads
    except ModuleNotFoundError as error:  # the layer leaves them out
        remedy = "use sqs or eager on Lambda; local is for a machine of your own"
        problem = "there are no local workers here"
        raise InvalidSetting(problem, variable="LAMBDA_TASKS_MODE", remedy=remedy) from error
    record = message.record()
    pool.submit(record, message.seconds_until_due)
    return record["messageId"]


def _drop(message: Outgoing) -> str:
    logger.warning("%s is dropped: LAMBDA_TASKS_MODE is off", message.task_name)
    return str(uuid.uuid4())


def _send_to_sqs(message: Outgoing, current: Settings) -> str:
    url = current.queue_url(message.queue)
    if settings.names_jobs(url):
        from lambda_tasks.enqueue.jobs import submission  # noqa: PLC0415 - for producers of jobs

        return submission.submit(message, url, current)
    queue = calls.queue_at(url)
    due = message.due(queue)
    if due is None:
        from lambda_tasks.enqueue import schedule  # noqa: PLC0415 - few messages are scheduled

        return schedule.create(message, queue, current)
    due = offloading.offloaded(due, MAX_MESSAGE_BYTES, current)
    try:
        answer = calls.calls().sqs("SendMessage", queue, due.request(queue))
    except CallFailed as error:
        raise refusals.of_call(error, queue, has_id=due.deduplication_id is not None) from error
    message_id = answer.get("MessageId")
    if not isinstance(message_id, str) or not message_id:
        raise refusals.of_queue("SQS did not say whether it took the message", queue)
    if not message.is_recorded and queued.are_recorded(current):
        queued.record([message_id], message.task_name, queue)
    return message_id
