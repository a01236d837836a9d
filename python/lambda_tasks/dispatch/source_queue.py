"""The calls about the queues that messages come from: redrive policy, visibility, and dead letters."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from lambda_tasks.aws.queue_address import QueueAddress
from lambda_tasks.aws.transport import CallFailed
from lambda_tasks.definition import retry
from lambda_tasks.definition.options import MAX_DELAY_SECONDS
from lambda_tasks.errors import LambdaTasksError
from lambda_tasks.limits.circuit_breaker import CircuitBreaker
from lambda_tasks.messages.sqs_event import queue_arn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambda_tasks.aws.calls import SignedCalls
    from lambda_tasks.limits.timeouts import InvocationTime
    from lambda_tasks.messages.sqs_event import Record

    Change = tuple[str, float]

logger = logging.getLogger("lambda_tasks")

_BATCH_SIZE = 10
_CALLS_AT_A_TIME = 8


class RedrivePolicy(NamedTuple):
    """The redrive policy of a queue: where its messages go after `max_receive_count` deliveries. None for unknown.

    After `retention_seconds` they are gone.
    """

    dead_letter_queue: QueueAddress | None = None
    max_receive_count: int | None = None
    retention_seconds: float = math.inf


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
        self._policies: dict[str, RedrivePolicy] = {}

    def address(self, arn: str) -> QueueAddress | None:
        """Return the address of the queue with this ARN, or None where the ARN is not a queue's.

        Raises:
            InvalidSetting: an endpoint override is not a URL.

        """
        if arn not in self._addresses:
            self._addresses[arn] = QueueAddress.of_arn(arn, self._environ)
        return self._addresses[arn]

    def change_visibility(self, arn: str, changes: Sequence[Change], clock: InvocationTime) -> None:
        """Let messages of a queue become visible, each by its receipt handle at a reading of ``time.monotonic``.

        They go ten a call, several calls at a time, as long as the invocation has time. A failure is logged: its
        messages stay until their visibility timeout ends.
        """
        try:
            queue = self.address(arn)
        except LambdaTasksError as error:
            logger.warning("the queue %s cannot be reached: %s", arn, error)
            return
        if queue is not None:
            batches = [changes[start : start + _BATCH_SIZE] for start in range(0, len(changes), _BATCH_SIZE)]
            _Changes(self._calls, queue, batches, clock).make()

    def policy(self, source_arn: str, deadline: float) -> RedrivePolicy:
        """Return the redrive policy of the queue with this ARN, which is asked for once.

        Raises:
            CallFailed: SQS did not answer. It is asked again the next time, unless the role may not ask.

        """
        if source_arn not in self._policies:
            source = self.address(source_arn)
            self._policies[source_arn] = RedrivePolicy() if source is None else self._ask(source, deadline)
        return self._policies[source_arn]

    def dead_letter_queue(self, source_arn: str, deadline: float) -> QueueAddress | None:
        """Return the queue for dead letters of the queue `source_arn`; None for none.

        It is the one that is configured, else the one that the redrive policy names. The queue itself is none: a
        function that consumes its own dead letters must not send them in a circle.

        Raises:
            CallFailed: as `policy`.

        """
        source, url = self.address(source_arn), self._dead_letter_queue_url
        if url:
            found: QueueAddress | None = QueueAddress.of_url(url, self._environ)
        else:
            found = self.policy(source_arn, deadline).dead_letter_queue
        return None if found is not None and source is not None and found.is_same(source) else found

    def send(self, queue: QueueAddress, message: Mapping[str, Any], deadline: float) -> None:
        """Send one message.

        Raises:
            CallFailed: SQS did not take it, or it is not known whether it did.

        """
        answer = self._calls.sqs("SendMessage", queue, message, deadline=deadline)
        if not answer.get("MessageId"):
            raise CallFailed("SQS answered without a message id")

    def hand_over(self, record: Record, record_id: str, after_seconds: float, deadline: float) -> bool:
        """Send the message that takes over from the one in `record`; tell whether it was sent. A failure is logged.

        The queue counts its deliveries anew. Lambda counts it as a descendant of the old one.
        """
        from lambda_tasks.messages.succession import successor  # noqa: PLC0415 - for work of hours

        try:
            queue = self.address(queue_arn(record))
            message = successor(record, record_id, min(after_seconds, MAX_DELAY_SECONDS))
            if queue is None or message is None:
                logger.warning("message %s has no room for another one that takes over from it", record["messageId"])
                return False
            self.send(queue, message, deadline)
        except LambdaTasksError as error:
            logger.warning("no message could be sent that takes over from %s: %s", record["messageId"], error)
            return False
        return True

    def _ask(self, source: QueueAddress, deadline: float) -> RedrivePolicy:
        request = {"AttributeNames": ["RedrivePolicy", "MessageRetentionPeriod"]}
        try:
            answer = self._calls.sqs("GetQueueAttributes", source, request, deadline=deadline)
        except CallFailed as error:
            if not error.code.startswith("AccessDenied"):
                raise
            logger.warning("the queue's redrive policy cannot be read, so SQS redrives what failed: %s", error)
            return RedrivePolicy()
        return self._read(answer)

    def _read(self, answer: Mapping[str, Any]) -> RedrivePolicy:
        try:
            policy = json.loads(answer["Attributes"]["RedrivePolicy"])
            target = self.address(policy["deadLetterTargetArn"])
            count = int(policy.get("maxReceiveCount", 0))
            retention_seconds = float(answer["Attributes"].get("MessageRetentionPeriod", math.inf))
        except (KeyError, TypeError, ValueError, AttributeError):
            return RedrivePolicy()
        return RedrivePolicy(target, count if count > 0 else None, retention_seconds)


class _Changes:
    """The changes of visibility of one queue, made by several threads until none is left or nothing helps."""

    def __init__(
        self, calls: SignedCalls, queue: QueueAddress, batches: list[Sequence[Change]], clock: InvocationTime
    ) -> None:
        self._calls = calls
        self._queue = queue
        self._waiting = list(reversed(batches))
        self._clock = clock
        self._breaker = CircuitBreaker()

    def make(self) -> None:
        """Make all changes, also where there is no thread to be had."""
        threads: list[threading.Thread] = []
        with contextlib.suppress(RuntimeError, MemoryError):
            for _ in range(min(len(self._waiting), _CALLS_AT_A_TIME) - 1):
                thread = threading.Thread(target=self._work, name="lambda-tasks-visibility", daemon=True)
                thread.start()
                threads.append(thread)
        self._work()
        for thread in threads:
            thread.join(
                None if math.isinf(self._clock.change_by) else max(0.0, self._clock.change_by - time.monotonic())
            )
        if self._waiting:
            count = sum(map(len, self._waiting))
            logger.warning("the visibility of %d messages was not changed: %s", count, self._breaker.last or "no time")

    def _work(self) -> None:
        while time.monotonic() < self._clock.change_by and not self._breaker.is_open:
            try:
                batch = self._waiting.pop()
            except IndexError:
                return
            self._change(batch)

    def _change(self, batch: Sequence[Change]) -> None:
        now = time.monotonic()
        since_receipt = now - self._clock.started_at
        entries = [
            {
                "Id": str(number),
                "ReceiptHandle": receipt_handle,
                "VisibilityTimeout": retry.visibility_timeout(visible_at - now, since_receipt),
            }
            for number, (receipt_handle, visible_at) in enumerate(batch)
        ]
        deadline = self._clock.change_deadline(now)
        try:
            answer = self._calls.sqs(
                "ChangeMessageVisibilityBatch", self._queue, {"Entries": entries}, deadline=deadline
            )
            self._breaker.succeeded()
            failed = answer.get("Failed") or []
        except LambdaTasksError as error:
            self._breaker.failed(error)
            failed = [{"Code": str(error)}] * len(batch)
        if failed:
            reason = failed[0].get("Code") if isinstance(failed[0], dict) else failed[0]
            logger.warning("the visibility of %d messages was not changed: %s", len(failed), reason)
