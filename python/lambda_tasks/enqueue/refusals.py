"""Errors of calls that a producer made in vain, and what to do about them.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambda_tasks.errors import EnqueueFailed

if TYPE_CHECKING:
    from lambda_tasks.aws.queue_address import QueueAddress
    from lambda_tasks.errors import LambdaTasksError

_NETWORK = "check the queue's URL, the role's sqs:SendMessage and the network"
_FIFO = ", and options(deduplication_id=...) or the queue's content-based deduplication"
_KEY = "kms:GenerateDataKey and kms:Decrypt"
_CALLS = {"queue": "the role's sqs:SendMessage", "bucket": "the role's s3:PutObject"}


def of_call(error: LambdaTasksError, queue: QueueAddress, *, has_id: bool = True) -> EnqueueFailed:
    """Return the error of a call of `queue` that ended with `error`.

    `has_id` tells whether its messages had deduplication IDs.
    """
    remedy = error.remedy or about_key(getattr(error, "code", ""), "queue")
    return of_queue(error.problem, queue, remedy or _NETWORK + (_FIFO if queue.is_fifo and not has_id else ""))


def of_queue(problem: str, queue: QueueAddress, remedy: str = "") -> EnqueueFailed:
    """Return the error of a message that `queue` did not take."""
    remedy = remedy or _NETWORK
    return EnqueueFailed(problem, source=f"queue {queue.url}", remedy=remedy)


def about_key(code: str, what: str) -> str:
    """Return what to do where `code` may be about the key that encrypts a queue or a bucket, or empty."""
    if code.upper().startswith("KMS"):
        return f"allow the role {_KEY} on the key that encrypts the {what}, and check that the key is enabled"
    if code.startswith("AccessDenied"):
        return f"check {_CALLS[what]}, and {_KEY} on the key of an encrypted {what}"
    return ""
