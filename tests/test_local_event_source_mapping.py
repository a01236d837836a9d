"""The event source mapping against real queues, with functions that are plain Python."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_tasks.local.mapping.event_source_mapping import Batch, EventSourceMapping, failures, record
from lambda_tasks.local.mapping.filter_criteria import FilterCriteria
from lambda_tasks.local.queue import Queue, redrive_policy
from lambda_tasks.local.runtime.process import Invocation

MakeQueue = Callable[..., Queue]
ANSWER_KEYS = st.sampled_from(["batchItemFailures", "itemIdentifier", "other"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["1", "2"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANSWER_KEYS, inner, max_size=3),
    max_leaves=10,
)


def mapping(queue: Queue, answer: object = None, *, is_error: bool = False, batch_size: int = 10) -> EventSourceMapping:
    return EventSourceMapping(queue, lambda _: Invocation(answer, is_error=is_error), batch_size)


def recording(events: list[Any]) -> Callable[[dict[str, Any]], Invocation]:
    def invoke(event: dict[str, Any]) -> Invocation:
        events.append(event)
        return Invocation(None)

    return invoke


def poll(source: EventSourceMapping) -> Batch:
    batch = source.poll(wait_seconds=10)
    assert batch is not None
    return batch


def ids(batch: Batch) -> list[str]:
    return [message["MessageId"] for message in batch.messages]


def failing(*message_ids: str) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in message_ids]}


def test_record_has_every_field_in_lambdas_spelling(make_queue: MakeQueue) -> None:
    """A message arrives as the record that Lambda would make of it, message attributes included."""
    queue, events = make_queue(), list[Any]()
    attributes = {
        "tenant": {"DataType": "String", "StringValue": "acme"},
        "blob": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}}
    message_id = queue.send("hé", MessageAttributes=attributes, MessageSystemAttributes=trace, MessageGroupId="fair")
    source = EventSourceMapping(queue, recording(events))

    poll(source)

    [[found]] = [event["Records"] for event in events]
    system = found.pop("attributes")
    assert found.pop("receiptHandle")
    assert found.pop("md5OfMessageAttributes")
    assert found == {
        "messageId": message_id,
        "body": "hé",
        "messageAttributes": {
            "tenant": {"stringValue": "acme", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
            "blob": {"binaryValue": "AP8=", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"},
        },
        "md5OfBody": "33fcd01258e6ba07ef405dc9e721f3a7",
        "eventSource": "aws:sqs",
        "eventSourceARN": queue.arn,
        "awsRegion": "eu-west-1",
    }
    assert system.pop("SentTimestamp").isdigit()
    assert system.pop("ApproximateFirstReceiveTimestamp").isdigit()
    assert system.pop("SenderId")
    assert system == {
        "ApproximateReceiveCount": "1",
        "MessageGroupId": "fair",
        "AWSTraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793",
    }


def test_record_of_a_bare_message_has_no_attributes() -> None:
    """Attributes that SQS did not send are empty, and no digest of them is made up."""
    message = {"MessageId": "1", "ReceiptHandle": "r", "Body": "b", "MD5OfBody": "m"}

    found = record(message, "arn:aws-cn:sqs:cn-north-1:123456789012:q")

    assert (found["attributes"], found["messageAttributes"], found["awsRegion"]) == ({}, {}, "cn-north-1")
    assert "md5OfMessageAttributes" not in found


def test_only_reported_messages_stay(make_queue: MakeQueue) -> None:
    """What is not in batchItemFailures is deleted; what is becomes visible again, with its receive count raised."""
    queue = make_queue(VisibilityTimeout="1")
    sent = [queue.send(body) for body in "abc"]

    batch = poll(mapping(queue, failing(sent[1])))

    assert sorted(ids(batch)) == sorted(sent)
    assert batch.failed == {sent[1]}
    again = poll(mapping(queue))
    assert ids(again) == [sent[1]]
    assert again.messages[0]["Attributes"]["ApproximateReceiveCount"] == "2"
    assert queue.depth() == 0


def test_function_error_deletes_nothing(make_queue: MakeQueue) -> None:
    """A function error keeps the whole batch, even where its payload looks like a success."""
    queue = make_queue()
    sent = [queue.send("a"), queue.send("b")]

    batch = poll(mapping(queue, {"batchItemFailures": []}, is_error=True))

    assert batch.failed == set(sent)
    assert queue.depth() == 2


def test_malformed_answer_deletes_nothing(make_queue: MakeQueue) -> None:
    """An id that is not in the batch makes the whole batch fail."""
    queue = make_queue()
    queue.send("a")
    queue.send("b")

    poll(mapping(queue, failing("another")))

    assert queue.depth() == 2


def test_message_is_redriven_after_max_receive_count(make_queue: MakeQueue) -> None:
    """A message that always fails is invoked maxReceiveCount times, then lies in the dead-letter queue."""
    dead_letters = make_queue()
    queue = make_queue(VisibilityTimeout="1", RedrivePolicy=redrive_policy(dead_letters, 2))
    message_id = queue.send("poison")
    source = mapping(queue, failing(message_id))

    batches = [poll(source), poll(source)]
    while queue.depth():
        assert source.poll(wait_seconds=1) is None

    assert [ids(batch) for batch in batches] == [[message_id], [message_id]]
    assert dead_letters.depth() == 1


def test_without_reports_an_answer_deletes_the_batch(make_queue: MakeQueue) -> None:
    """Where the mapping does not read partial batch responses only a function error keeps messages, and all of them."""
    queue = make_queue(VisibilityTimeout="1")
    first = queue.send("a")

    answered = EventSourceMapping(queue, lambda _: Invocation(failing(first)), reports_failures=False)
    assert poll(answered).failed == frozenset()
    assert queue.depth() == 0

    second = queue.send("b")
    raising = EventSourceMapping(queue, lambda _: Invocation(None, is_error=True), reports_failures=False)
    assert poll(raising).failed == {second}
    assert queue.depth() == 1


def test_a_window_gathers_what_comes_within_it(make_queue: MakeQueue) -> None:
    """A batch waits for more until its window has passed, counted from its first message."""
    queue, events = make_queue(), list[Any]()
    queue.send("first")
    later = threading.Timer(0.3, queue.send, ["second"])
    source = EventSourceMapping(queue, recording(events), window_seconds=2)
    started = time.monotonic()

    later.start()
    batch = poll(source)

    assert sorted(message["Body"] for message in batch.messages) == ["first", "second"]
    assert time.monotonic() - started >= 2
    later.join()


def test_a_full_batch_does_not_wait_for_its_window(make_queue: MakeQueue) -> None:
    """A batch that has its size is handed on at once, however long the window is."""
    queue = make_queue()
    for body in "abc":
        queue.send(body)
    source = EventSourceMapping(queue, lambda _: Invocation(None), batch_size=3, window_seconds=300)

    assert len(poll(source).messages) == 3


def test_a_stopped_mapping_hands_nothing_on(make_queue: MakeQueue) -> None:
    """What was received while the session ends is left in the queue."""
    queue, events = make_queue(), list[Any]()
    queue.send("a")

    assert EventSourceMapping(queue, recording(events)).poll(1, is_stopping=lambda: True) is None
    assert (events, queue.depth()) == ([], 1)


def test_what_the_filter_does_not_match_is_deleted(make_queue: MakeQueue) -> None:
    """The function sees matching messages alone; the others are gone, as Lambda deletes them."""
    queue, events = make_queue(), list[Any]()
    for body in ('{"kind": "order", "total": 12}', '{"kind": "order", "total": 3}', '{"kind": "note"}', "no JSON"):
        queue.send(body)
    criteria = FilterCriteria.parse(['{"body": {"kind": ["order"], "total": [{"numeric": [">", 10]}]}}'])

    poll(EventSourceMapping(queue, recording(events), filter_criteria=criteria))

    bodies = [record["body"] for event in events for record in event["Records"]]
    assert bodies == ['{"kind": "order", "total": 12}']
    assert queue.depth() == 0


def test_a_queue_of_what_does_not_match_invokes_nothing(make_queue: MakeQueue) -> None:
    """Where nothing matches the function is not invoked, and the queue is empty."""
    queue, events = make_queue(), list[Any]()
    queue.send("x")
    criteria = FilterCriteria.parse(['{"body": {"a": [1]}}'])

    assert EventSourceMapping(queue, recording(events), filter_criteria=criteria).poll(1) is None
    assert (events, queue.depth()) == ([], 0)


def test_a_message_that_takes_too_long_is_delivered_twice(make_queue: MakeQueue) -> None:
    """Delivery is at least once: when the visibility timeout passes while it is run, another poller gets it too."""
    queue = make_queue(VisibilityTimeout="1")
    message_id = queue.send("slow")
    counts = list[str]()

    def invoke(event: dict[str, Any]) -> Invocation:
        counts.append(event["Records"][0]["attributes"]["ApproximateReceiveCount"])
        if len(counts) == 1:
            assert ids(poll(source)) == [message_id]  # while the first delivery still runs
        return Invocation(None)

    source = EventSourceMapping(queue, invoke)
    poll(source)

    assert counts == ["1", "2"]
    assert queue.depth() == 0


def test_pollers_are_what_limits_concurrency(make_queue: MakeQueue) -> None:
    """With two pollers two batches run at the same time, and never a third."""
    queue = make_queue()
    for number in range(6):
        queue.send(str(number))
    running, most, lock, together = 0, 0, threading.Lock(), threading.Barrier(2, timeout=10)

    def invoke(_: dict[str, Any]) -> Invocation:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait()
        with lock:
            running -= 1
        return Invocation(None)

    source = EventSourceMapping(queue, invoke, batch_size=1)

    def poller() -> None:
        for _ in range(3):
            poll(source)

    threads = [threading.Thread(target=poller) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (most, queue.depth()) == (2, 0)


def test_empty_queue_invokes_nothing(make_queue: MakeQueue) -> None:
    """Where no message comes the function is not invoked."""
    events = list[Any]()
    queue = make_queue()
    source = EventSourceMapping(queue, recording(events))

    assert source.poll(wait_seconds=1) is None
    assert events == []


@pytest.mark.parametrize(("batch_size", "expected"), [(1, 1), (10, 10), (15, 15), (100, 23)])
def test_batch_is_at_most_the_batch_size(make_queue: MakeQueue, batch_size: int, expected: int) -> None:
    """One invocation gets up to the batch size, also above the ten that one call receives; the rest waits."""
    queue = make_queue()
    for number in range(23):
        queue.send(str(number))

    batch = poll(mapping(queue, batch_size=batch_size))

    assert len(set(ids(batch))) == expected
    assert queue.depth() == 23 - expected


def test_fifo_batch_keeps_each_groups_order(make_queue: MakeQueue) -> None:
    """A batch from a FIFO queue may mix groups; each group is in order, with its group, deduplication and sequence."""
    queue = make_queue(FifoQueue="true")
    for number in range(3):
        for group in "ab":
            name = f"{group}{number}"
            queue.send(name, MessageGroupId=group, MessageDeduplicationId=name)

    batch = poll(mapping(queue))

    bodies = [message["Body"] for message in batch.messages]
    assert [body for body in bodies if body[0] == "a"] == ["a0", "a1", "a2"]
    assert [body for body in bodies if body[0] == "b"] == ["b0", "b1", "b2"]
    attributes = record(batch.messages[0], queue.arn)["attributes"]
    assert (attributes["MessageGroupId"], attributes["MessageDeduplicationId"]) == ("a", "a0")
    assert attributes["SequenceNumber"].isdigit()


def test_failed_fifo_message_holds_its_group_back(make_queue: MakeQueue) -> None:
    """While a group's message is in flight after a failure, only other groups are delivered."""
    queue = make_queue(FifoQueue="true", VisibilityTimeout="600")
    first = queue.send("a0", MessageGroupId="a", MessageDeduplicationId="a0")
    poll(mapping(queue, failing(first)))
    queue.send("a1", MessageGroupId="a", MessageDeduplicationId="a1")
    queue.send("b0", MessageGroupId="b", MessageDeduplicationId="b0")

    batch = poll(mapping(queue))

    assert [message["Body"] for message in batch.messages] == ["b0"]
    assert queue.depth() == 2


