"""Messages to topics of SNS, with the context that messages to queues have.

A queue that is subscribed to the topic passes the context on, with raw message delivery or without it.
Source: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
"""

from __future__ import annotations

import contextlib
import logging
import re
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from lambda_tasks import settings
from lambda_tasks.aws import calls, endpoints
from lambda_tasks.aws.transport import CallFailed
from lambda_tasks.enqueue import destination
from lambda_tasks.errors import ConfigurationError, EnqueueFailed, InvalidContext, MessageTooLarge
from lambda_tasks.messages.context import outgoing_attributes
from lambda_tasks.messages.payload import size_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("lambda_tasks")

MAX_BYTES = 256 * 1024
_ARN = re.compile(r"arn:([a-z-]+):sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?")
_FIFO_REMEDY = ", and deduplication_id=... or the topic's content-based deduplication"


class InvalidPublication(ConfigurationError):
    """The error of a topic, or of a message for one, that SNS could not take."""


class PublishFailed(EnqueueFailed):
    """The error of a message that SNS did not take."""


class Published(NamedTuple):
    """A message that a test has in place of its topic: the `message` as text, and its attributes as SNS has them."""

    topic_arn: str
    message: str
    attributes: Mapping[str, Any]
    group: str | None
    deduplication_id: str | None


_kept: list[list[Published]] = []


def publish(
    topic_arn: str,
    message: object,
    context: Mapping[str, Any] | None = None,
    *,
    subject: str | None = None,
    group: str | None = None,
    deduplication_id: str | None = None,
) -> str:
    """Publish a message to a topic of SNS, with the caller's context, and return SNS's message id.

    The `message` is a text, or anything that kwargs may be: that becomes JSON. `context` is added to what is bound. A
    FIFO topic needs a `group`, and a `deduplication_id` unless it makes one of the content. In a mode other than
    ``sqs``, and without an endpoint of its own, nothing is published, with a warning.

    Raises:
        InvalidPublication: it is no topic, or one that could not take such a message.
        InvalidContext: values of the context have no form in JSON, or are too large.
        MessageTooLarge: SNS takes 256 KiB, the attributes included.
        PublishFailed: SNS did not take the message.

    """
    is_fifo = _check(topic_arn, group, deduplication_id)
    text = _text(topic_arn, message)
    given: object = context
    if given is not None and not isinstance(given, Mapping):
        remedy = 'give a mapping, such as {"tenant": "acme"}'
        raise InvalidContext(f"the context is of type {type(given).__name__}", remedy=remedy)
    attributes, _ = outgoing_attributes(context or {})
    size = size_bytes(text, attributes)
    if size > MAX_BYTES:
        remedy = "put the content into S3, and publish where it is"
        raise MessageTooLarge(
            f"the message has {size} bytes, and SNS takes {MAX_BYTES}", source=topic_arn, remedy=remedy
        )
    if destination.is_diverted():
        for kept in _kept:
            kept.append(Published(topic_arn, text, attributes, group, deduplication_id))
        return str(uuid.uuid4())
    if not _is_meant():
        logger.warning("nothing is published to %s: LAMBDA_TASKS_MODE is not sqs", topic_arn)
        return str(uuid.uuid4())
    fields = {
        "Message": text,
        "MessageAttributes": attributes,
        "Subject": subject,
        "MessageGroupId": group,
        "MessageDeduplicationId": deduplication_id,
    }
    try:
        return calls.calls().publish(topic_arn, {name: value for name, value in fields.items() if value})
    except CallFailed as error:
        remedy = "check the topic's ARN, the role's sns:Publish, kms:GenerateDataKey and kms:Decrypt on its key"
        remedy += _FIFO_REMEDY if is_fifo and deduplication_id is None else ""
        raise PublishFailed(error.problem, source=f"topic {topic_arn}", remedy=error.remedy or remedy) from error


async def apublish(
    topic_arn: str,
    message: object,
    context: Mapping[str, Any] | None = None,
    *,
    subject: str | None = None,
    group: str | None = None,
    deduplication_id: str | None = None,
) -> str:
    """Publish as `publish` does, in a thread, so that the event loop goes on meanwhile.

    Raises:
        LambdaTasksError: as `publish`.

    """
    import asyncio  # noqa: PLC0415 - for producers that run an event loop

    own = {"subject": subject, "group": group, "deduplication_id": deduplication_id}
    return await asyncio.to_thread(publish, topic_arn, message, context, **own)


@contextlib.contextmanager
def kept() -> Iterator[list[Published]]:
    """Give the messages that are published within the ``with`` block, where a test has this process's messages."""
    found: list[Published] = []
    _kept.append(found)
    try:
        yield found
    finally:
        _kept[:] = [one for one in _kept if one is not found]


def _check(topic_arn: str, group: str | None, deduplication_id: str | None) -> bool:
    """Refuse what no topic takes, and tell whether this one is FIFO."""
    arn = _ARN.fullmatch(str(topic_arn))
    if arn is None or arn[1] not in endpoints.DNS_SUFFIXES:
        remedy = "give one as arn:aws:sns:<region>:<account>:<name>"
        raise InvalidPublication(f"{topic_arn!a} is not the ARN of a topic", remedy=remedy)
    is_fifo = arn[2] is not None
    if is_fifo and not group:
        raise InvalidPublication("a FIFO topic needs a group", source=topic_arn, remedy='give group="..."')
    if not is_fifo and deduplication_id is not None:
        problem, remedy = "a topic that is not FIFO takes no deduplication ID", "leave deduplication_id out"
        raise InvalidPublication(problem, source=topic_arn, remedy=remedy)
    return is_fifo


def _text(topic_arn: str, message: object) -> str:
    if isinstance(message, str):
        text = message
    else:
        from lambda_tasks.definition import values  # noqa: PLC0415 - a text needs no encoder

        try:
            text = values.encode_value(message).decode()
        except (TypeError, ValueError, RecursionError, OverflowError) as error:
            problem, remedy = f"the message has no form in JSON: {error}", "give a text, or types that JSON can hold"
            raise InvalidPublication(problem, source=topic_arn, remedy=remedy) from error
    try:
        text.encode()
    except UnicodeEncodeError:
        problem, remedy = "the message holds half a character", "give text that UTF-8 can hold"
        raise InvalidPublication(problem, source=topic_arn, remedy=remedy) from None
    if not text:
        raise InvalidPublication("the message is empty", source=topic_arn, remedy="give it a content")
    return text


def _is_meant() -> bool:
    """Tell whether a topic of SNS is meant: in the other modes that is so where SNS has an endpoint of its own."""
    return settings.current().mode == "sqs" or (
        settings.current().mode != "off" and bool(endpoints.override_variable("sns", settings.environ()))
    )
