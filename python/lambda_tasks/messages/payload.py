"""Pointers to payloads that are too large for SQS: the body lies in S3, and the message says where.

The format is that of Amazon's extended client libraries, which other languages have too:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-managing-large-messages.html
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from lambda_tasks.errors import (
    LambdaTasksError,
    MalformedMessage,
    NoRoomForPayload,
    PayloadNotFound,
    PayloadTooLarge,
    PayloadUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Of one message, and of one batch together.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MAX_MESSAGE_BYTES = 1024 * 1024
POINTER = "software.amazon.payloadoffloading.PayloadS3Pointer"
SIZE_ATTRIBUTE = "ExtendedPayloadSize"
_OLDER_POINTER = "com.amazon.sqs.javamessaging.MessageS3Pointer"
_GONE = ("NoSuchKey", "NoSuchBucket", "404")


def size_bytes(body: str, attributes: Mapping[str, Any]) -> int:
    """Return the bytes that count towards SQS's limit: the body, and names, types and values of the attributes."""
    return len(body.encode("utf-8", "surrogatepass")) + sum(
        len(name.encode())
        + len(value["DataType"])
        + len(value.get("StringValue", value.get("BinaryValue", "")).encode())
        for name, value in attributes.items()
    )


def size_attribute(body: bytes) -> dict[str, dict[str, str]]:
    """Return the message attribute that stands beside a pointer, with the size of the `body` that it leads to."""
    return {SIZE_ATTRIBUTE: {"DataType": "Number", "StringValue": str(len(body))}}


class Pointer(NamedTuple):
    """The place of an object in S3."""

    bucket: str
    key: str

    @property
    def source(self) -> str:
        """The place, as an error names it."""
        return f"object s3://{self.bucket}/{ascii(self.key)[1:-1]}"

    def body(self) -> str:
        """Return the body of a message whose payload lies at this place."""
        return json.dumps([POINTER, {"s3BucketName": self.bucket, "s3Key": self.key}], separators=(",", ":"))

    def fetch(self, get_object: Callable[[str, str], bytes]) -> bytes:
        """Return the payload, which `get_object` gets by bucket and key.

        Raises:
            PayloadNotFound: there is no such object.
            PayloadUnavailable: S3 did not give it. Another delivery of the message may find it: S3 answers 403 for an
                object that is not there yet where the role may not list the bucket.
            PayloadTooLarge: it does not fit into memory.
            NoRoomForPayload: the same, beside other payloads.

        """
        source = self.source
        try:
            return get_object(self.bucket, self.key)
        except (PayloadTooLarge, NoRoomForPayload):
            raise
        except LambdaTasksError as error:
            # S3 itself gives each refusal a code; what stands in for it may give the status alone.
            if getattr(error, "code", "") in _GONE or error.problem.endswith(" answered 404"):
                remedy = "keep objects for as long as messages and dead letters may live"
                raise PayloadNotFound("the payload is gone", source=source, remedy=remedy) from error
            remedy = "check the role's s3:GetObject, the bucket's region and the network"
            raise PayloadUnavailable(error.problem, source=source, remedy=remedy) from error


def pointer_in(body: object) -> Pointer | None:
    """Return the pointer that `body` is, or None where it is none.

    Raises:
        MalformedMessage: the pointer names no object.

    """
    if not isinstance(body, (str, bytes)) or not is_pointer(body):
        return None
    remedy = f'send ["{POINTER}", {{"s3BucketName": "...", "s3Key": "..."}}]'
    try:
        _, place = json.loads(body)
        bucket, key = place["s3BucketName"], place["s3Key"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise MalformedMessage("the pointer to a payload is malformed", remedy=remedy) from error
    if not _is_bucket(bucket) or not _is_key(key):
        raise MalformedMessage("the pointer to a payload names no object", remedy=remedy)
    return Pointer(bucket, key)


def is_pointer(body: str | bytes) -> bool:
    """Tell whether `body` is a pointer, and not the message itself."""
    if body[:1] not in ("[", b"["):
        if not body[:1].isspace():
            return False
        body = body.lstrip()
    start = body[:200] if isinstance(body, str) else body[:200].decode("utf-8", "replace")
    name = start.removeprefix("[").lstrip()
    return start.startswith("[") and name.startswith((f'"{POINTER}"', f'"{_OLDER_POINTER}"'))


def _is_key(key: object) -> bool:
    """Tell whether `key` may be an object's: not empty, and text that has a form in UTF-8."""
    if not isinstance(key, str) or not key:
        return False
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_bucket(name: object) -> bool:
    """Tell whether `name` may be a bucket's, and so part of a path: letters, digits, dots, hyphens and underscores."""
    if not isinstance(name, str) or not 3 <= len(name) <= 255 or not name.isascii():
        return False
    return name.replace(".", "").replace("-", "").replace("_", "").isalnum()
