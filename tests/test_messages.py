"""What travels with a message: attributes of a notification, beside the record's own."""

from __future__ import annotations

import json
from typing import Any

from events import message_body, sqs_record
from lambda_tasks.messages.sns import unwrapped
from lambda_tasks.messages.sqs_event import Record

TOPIC = "arn:aws:sns:eu-west-1:123456789012:topic"


def notification(**attributes: dict[str, str]) -> Record:
    inner = message_body("shop.tasks.add")
    parts = {"Type": "Notification", "MessageId": "n", "TopicArn": TOPIC, "MessageAttributes": attributes}
    return sqs_record(json.dumps({**parts, "Message": inner}))


def attributes_of(record: Record) -> dict[str, Any]:
    return dict(unwrapped(record)[1]["messageAttributes"])


def test_a_notifications_attributes_are_beside_the_records_own() -> None:
    """Both count; of two with one name, the record's own does."""
    record = notification(tenant={"Type": "String", "Value": "acme"}, user={"Type": "String", "Value": "u"})
    record["messageAttributes"] = {"tenant": {"dataType": "String", "stringValue": "own"}}

    assert attributes_of(record) == {
        "tenant": {"dataType": "String", "stringValue": "own"},
        "user": {"dataType": "String", "stringValue": "u"},
    }


def test_a_notification_counts_where_the_record_has_no_attributes() -> None:
    """A record without attributes, as of a queue that was filled by hand, has those of the notification."""
    record = notification(blob={"Type": "Binary", "Value": "AA=="})
    del record["messageAttributes"]

    assert attributes_of(record) == {"blob": {"dataType": "Binary", "binaryValue": "AA=="}}
