"""The queue that a consumer receives from: the four calls that it makes, in the terms of the dispatcher."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from lambda_tasks.aws import calls, endpoints
from lambda_tasks.aws.queue_address import QueueAddress
from lambda_tasks.aws.transport import CallFailed
from lambda_tasks.errors import LambdaTasksError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lambda_tasks.aws.calls import SignedCalls
    from lambda_tasks.messages.sqs_event import Record

logger = logging.getLogger("lambda_tasks")

MAX_MESSAGES = 10  # of one call of SQS, whatever it does
_ANSWER_SECONDS = 5.0  # beyond the wait of a long poll
_CALL_SECONDS = 10.0
_TRIES = 3


class Received(NamedTuple):
    """One message that is to be run, and the handle by which it is kept, deleted or given back."""

    record: Record
    handle: str
    group: str | None


class Source:
    """A queue. Usable from several threads.

    `visibility_seconds` is how long a message stays invisible after each call that says so; one try of a long poll ends
    within `poll_seconds`.
    """

    def __init__(self, calls: SignedCalls, queue: QueueAddress, *, visibility_seconds: int, wait_seconds: int) -> None:
        self._calls = calls
        self._queue = queue
        self._wait_seconds = wait_seconds
        self.visibility_seconds = visibility_seconds
        self.poll_seconds = wait_seconds + _ANSWER_SECONDS
        self.is_fifo = queue.is_fifo

    def receive(self, limit: int) -> list[Received]:
        """Return up to `limit` messages: those that are there now, or else what comes within a long poll.

        Raises:
            CallFailed: SQS did not give any, or it is not known which.

        """
        request = {
            "MaxNumberOfMessages": min(limit, MAX_MESSAGES),
            "WaitTimeSeconds": self._wait_seconds,
            "VisibilityTimeout": self.visibility_seconds,
            "MessageSystemAttributeNames": ["All"],
            "MessageAttributeNames": ["All"],
        }
        # One try may take a third of the time.
        deadline = time.monotonic() + 3 * self.poll_seconds
        answer = self._calls.sqs("ReceiveMessage", self._queue, request, deadline=deadline)
        messages = answer.get("Messages") or []
        try:
            return [self._received(one) for one in messages]
        except (TypeError, LookupError) as error:
            raise CallFailed("SQS answered with something else than messages") from error

    def delete(self, handles: Sequence[str]) -> None:
        """Delete up to ten messages. One that cannot be deleted is delivered again, which is logged."""
        left = list(handles)
        for attempt in range(1, _TRIES + 1):
            left = self._change("DeleteMessageBatch", left, {}, is_last=attempt == _TRIES)
            if not left:
                return

    def keep(self, handles: Sequence[str]) -> None:
        """Keep up to ten messages invisible, from now on as long as `visibility_seconds`. A failure is logged."""
        self._change("ChangeMessageVisibilityBatch", handles, {"VisibilityTimeout": self.visibility_seconds})

    def give_back(self, handles: Iterable[str]) -> None:
        """Make messages visible at once. A failure is logged: then they are visible after the visibility timeout."""
        every = list(handles)
        for start in range(0, len(every), MAX_MESSAGES):
            some = every[start : start + MAX_MESSAGES]
            self._change("ChangeMessageVisibilityBatch", some, {"VisibilityTimeout": 0})

    def _change(
        self, operation: str, handles: Sequence[str], values: Mapping[str, Any], *, is_last: bool = True
    ) -> list[str]:
        """Return those that were refused and may be tried again."""
        entries = [{"Id": str(number), "ReceiptHandle": one, **values} for number, one in enumerate(handles)]
        try:
            deadline = time.monotonic() + _CALL_SECONDS
            failed = (
                self._calls.sqs(operation, self._queue, {"Entries": entries}, deadline=deadline).get("Failed") or []
            )
        except LambdaTasksError as error:
            logger.warning("%s of %d messages failed: %s", operation, len(handles), error)
            return []
        again = [one for one in failed if not one.get("SenderFault")]
        if failed and (is_last or not again):
            logger.warning("%s of %d messages failed: %s", operation, len(failed), failed[0].get("Code"))
        numbers = {str(one.get("Id")) for one in again}
        return [one for number, one in enumerate(handles) if str(number) in numbers]

    def _received(self, message: Mapping[str, Any]) -> Received:
        attributes = message.get("Attributes") or {}
        record = {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": attributes,
            "messageAttributes": {
                name: {f"{key[0].lower()}{key[1:]}": part for key, part in value.items()}
                for name, value in (message.get("MessageAttributes") or {}).items()
            },
            "md5OfBody": message.get("MD5OfBody", ""),
            "eventSource": "aws:sqs",
            "eventSourceARN": self._queue.arn,
            "awsRegion": self._queue.region,
        }
        return Received(cast("Record", record), message["ReceiptHandle"], attributes.get("MessageGroupId"))


def address_by_name(name: str, environ: Mapping[str, str]) -> QueueAddress:
    """Return the address of this account's queue of that name, in the process's region.

    Raises:
        CallFailed: there is none, or SQS did not say.

    """
    region = endpoints.own_region(environ) or endpoints.DEFAULT_REGION
    try:
        answer = calls.transport().call(
            "sqs",
            "GetQueueUrl",
            {"QueueName": name},
            region=region,
            partition=endpoints.partition_of(region),
            deadline=time.monotonic() + _CALL_SECONDS,
        )
        return QueueAddress.of_url(answer["QueueUrl"], environ)
    except (CallFailed, LookupError) as error:
        remedy = "check the name, the region and the role's sqs:GetQueueUrl, or give the queue's URL"
        raise CallFailed(f"the queue {name} was not found: {error}", remedy=remedy) from error
