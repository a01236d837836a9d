"""An SQS queue, as what surrounds the function needs it: to create, to fill, to count and to empty."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

RECEIVE_LIMIT = 10  # of one ReceiveMessage, and of one DeleteMessageBatch

Message = Mapping[str, Any]
"""A message as ReceiveMessage returns it: ``MessageId``, ``ReceiptHandle``, ``Body``, ``Attributes``..."""


@dataclass(frozen=True)
class Queue:
    """A queue and the client that reaches it, botocore's for SQS."""

    client: Any
    url: str
    arn: str

    def send(self, body: str, **options: object) -> str:
        """Send a message and return its id; `options` are those of SendMessage."""
        return str(self.client.send_message(QueueUrl=self.url, MessageBody=body, **options)["MessageId"])

    def receive(self, limit: int = RECEIVE_LIMIT, wait_seconds: int = 0) -> list[Message]:
        """Receive up to `limit` messages with all their attributes: what is there now, or else what comes first."""
        messages: list[Message] = []
        while len(messages) < limit:
            answer = self.client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=min(RECEIVE_LIMIT, limit - len(messages)),
                WaitTimeSeconds=0 if messages else wait_seconds,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
            if not answer.get("Messages"):
                break
            messages += answer["Messages"]
        return messages

    def delete(self, messages: list[Message]) -> None:
        """Delete messages. One that SQS refuses to delete is delivered again: delivery is at least once."""
        for start in range(0, len(messages), RECEIVE_LIMIT):
            some = messages[start : start + RECEIVE_LIMIT]
            entries = [{"Id": str(i), "ReceiptHandle": message["ReceiptHandle"]} for i, message in enumerate(some)]
            self.client.delete_message_batch(QueueUrl=self.url, Entries=entries)

    def show(self, message: Message) -> None:
        """End the time for which a received message is hidden. One that is gone meanwhile is left alone."""
        with contextlib.suppress(self.client.exceptions.ClientError):
            self.client.change_message_visibility(
                QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )

    def depth(self) -> int:
        """Count the messages, delayed and in flight included."""
        kinds = ["ApproximateNumberOfMessages" + kind for kind in ("", "NotVisible", "Delayed")]
        answer = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=kinds)
        return sum(int(answer["Attributes"][kind]) for kind in kinds)


def create_queue(client: Any, name: str, **attributes: str) -> Queue:  # noqa: ANN401 - as botocore makes it
    """Create a queue; `attributes` are those of CreateQueue."""
    url = client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return Queue(client, url, answer["Attributes"]["QueueArn"])


def redrive_policy(dead_letters: Queue, max_receive_count: int) -> str:
    """Return the attribute ``RedrivePolicy`` of a queue whose messages end in `dead_letters`."""
    return json.dumps({"deadLetterTargetArn": dead_letters.arn, "maxReceiveCount": max_receive_count})
