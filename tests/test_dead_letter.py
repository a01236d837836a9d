"""What a dead letter says, whatever the message and the error were like."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import message_body, sqs_record
from lambda_tasks.dispatch.dead_letter import MAX_ATTRIBUTES, dead_letter
from lambda_tasks.messages.outcome import Outcome, Result
from lambda_tasks.messages.sqs_event import Record
from workers import jobs_of

ORDER = ["error_type", "error_message", "task", "outcome", "receive_count", "request_id", "first_failure", "message_id"]


def letter(
    record: Record, error: BaseException | None = None, *, first: float | None = None, fifo: bool = False
) -> Any:
    result = Result(Outcome.FAILED, "shop.tasks.pay", error or ValueError("no"))
    (job,) = jobs_of(record)
    return dead_letter(job, result, request_id="request", first_failed_at=first, is_fifo=fifo)


def with_attributes(count: int) -> Record:
    record = sqs_record(message_body("shop.tasks.pay"))
    record["messageAttributes"] = {f"own{n}": {"dataType": "String", "stringValue": "x"} for n in range(count)}
    return record


@pytest.mark.parametrize("own", range(11))
def test_the_messages_own_attributes_are_kept_and_the_reason_gives_way(own: int) -> None:
    """SQS takes ten attributes: all of the message's own, and as much of the reason as there is room for."""
    attributes = letter(with_attributes(own))["MessageAttributes"]
    names = [name.removeprefix("lambda_tasks_") for name in attributes]
    assert names == [f"own{n}" for n in range(own)] + ORDER[: MAX_ATTRIBUTES - own]


def test_binary_and_number_attributes_are_sent_as_they_came() -> None:
    """Attributes keep their types; what has no value that could be sent is left out."""
    record = sqs_record("{}")
    attributes: Any = {
        "b": {"dataType": "Binary.gif", "binaryValue": "AA==", "stringListValues": []},
        "n": {"dataType": "Number", "stringValue": "1"},
        "empty": {"dataType": "String"},
        "odd": {"stringValue": "x"},
        "none": None,
    }
    record["messageAttributes"] = attributes
    sent = letter(record)["MessageAttributes"]
    assert sent["b"] == {"DataType": "Binary.gif", "BinaryValue": "AA=="}
    assert sent["n"] == {"DataType": "Number", "StringValue": "1"}
    assert not {"empty", "odd", "none"} & set(sent)


def test_a_dead_letter_that_was_redriven_has_one_reason_and_its_first_failure() -> None:
    """The reason of an earlier dead letter is replaced, but for when the message first failed."""
    record = sqs_record("{}")
    earlier = letter(record, first=0.0 + 1_000_000_000)["MessageAttributes"]
    record["messageAttributes"] = {
        name: {"dataType": value["DataType"], "stringValue": value["StringValue"]} for name, value in earlier.items()
    }
    sent = letter(record, KeyError("later"))["MessageAttributes"]
    assert len(sent) == len(ORDER)
    assert sent["lambda_tasks_error_type"]["StringValue"] == "KeyError"
    assert sent["lambda_tasks_first_failure"]["StringValue"] == "2001-09-09T01:46:40Z"


def test_the_first_failure_is_the_earliest_that_is_known() -> None:
    """That of the record, else the first delivery of a message that was delivered before, else now."""

    def first(record: Record, known: float | None = None) -> str:
        return str(letter(record, first=known)["MessageAttributes"]["lambda_tasks_first_failure"]["StringValue"])

    again = sqs_record("{}", ApproximateReceiveCount="2", ApproximateFirstReceiveTimestamp="1000000000000")
    assert first(again) == "2001-09-09T01:46:40Z"
    assert first(again, known=1_000_000_100) == "2001-09-09T01:48:20Z"
    assert first(sqs_record("{}"))[:4] == time.strftime("%Y", time.gmtime())


def test_a_fifo_queue_gets_group_and_deduplication_id() -> None:
    """The group is the message's own, or itself where the queue has none; a message is a dead letter once."""
    grouped, alone = sqs_record("{}", MessageGroupId="g"), sqs_record("{}")
    assert letter(grouped, fifo=True)["MessageGroupId"] == "g"
    assert letter(alone, fifo=True)["MessageGroupId"] == alone["messageId"]
    assert letter(alone, fifo=True)["MessageDeduplicationId"] == alone["messageId"]


class Unspeakable(Exception):
    """An error whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError


def test_an_error_without_text_is_no_obstacle() -> None:
    """An error whose own code is broken makes a dead letter all the same."""
    sent = letter(sqs_record("{}"), Unspeakable())["MessageAttributes"]
    assert sent["lambda_tasks_error_message"]["StringValue"] == "(its __str__ raised RuntimeError)"
    assert (
        letter(sqs_record("{}"), ValueError())["MessageAttributes"]["lambda_tasks_error_message"]["StringValue"]
        == "(empty)"
    )


@given(st.text(max_size=2000))
def test_any_error_text_becomes_what_sqs_takes(text: str) -> None:
    """Characters that SQS refuses are replaced, and long texts are cut."""
    value = letter(sqs_record("{}"), ValueError(text))["MessageAttributes"]["lambda_tasks_error_message"]["StringValue"]
    assert 1 <= len(value) <= 1024
    assert all(
        ch in "\t\n\r" or 0x20 <= ord(ch) <= 0xD7FF or 0xE000 <= ord(ch) <= 0xFFFD or ord(ch) > 0xFFFF for ch in value
    )
