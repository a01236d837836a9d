"""The sender of batches to one queue: entries that SQS refused are sent again, and each has a result in the account."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from lambda_tasks.aws import calls
from lambda_tasks.aws.transport import CallFailed, backoff
from lambda_tasks.enqueue import refusals
from lambda_tasks.enqueue.giving_up import GivingUp
from lambda_tasks.errors import EnqueueFailed, LambdaTasksError, MessageTooLarge

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_tasks.aws.queue_address import QueueAddress
    from lambda_tasks.enqueue.outgoing import Outgoing
    from lambda_tasks.enqueue.queued import Recording
    from lambda_tasks.enqueue.results import Enqueued

_MOST_CODE_CHARACTERS = 80


class Numbered(NamedTuple):
    """A message, and its number among all of them."""

    number: int
    message: Outgoing


class Sender:
    """A sender that gives up where no call succeeds any more, and once it is stopped. Usable from several threads.

    On a FIFO queue it stops at the first message that is not sent: what follows must not overtake it.
    """

    def __init__(
        self,
        queue: QueueAddress,
        enqueued: Enqueued,
        *,
        attempts: int,
        sqs: Callable[[str, QueueAddress, Mapping[str, Any]], Mapping[str, Any]] | None = None,
    ) -> None:
        self._queue = queue
        self._attempts = attempts
        self._enqueued = enqueued
        self._sqs = sqs or calls.calls().sqs
        self._giving_up = GivingUp("calls")
        self._stopped = ""
        self.recording: Recording | None = None

    @property
    def refusal(self) -> str:
        """The reason for sending nothing any more, or empty."""
        return self._stopped or (self._giving_up.reason if self._giving_up.is_over else "")

    def stop(self, reason: str) -> None:
        """Send nothing more."""
        self._stopped = self._stopped or reason

    def not_sent(self, number: int, error: LambdaTasksError) -> None:
        """Note that a message is not sent, and on a FIFO queue none of those that follow, unless it never could be."""
        self._enqueued.record(number, error)
        if self._queue.is_fifo and not isinstance(error, MessageTooLarge):
            self.stop(f"not sent, since entry {number} was not: {error.problem}")

    def send(self, batch: list[Numbered]) -> None:
        """Send `batch`, and note message id or error of each of its messages."""
        waiting = batch
        for attempt in range(1, self._attempts + 1):
            waiting = self._send_once(waiting, is_last=attempt == self._attempts)
            if not waiting:
                break
            time.sleep(backoff(attempt))

    def _send_once(self, batch: list[Numbered], *, is_last: bool) -> list[Numbered]:
        """Send a batch, note the results that are final, and return the messages to send again."""
        entries = [{"Id": str(number), **one.message.request(self._queue)} for number, one in enumerate(batch)]
        try:
            if self._stopped:
                raise EnqueueFailed(self._stopped)
            answer = self._giving_up.run(lambda: self._sqs("SendMessageBatch", self._queue, {"Entries": entries}))
        except LambdaTasksError as error:
            self._none_sent(batch, error)
            return []
        return self._read(batch, answer, is_last=is_last)

    def _none_sent(self, batch: list[Numbered], error: LambdaTasksError) -> None:
        if isinstance(error, (CallFailed, EnqueueFailed)):
            error = refusals.of_call(error, self._queue)
        for one in batch:
            self.not_sent(one.number, error)

    def _read(self, batch: list[Numbered], answer: Mapping[str, Any], *, is_last: bool) -> list[Numbered]:
        """Note what `answer` says of each message. One that it does not name, or names twice, counts as not sent."""
        sent, refused = _by_id(answer.get("Successful")), _by_id(answer.get("Failed"))
        again = []
        for number, one in enumerate(batch):
            taken, refusal = sent.get(str(number)), refused.get(str(number))
            message_id = taken.get("MessageId") if taken else None
            if isinstance(message_id, str) and message_id and refusal is None:
                self._enqueued.record(one.number, message_id)
                if self.recording is not None:
                    self.recording.add(message_id)
            elif taken is not None or refusal is None:
                error = refusals.of_queue("SQS did not say whether it took the message", self._queue)
                self.not_sent(one.number, error)
            elif is_last or refusal.get("SenderFault"):
                code = str(refusal.get("Code"))[:_MOST_CODE_CHARACTERS]
                remedy = refusals.about_key(code, "queue")
                self.not_sent(one.number, refusals.of_queue(f"SQS refused the message: {code}", self._queue, remedy))
            else:
                again.append(one)
        return again


def _by_id(entries: object) -> dict[str, Mapping[str, Any]]:
    """Return the entries of an answer's list by their ids; what is no list of entries names none."""
    if not isinstance(entries, list):
        return {}
    return {str(one.get("Id")): one for one in entries if isinstance(one, Mapping)}