@pytest.mark.parametrize("answer", [None, {}, {"batchItemFailures": None}, {"batchItemFailures": []}, {"other": 1}])
def test_empty_answer_is_complete_success(answer: object) -> None:
    """No answer, no list and an empty list mean that every message succeeded."""
    assert failures(Invocation(answer), ["1", "2"]) == frozenset()


@pytest.mark.parametrize(
    "answer",
    [
        "done",
        [],
        0,
        {"batchItemFailures": "1"},
        {"batchItemFailures": ["1"]},
        failing("1", "3"),
        failing(""),
        {"batchItemFailures": [{"itemIdentifier": None}]},
        {"batchItemFailures": [{"itemIdentifier": 1}]},
        {"batchItemFailures": [{"messageId": "1"}]},
    ],
)
def test_malformed_answer_is_complete_failure(answer: object) -> None:
    """An answer that AWS could not read, or that names no message of the batch, keeps every message."""
    assert failures(Invocation(answer), ["1", "2"]) == {"1", "2"}


def test_repeated_identifier_counts_once() -> None:
    """A message that is reported twice has failed, and the others have not."""
    assert failures(Invocation(failing("1", "1")), ["1", "2"]) == {"1"}


@given(answer=JSON, is_error=st.booleans())
def test_no_answer_breaks_the_reader(*, answer: object, is_error: bool) -> None:
    """Whatever the function answers, what stays is a part of the batch, and all of it after a function error."""
    failed = failures(Invocation(answer, is_error=is_error), ["1", "2"])

    assert failed <= {"1", "2"}
    assert failed == {"1", "2"} or not is_error


