"""Bodies that are too large for SQS: they go to S3, and the messages have pointers to them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import msgspec

from lambda_tasks.aws import calls
from lambda_tasks.aws.transport import CallFailed
from lambda_tasks.enqueue import refusals
from lambda_tasks.errors import EnqueueFailed, MessageTooLarge
from lambda_tasks.messages.payload import Pointer, size_attribute

if TYPE_CHECKING:
    from lambda_tasks.enqueue.outgoing import Outgoing
    from lambda_tasks.settings import Settings


def offloaded(message: Outgoing, limit_bytes: int, settings: Settings) -> Outgoing:
    """Return `message` as it is, or with its body in S3 where it has more than `limit_bytes`.

    Raises:
        MessageTooLarge: it has, and there is no bucket.
        EnqueueFailed: S3 did not take the body.

    """
    bucket = check(message, limit_bytes, settings)
    if bucket is None:
        return message
    source = f"task {message.task_name}"
    body, pointer = message.body.encode(), Pointer(bucket, str(uuid.uuid4()))
    try:
        calls.calls().put_object(pointer.bucket, pointer.key, body)
    except CallFailed as error:
        remedy = error.remedy or refusals.about_key(error.code, "bucket")
        remedy = remedy or "check the bucket's name, the role's s3:PutObject and the network"
        source = f"{source}, bucket {pointer.bucket}"
        raise EnqueueFailed(error.problem, source=source, remedy=remedy) from error
    attributes = {**message.attributes, **size_attribute(body)}
    return msgspec.structs.replace(message, body=pointer.body(), attributes=attributes)


def check(message: Outgoing, limit_bytes: int, settings: Settings) -> str | None:
    """Return the bucket for the body of `message`, or None where it has no more than `limit_bytes`.

    Raises:
        MessageTooLarge: it has, and there is no bucket.

    """
    size_bytes = message.size_bytes
    if size_bytes <= limit_bytes:
        return None
    if settings.payload_bucket is None:
        raise MessageTooLarge(
            f"the message has {size_bytes:,} bytes, and {limit_bytes:,} is the most",
            variable="LAMBDA_TASKS_PAYLOAD_BUCKET",
            source=f"task {message.task_name}",
            remedy="set it to a bucket for larger ones, or pass a reference in place of the content",
        )
    return settings.payload_bucket
