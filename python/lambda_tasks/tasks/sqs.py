"""The calls that the dispatcher makes to SQS: change visibility, find the dead-letter queue, send to it."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from lambda_tasks.aws import endpoints
from lambda_tasks.aws.transport import CallFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambda_tasks.aws.transport import Transport

logger = logging.getLogger("lambda_tasks")

_BATCH_SIZE = 10


class QueueAddress(NamedTuple):
    """A queue, as its ARN or its URL names it."""

    url: str
    region: str
    partition: str

    @property
    def is_fifo(self) -> bool:
        """Whether messages sent to the queue need a group and a deduplication id."""
        return self.url.endswith(".fifo")

    def is_same(self, other: QueueAddress) -> bool:
        """Tell whether both are one queue: account and name, whatever host reaches it."""
        return self.region == other.region and self.url.split("/")[-2:] == other.url.split("/")[-2:]


class Sqs:
    """SQS, called with our own transport. Usable from several threads."""

    def __init__(self, transport: Transport, environ: Mapping[str, str]) -> None:
        self._transport = transport
        self._environ = environ
        self._dead_letters: dict[str, QueueAddress | None] = {}

    def address(self, arn: str) -> QueueAddress | None:
        """Return the address of the queue with this ARN, or None where it is not one.

        The URL is composed, as AWS's own CDK composes it: asking for it would take a call and one more permission.
        """
        parts = arn.split(":")
        if len(parts) != 6 or parts[0] != "arn" or parts[2] != "sqs" or not all(parts):
            return None
        _, partition, _, region, account, name = parts
        if partition not in endpoints.DNS_SUFFIXES:
            return None
        endpoint = endpoints.resolve("sqs", region, partition, self._environ)
        return QueueAddress(f"{endpoint.scheme}://{endpoint.authority}/{account}/{name}", region, partition)

    def address_of_url(self, url: str) -> QueueAddress:
        """Return the address of the queue with this URL, in the region that it names, else the function's own."""
        host = url.partition("://")[2].split("/")[0].split(".")
        region = host[1] if host[0] in ("sqs", "sqs-fips") and len(host) > 2 else None
        region = region or endpoints.own_region(self._environ) or endpoints.DEFAULT_REGION
        return QueueAddress(url, region, endpoints.partition_of(region))

    def change_visibility(self, queue: QueueAddress, changes: Sequence[tuple[str, int]], deadline: float) -> None:
        """Let messages (by receipt handle) become visible in so many seconds, ten a call.

        What fails is logged: the message stays until its visibility timeout ends.
        """
        for start in range(0, len(changes), _BATCH_SIZE):
            some = changes[start : start + _BATCH_SIZE]
            entries = [
                {"Id": str(number), "ReceiptHandle": receipt_handle, "VisibilityTimeout": seconds}
                for number, (receipt_handle, seconds) in enumerate(some)
            ]
            try:
                answer = self._call(queue, "ChangeMessageVisibilityBatch", {"Entries": entries}, deadline)
                failed = answer.get("Failed") or []
            except CallFailed as error:
                failed = [{"Code": str(error)}] * len(some)
            if failed:
                reason = failed[0].get("Code") if isinstance(failed[0], dict) else failed[0]
                logger.warning("the visibility of %d messages was not changed: %s", len(failed), reason)

    def dead_letter_queue(self, source_arn: str, deadline: float) -> QueueAddress | None:
        """Return the queue that the redrive policy of the queue `source_arn` names, asked for once; None for none.

        Raises:
            CallFailed: SQS did not answer. It is asked again the next time, unless it refused.

        """
        if source_arn not in self._dead_letters:
            self._dead_letters[source_arn] = self._look_up(source_arn, deadline)
        return self._dead_letters[source_arn]

    def send(self, queue: QueueAddress, message: Mapping[str, Any], deadline: float) -> None:
        """Send one message.

        Raises:
            CallFailed: SQS did not take it, or it is not known whether it did.

        """
        answer = self._call(queue, "SendMessage", message, deadline)
        if not answer.get("MessageId"):
            raise CallFailed("SQS answered without a message id")

    def _look_up(self, source_arn: str, deadline: float) -> QueueAddress | None:
        source = self.address(source_arn)
        if source is None:
            return None
        try:
            answer = self._call(source, "GetQueueAttributes", {"AttributeNames": ["RedrivePolicy"]}, deadline)
        except CallFailed as error:
            if error.retryable or not error.code:
                raise
            logger.warning("the queue's redrive policy cannot be read, so SQS redrives what failed: %s", error)
            return None
        return self._target(answer)

    def _target(self, answer: Mapping[str, Any]) -> QueueAddress | None:
        try:
            policy = json.loads(answer["Attributes"]["RedrivePolicy"])
            return self.address(policy["deadLetterTargetArn"])
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def _call(self, queue: QueueAddress, operation: str, request: Mapping[str, Any], deadline: float) -> dict[str, Any]:
        return self._transport.call(
            "sqs",
            operation,
            {"QueueUrl": queue.url, **request},
            region=queue.region,
            partition=queue.partition,
            deadline=max(deadline, time.monotonic()),
        )
