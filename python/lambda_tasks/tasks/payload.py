"""Payloads that are too large for SQS: the body lies in S3, and the message holds a pointer to it.

The format is that of Amazon's extended client libraries, so that those in other languages understand it, and we them:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-managing-large-messages.html
"""

from __future__ import annotations

import dataclasses
import json
import re
import uuid
from typing import TYPE_CHECKING

from lambda_tasks.aws.transport import CallFailed
from lambda_tasks.errors import (
    EnqueueFailed,
    LambdaTasksError,
    MalformedMessage,
    MessageTooLarge,
    PayloadNotFound,
    PayloadUnavailable,
)
from lambda_tasks.tasks import aws_calls

if TYPE_CHECKING:
    from lambda_tasks.settings import Settings
    from lambda_tasks.tasks.outgoing import Outgoing

POINTER = "software.amazon.payloadoffloading.PayloadS3Pointer"
SIZE_ATTRIBUTE = "ExtendedPayloadSize"
_OLDER_POINTER = "com.amazon.sqs.javamessaging.MessageS3Pointer"
_START = re.compile(rf'\s*\[\s*"(?:{re.escape(POINTER)}|{re.escape(_OLDER_POINTER)})"')
_BUCKET = re.compile(r"[A-Za-z0-9._-]{3,255}")
_GONE = ("NoSuchKey", "NoSuchBucket", "404")


def offloaded(message: Outgoing, limit_bytes: int, settings: Settings) -> Outgoing:
    """Return `message` as it is, or where it has more than `limit_bytes` with its body in S3.

    Raises:
        MessageTooLarge: it has, and there is no bucket.
        EnqueueFailed: S3 did not take the body.

    """
    size_bytes = message.size_bytes
    if size_bytes <= limit_bytes:
        return message
    source = f"task {message.task_name}"
    if settings.payload_bucket is None:
        raise MessageTooLarge(
            f"the message has {size_bytes:,} bytes, and {limit_bytes:,} is the most",
            variable="LAMBDA_TASKS_PAYLOAD_BUCKET",
            source=source,
            remedy="set it to a bucket for larger ones, or pass a reference in place of the content",
        )
    body, key = message.body.encode(), str(uuid.uuid4())
    try:
        aws_calls.calls().put_object(settings.payload_bucket, key, body)
    except CallFailed as error:
        remedy = "check the bucket's name, the role's s3:PutObject and the network"
        source = f"{source}, bucket {settings.payload_bucket}"
        raise EnqueueFailed(error.problem, source=source, remedy=remedy) from error
    pointer = json.dumps([POINTER, {"s3BucketName": settings.payload_bucket, "s3Key": key}], separators=(",", ":"))
    size = {SIZE_ATTRIBUTE: {"DataType": "Number", "StringValue": str(len(body))}}
    return dataclasses.replace(message, body=pointer, attributes={**message.attributes, **size})


def is_pointer(body: str | bytes) -> bool:
    """Tell whether `body` is a pointer, and not the message itself."""
    start = body[:200]
    return bool(_START.match(start if isinstance(start, str) else start.decode("utf-8", "replace")))


def fetched(body: str | bytes) -> bytes:
    """Return the body that lies where the pointer `body` says.

    Raises:
        MalformedMessage: the pointer names no object.
        PayloadNotFound: there is no such object.
        PayloadUnavailable: S3 did not give it. Another delivery of the message may find it.

    """
    bucket, key = _place(body)
    source = f"object s3://{bucket}/{ascii(key)[1:-1]}"
    try:
        return aws_calls.calls().get_object(bucket, key)
    except CallFailed as error:
        if error.code in _GONE:
            remedy = "keep objects for as long as messages and dead letters may live"
            raise PayloadNotFound("the payload is gone", source=source, remedy=remedy) from error
        remedy = "check the role's s3:GetObject, the bucket's region and the network"
        raise PayloadUnavailable(error.problem, source=source, remedy=remedy) from error
    except LambdaTasksError as error:
        raise PayloadUnavailable(str(error), source=source) from error


def _place(body: str | bytes) -> tuple[str, str]:
    remedy = f'send ["{POINTER}", {{"s3BucketName": "...", "s3Key": "..."}}]'
    try:
        _, place = json.loads(body)
        bucket, key = place["s3BucketName"], place["s3Key"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise MalformedMessage("the pointer to a payload is malformed", remedy=remedy) from error
    if not isinstance(bucket, str) or not _BUCKET.fullmatch(bucket) or not isinstance(key, str) or not key:
        raise MalformedMessage("the pointer to a payload names no object", remedy=remedy)
    return bucket, key
