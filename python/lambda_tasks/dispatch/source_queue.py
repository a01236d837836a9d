"""The calls about the queues that messages come from: change visibility, find the dead-letter queue, send to it."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from lambda_tasks.aws.queue_address import QueueAddress
from lambda_tasks.aws.transport import CallFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambda_tasks.aws.calls import SignedCalls

logger = logging.getLogger("lambda_tasks")

_BATCH_SIZE = 10


class SourceQueues:
    """The queues that messages come from, and their dead-letter queues. Usable from several threads.

    `dead_letter_queue_url` is the queue for all dead letters, whatever the redrive policies say.
    """

    def __init__(
        self, calls: SignedCalls, environ: Mapping[str, str], dead_letter_queue_url: str | None = None
    ) -> None:
        self._calls = calls
        self._environ = environ
        self._dead_letter_queue_url = dead_letter_queue_url
        self._addresses: dict[str, QueueAddress | None] = {}
        self._dead_letter_queues: dict[str, QueueAddress | None] = {}

    def address(self, arn: str) -> QueueAddress | None:
        """Return the address of the queue with this ARN, or None where the ARN is not a queue's.

        Raises:
            InvalidSetting: an endpoint override is not a URL.

        """
        if arn not in self._addresses:
            self._addresses[arn] = QueueAddress.of_arn(arn, self._environ)
        return self._addresses[arn]

    def change_visibility(self, queue: QueueAddress, changes: Sequence[tuple[str, int]], deadline: float) -> None:
        """Let messages (by receipt handle) become visible in so many seconds, ten a call.

        A failure is logged: the message stays until its visibility timeout ends.
        """
        for start in range(0, len(changes), _BATCH_SIZE):
            some = changes[start : start + _BATCH_SIZE]
            entries = [
                {"Id": str(number), "ReceiptHandle": receipt_handle, "VisibilityTimeout": seconds}
                for number, (receipt_handle, seconds) in enumerate(some)
            ]
            try:
                request = {"Entries": entries}
                answer = self._calls.sqs("ChangeMessageVisibilityBatch", queue, request, deadline=deadline)
                failed = answer.get("Failed") or []
            except CallFailed as error:
                failed = [{"Code": str(error)}] * len(some)
            if failed:
                reason = failed[0].get("Code") if isinstance(failed[0], dict) else failed[0]
                logger.warning("the visibility of %d messages was not changed: %s", len(failed), reason)

    def dead_letter_queue(self, source_arn: str, deadline: float) -> QueueAddress | None:
        """Return the queue for dead letters of the queue `source_arn`; None for none.

        It is the one that is configured, else the one that the redrive policy names, which is asked for once. The
        queue itself is none: a function that consumes its own dead letters must not send them in a circle.

        Raises:
            CallFailed: SQS did not answer. It is asked again the next time, unless it refused.

        """
        if source_arn not in self._dead_letter_queues:
            source, url = self.address(source_arn), self._dead_letter_queue_url
            found = QueueAddress.of_url(url, self._environ) if url else self._named_by_policy(source, deadline)
            is_circle = found is not None and source is not None and found.is_same(source)
            self._dead_letter_queues[source_arn] = None if is_circle else found
        return self._dead_letter_queues[source_arn]

    def send(self, queue: QueueAddress, message: Mapping[str, Any], deadline: float) -> None:
        """Send one message.

        Raises:
            CallFailed: SQS did not take it, or it is not known whether it did.

        """
        answer = self._calls.sqs("SendMessage", queue, message, deadline=deadline)
        if not answer.get("MessageId"):
            raise CallFailed("SQS answered without a message id")

    def _named_by_policy(self, source: QueueAddress | None, deadline: float) -> QueueAddress | None:
        if source is None:
            return None
        request = {"AttributeNames": ["RedrivePolicy"]}
        try:
            answer = self._calls.sqs("GetQueueAttributes", source, request, deadline=deadline)
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
