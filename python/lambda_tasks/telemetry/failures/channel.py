"""The way of events out of the function: ten a call to a topic of SNS, or to an event bus of EventBridge."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from lambda_tasks.aws.transport import CallFailed
from lambda_tasks.telemetry.failures import event as events

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lambda_tasks.aws.transport import Transport
    from lambda_tasks.telemetry.failures.event import Event

SOURCE = "lambda-tasks"
_MOST_OF_A_CALL = 10
# Of 256 KiB, with room for what is around them.
# https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html
_MAX_BYTES = 240 * 1024


def send(arn: str, some: Sequence[Event], transport: Transport, deadline: float) -> None:
    """Send events to the topic or the event bus with this ARN, in its own region.

    Raises:
        CallFailed: it did not take all of them, or it is not known whether it did.

    """
    _, partition, service, region, *_ = arn.split(":")
    where: Any = {"region": region, "partition": partition, "deadline": deadline}
    for batch in _batches(some):
        if service == "sns":
            form = urlencode(_form(arn, batch)).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
            answer = transport.send("sns", "POST", "/", form, headers=headers, **where)
            refused = answer.partition(b"<Failed>")[2].partition(b"</Failed>")[0].count(b"<member>")
        else:
            request = {"Entries": [_entry(arn, event, text) for event, text in batch]}
            answer_of_bus = transport.call("events", "PutEvents", request, **where)
            refused = int(answer_of_bus.get("FailedEntryCount") or 0)
        if refused:
            raise CallFailed(f"{service} refused {refused} of {len(batch)} events")


def _batches(some: Sequence[Event]) -> Iterator[list[tuple[Event, str]]]:
    batch: list[tuple[Event, str]] = []
    left = _MAX_BYTES
    for event in some:
        text = json.dumps(event, separators=(",", ":"))
        if batch and (len(batch) == _MOST_OF_A_CALL or len(text) > left):
            yield batch
            batch, left = [], _MAX_BYTES
        batch.append((event, text))
        left -= len(text)
    if batch:
        yield batch


def _form(arn: str, batch: Sequence[tuple[Event, str]]) -> dict[str, str]:
    """Return the fields of ``PublishBatch``, whose lists and objects are numbered and dotted names."""
    form = {"Action": "PublishBatch", "Version": "2010-03-31", "TopicArn": arn}
    for number, (event, text) in enumerate(batch, 1):
        fields = {"Id": str(number), "Message": text, "Subject": events.subject(event)}
        if arn.endswith(".fifo"):
            fields |= {"MessageGroupId": SOURCE, "MessageDeduplicationId": os.urandom(16).hex()}
        form |= {f"PublishBatchRequestEntries.member.{number}.{name}": value for name, value in fields.items()}
    return form


def _entry(arn: str, event: Event, text: str) -> dict[str, str]:
    detail_type = "Messages Failed" if event["type"] == events.MANY else "Message Failed"
    return {"EventBusName": arn, "Source": SOURCE, "DetailType": detail_type, "Detail": text}