@given(st.sets(st.sampled_from("abcdef")))
def test_what_is_reported_is_what_stays(reported: set[str]) -> None:
    """A well-formed answer keeps exactly the messages that it names."""
    assert failures(Invocation(failing(*reported)), list("abcdef")) == reported


def test_pollers_fill_one_batch_within_the_window(make_queue: MakeQueue) -> None:
    """Two pollers share a window: what comes within it is one batch, and not one for each."""
    queue = make_queue()
    events: list[dict[str, Any]] = []
    source = EventSourceMapping(queue, recording(events), batch_size=4, window_seconds=60)
    with ThreadPoolExecutor(2) as pollers:
        polls = [pollers.submit(source.poll, 3, is_stopping=lambda: bool(events)) for _ in range(2)]
        for number in range(4):
            queue.send(str(number))
        batches = [poll.result() for poll in polls]
    assert [len(batch.messages) for batch in batches if batch] == [4]


def test_what_the_filter_deletes_is_counted(make_queue: MakeQueue) -> None:
    """A listener hears how many messages no pattern matched."""
    queue, counts = make_queue(), list[int]()
    queue.send('{"a": 1}')
    criteria = FilterCriteria.parse(['{"body": {"a": [2]}}'])
    source = EventSourceMapping(queue, recording([]), filter_criteria=criteria, on_filtered=counts.append)
    assert source.poll(1) is None
    assert counts == [1]
