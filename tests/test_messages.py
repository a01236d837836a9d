"""What travels with a message: attributes of a notification, beside the record's own; its context; values that stay."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import lambda_tasks
from events import message_body, sqs_record
from lambda_tasks.errors import InvalidContext
from lambda_tasks.messages import context as contexts
from lambda_tasks.messages.attributes import MAX_CONTEXT_BYTES, encoded
from lambda_tasks.messages.payload import POINTER, is_pointer
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


@pytest.mark.parametrize(
    ("sent", "expected"), [("from elsewhere", "from elsewhere"), (5, "id"), ("", "id"), (None, "id")]
)
def test_a_correlation_id_is_a_text_that_is_not_empty(sent: object, expected: str) -> None:
    """A message whose context has none that is usable has its message id for one."""
    record = sqs_record("{}", message_id="id")
    value = json.dumps({"correlation_id": sent})
    record["messageAttributes"] = {"lambda_tasks_context": {"dataType": "String", "stringValue": value}}

    context = contexts.from_record(record, task="t", attempt=1, receive_count=1, remaining_time_ms=lambda: 0)

    assert context.correlation_id == expected


def test_a_context_ends_with_its_block() -> None:
    """What is active within another context's block is so again after it, also where that ends with an error."""
    outer, inner = contexts.Context("outer"), contexts.Context("inner")

    def fail_inside() -> None:
        with contexts.activated(inner):
            assert contexts.current() is inner
            raise ValueError("inside")

    with contexts.activated(outer):
        with pytest.raises(ValueError, match="inside"):
            fail_inside()
        assert contexts.current() is outer


def test_a_context_may_have_as_many_bytes_as_are_said() -> None:
    """The limit itself is allowed, and one byte more is not."""
    most = MAX_CONTEXT_BYTES - len('{"k":""}')

    assert len(encoded({"k": "x" * most}) or "") == MAX_CONTEXT_BYTES
    with pytest.raises(InvalidContext, match=f"has {MAX_CONTEXT_BYTES + 1} bytes"):
        encoded({"k": "x" * (most + 1)})


def test_values_that_are_handed_on_do_not_change() -> None:
    """Every value of the package is frozen: threads and hooks share them. What only decodes a body is none."""
    changing = [struct.__qualname__ for struct in _structs() if not struct.__struct_config__.frozen]

    assert set(changing) <= {"_Notification"}


def _structs() -> Iterator[type[msgspec.Struct]]:
    for room in ("messages", "definition", "dispatch", "limits", "state", "enqueue", "telemetry"):
        package = importlib.import_module(f"{lambda_tasks.__name__}.{room}")
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for value in vars(importlib.import_module(found.name)).values():
                if isinstance(value, type) and issubclass(value, msgspec.Struct) and value.__module__ == found.name:
                    yield value


@pytest.mark.parametrize("space", ["", " ", "\n\t"])
@pytest.mark.parametrize("inner", ["", " "])
def test_white_space_before_a_pointer_does_not_matter(space: str, inner: str) -> None:
    """JSON may begin with white space, and so may a pointer to a payload."""
    text = f'{space}[{inner}"{POINTER}", {{"s3BucketName": "bucket", "s3Key": "key"}}]'

    assert is_pointer(text)
    assert is_pointer(text.encode())
    assert not is_pointer(f'{space}{{"task_name": "{POINTER}"}}')


def test_messages_with_the_same_values_are_of_one_group() -> None:
    """What a batch task's call may join has the same context, in whatever order, and whatever its ids are."""
    acme = contexts.Context("a", values={"tenant": "acme", "user": "u"})

    assert acme.group_key == contexts.Context("b", values={"user": "u", "tenant": "acme"}).group_key
    assert acme.group_key != contexts.Context("a", values={"tenant": "other", "user": "u"}).group_key
    assert contexts.Context("a").group_key == contexts.Context("b").group_key != acme.group_key
