"""One hostile record in a batch: any JSON, any attributes. It changes nothing for the others.

`make test` tries 300 events; HOSTILE_EVENTS=5000 tries more.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catalogue import tasks
from events import Context, message_body, sqs_event, sqs_record
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.messages.attributes import ATTRIBUTE
from lambda_tasks.messages.payload import POINTER
from lambda_tasks.settings import Settings
from workers import worker

EVENTS = int(os.environ.get("HOSTILE_EVENTS", "300"))

# Lone surrogates, which JSON can spell and UTF-8 cannot, are the rule here and not the exception.
TEXT = st.text(max_size=8) | st.text(st.characters(categories=("Cs", "Cc", "Lu")), max_size=4)
NUMBERS = (
    st.integers()
    | st.sampled_from([2**63, -(2**63) - 1, 10**400, 1e308, -0.0, float("nan"), float("inf")])
    | st.floats()
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
DEEP = st.integers(1, 100_000).map(lambda depth: "[" * depth + "]" * depth) | st.integers(1, 5000).map(
    lambda depth: '{"a":' * depth + "1" + "}" * depth
)
NAMES = TEXT | st.sampled_from(
    [
        "catalogue.tasks.add", "catalogue.tasks.fail", "catalogue.tasks.leave", "catalogue.broken.task", "catalogue.tasks",
        "catalogue.tasks.index_async", "catalogue.tasks.index", "catalogue.tasks.misannotated", "catalogue.elsewhere.os", "os.system", "..", "a.b.c.d",
    ]
)  # fmt: skip


def dumped(content: Any) -> str:
    """Return JSON as a careless producer writes it, with NaN and lone surrogates."""
    return json.dumps(content, ensure_ascii=len(repr(content)) % 2 == 0)


MESSAGES = st.fixed_dictionaries(
    {}, optional={"task_name": NAMES | JSON, "kwargs": JSON | st.just({"number": 1}), "n_retries": JSON | st.integers()}
)
POINTERS = st.tuples(
    st.sampled_from([POINTER, "com.amazon.sqs.javamessaging.MessageS3Pointer"]),
    JSON | st.fixed_dictionaries({"s3BucketName": st.just("bucket") | JSON, "s3Key": JSON | TEXT}),
).map(list)
NOTIFICATIONS = st.fixed_dictionaries(
    {"Type": st.just("Notification"), "Message": MESSAGES.map(dumped) | JSON, "MessageAttributes": JSON}
)
BODIES = st.one_of(
    JSON, TEXT, DEEP, MESSAGES.map(dumped), POINTERS.map(dumped), NOTIFICATIONS.map(dumped),
    DEEP.map(lambda deep: f'{{"task_name": "catalogue.tasks.add", "kwargs": {{"number": {deep}}}}}'),
)  # fmt: skip
ATTRIBUTE_NAMES = TEXT | st.sampled_from(["tenant", "traceparent", "tracestate", "message_id", ATTRIBUTE])
ATTRIBUTE_VALUES = JSON | st.fixed_dictionaries(
    {"dataType": st.just("String") | JSON, "stringValue": TEXT | JSON.map(dumped) | DEEP | JSON}
)
SYSTEM = ["ApproximateReceiveCount", "SentTimestamp", "MessageGroupId", "SequenceNumber", "AWSTraceHeader", "x"]
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "body": BODIES,
        "attributes": JSON | st.dictionaries(st.sampled_from(SYSTEM), JSON | st.integers().map(str)),
        "messageAttributes": JSON | st.dictionaries(ATTRIBUTE_NAMES, ATTRIBUTE_VALUES, max_size=3),
        "receiptHandle": JSON,
        "eventSourceARN": JSON
        | st.sampled_from(["arn:aws:sqs:\ud800:1:q", "arn:aws:sqs:eu-west-1:1:q.fifo", "arn:aws:sqs:a b/..:1:q"]),
        "eventSource": JSON,
        "awsRegion": JSON,
    },
)


UNWRITABLE = {ATTRIBUTE: {"dataType": "String", "stringValue": '{"correlation_id": "\\ud800"}'}}


class _Writer(logging.Handler):
    """A handler that raises where a line cannot be written, as that of the runtime does."""

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record).encode()


UNWRITABLE = {ATTRIBUTE: {"dataType": "String", "stringValue": '{"correlation_id": "\\ud800"}'}}


@settings(max_examples=EVENTS)
@example({"body": json.dumps([POINTER, {"s3BucketName": "bucket", "s3Key": "\ud800"}])}, 1)
@example({"messageAttributes": UNWRITABLE}, 0)
@example({"body": message_body("catalogue.tasks.index_async"), "messageAttributes": UNWRITABLE}, 0)
@given(RECORDS, st.integers(0, 5))
def test_one_hostile_record_changes_nothing_for_the_others(hostile: dict[str, Any], place: int) -> None:
    """The handler answers, and of the other messages exactly those that fail stay in the queue."""
    tasks.ran.clear()
    tasks.seen.clear()
    good = sqs_record(message_body("catalogue.tasks.add", number=41))
    bad = sqs_record(message_body("catalogue.tasks.fail"))
    waiting = sqs_record(message_body("catalogue.tasks.meet", number=42, of=1))
    together = [sqs_record(message_body("catalogue.tasks.index_async", number=number)) for number in (1, 2)]
    records: list[Any] = [good, bad, waiting, *together]
    records.insert(place, {"messageId": "hostile", "body": message_body("catalogue.tasks.add", number=1), **hostile})
    answer: Any = dispatch(sqs_event(*records), Context(60), WORKER)
    kept = [item["itemIdentifier"] for item in answer["batchItemFailures"]]
    assert [one for one in kept if one != "hostile"] == [bad["messageId"]]
    assert {41, 42} <= {*tasks.ran}
    json.dumps(answer, ensure_ascii=False).encode()


WORKER = worker(Settings(payload_buckets=("bucket",)))


@pytest.fixture(autouse=True)
def _everything_is_logged() -> Iterator[None]:
    handler, logger = _Writer(), logging.getLogger("lambda_tasks")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield
    logger.setLevel(level)
    logger.removeHandler(handler)


@given(st.text(st.characters(categories=["Cs"]), min_size=1))
def test_a_record_that_no_answer_can_name_is_refused(message_id: str) -> None:
    """An id that has no form in UTF-8 is as good as none: nothing is run."""
    tasks.ran.clear()
    event = sqs_event(sqs_record(message_body("catalogue.tasks.add", number=1)), {"messageId": message_id})
    with pytest.raises(ValueError, match="a record has no messageId"):
        dispatch(event, Context(), WORKER)
    assert tasks.ran == []
