"""The messages of a dead-letter queue, looked at without taking them out, sent back, or deleted."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from lambda_tasks.aws.queue_address import is_fifo
from lambda_tasks.errors import ConfigurationError
from lambda_tasks.messages.attributes import ATTRIBUTE, EXPIRES_AT, IDEMPOTENCY_KEY, REPLAY_OF
from lambda_tasks.messages.dead_letter import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lambda_tasks.enqueue.again.calling import Call

_BATCH = 10
_SENT = (
    ATTRIBUTE,
    EXPIRES_AT,
    IDEMPOTENCY_KEY,
    REPLAY_OF,
)  # the producer's own; the others of their prefix are a letter's reason
_HIDDEN_SECONDS = 300  # time to look at all of them, and to send them back


@dataclass(frozen=True)
class Letter:
    """One dead letter. `message_id` is that of the message that failed; SQS knows this one by `receipt_handle`.

    A letter that the redrive policy brought has no reason: `error_type` and the rest are None.
    """

    message_id: str
    task: str | None
    outcome: str | None
    error_type: str | None
    error_message: str | None = field(repr=False)
    receive_count: str | None
    request_id: str | None
    first_failure: str | None
    sent_at: str
    body: str = field(repr=False)
    attributes: Mapping[str, Any] = field(repr=False)
    group: str | None
    receipt_handle: str = field(repr=False)

    @property
    def reason(self) -> str:
        """The text to group by: the error type, or how the letter came here."""
        return self.error_type or "redriven by SQS"

    def as_json(self) -> dict[str, Any]:
        """Return the letter as JSON, the body included."""
        names = ("message_id", "task", "outcome", "error_type", "error_message", "receive_count", "request_id")
        return {name: getattr(self, name) for name in (*names, "first_failure", "sent_at", "group", "body")}


@dataclass(frozen=True)
class Selection:
    """A selection of letters: those that fit everything that is given."""

    task: str | None = None
    error_type: str | None = None
    ids: tuple[str, ...] = ()

    def __contains__(self, letter: Letter) -> bool:
        fits = self.task in (None, letter.task) and self.error_type in (None, letter.reason)
        return fits and (not self.ids or letter.message_id in self.ids)


class DeadLetterQueue:
    """A dead-letter queue, by its URL, and the way to SQS."""

    def __init__(self, call: Call, url: str) -> None:
        self._call = call
        self.url = url

    def receive(self, limit: int, seen: Callable[[int], object] = bool) -> list[Letter]:
        """Receive up to `limit` letters, which are hidden for a few minutes. `seen` gets their number so far."""
        found: dict[str, Letter] = {}
        while len(found) < limit:
            request = {
                "MaxNumberOfMessages": min(_BATCH, limit - len(found)),
                "VisibilityTimeout": _HIDDEN_SECONDS,
                "WaitTimeSeconds": 1,  # asks every server of SQS, and not some of them
                "MessageSystemAttributeNames": ["All"],
                "MessageAttributeNames": ["All"],
            }
            messages = self._call("ReceiveMessage", self.url, request).get("Messages", [])
            if not messages:
                break
            found.update((message["MessageId"], dead_letter_of(message)) for message in messages)
            seen(len(found))
        return list(found.values())

    def release(self, letters: Sequence[Letter]) -> None:
        """Make letters visible again."""
        for some in _in_tens(letters):
            entries = [
                {"Id": str(number), "ReceiptHandle": one.receipt_handle, "VisibilityTimeout": 0}
                for number, one in enumerate(some)
            ]
            self._call("ChangeMessageVisibilityBatch", self.url, {"Entries": entries})

    def delete(self, letter: Letter) -> None:
        """Delete a letter."""
        self._call("DeleteMessage", self.url, {"ReceiptHandle": letter.receipt_handle})

    def source_url(self) -> str:
        """Return the URL of the queue whose letters these are.

        Raises:
            ConfigurationError: there is none, or more than one.

        """
        urls = self._call("ListDeadLetterSourceQueues", self.url, {}).get("queueUrls", [])
        if len(urls) != 1:
            remedy = "name the queue with --to"
            raise ConfigurationError(f"{len(urls)} queues have this dead-letter queue", source=self.url, remedy=remedy)
        return str(urls[0])

    def send_back(self, letter: Letter, target: str) -> str:
        """Send a letter's message to the queue with the URL `target`, without the reason, then delete the letter."""
        attributes = {
            name: value for name, value in letter.attributes.items() if name in _SENT or not name.startswith(PREFIX)
        }
        request: dict[str, Any] = {"MessageBody": letter.body}
        if attributes:
            request["MessageAttributes"] = attributes
        if letter.group:
            request["MessageGroupId"] = letter.group
        if is_fifo(target):
            request["MessageDeduplicationId"] = str(uuid.uuid4())
            request.setdefault("MessageGroupId", letter.message_id)
        message_id = self._call("SendMessage", target, request)["MessageId"]
        self.delete(letter)
        return str(message_id)


def _in_tens(letters: Sequence[Letter]) -> Iterator[Sequence[Letter]]:
    for start in range(0, len(letters), _BATCH):
        yield letters[start : start + _BATCH]


def dead_letter_of(message: Mapping[str, Any]) -> Letter:
    """Return a message, as ReceiveMessage gives it, as a letter."""
    attributes = message.get("MessageAttributes", {})
    system = message.get("Attributes", {})

    def reason(name: str) -> str | None:
        value: str | None = attributes.get(PREFIX + name, {}).get("StringValue")
        return value

    sent = datetime.fromtimestamp(int(system.get("SentTimestamp", 0)) / 1000, timezone.utc)
    return Letter(
        message_id=reason("message_id") or message["MessageId"],
        task=reason("task") or _task_of(message["Body"]),
        outcome=reason("outcome"),
        error_type=reason("error_type"),
        error_message=reason("error_message"),
        receive_count=reason("receive_count"),
        request_id=reason("request_id"),
        first_failure=reason("first_failure"),
        sent_at=sent.isoformat(timespec="seconds"),
        body=message["Body"],
        attributes=attributes,
        group=system.get("MessageGroupId"),
        receipt_handle=message["ReceiptHandle"],
    )


def _task_of(body: str) -> str | None:
    try:
        name = json.loads(body)["task_name"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return name if isinstance(name, str) else None
