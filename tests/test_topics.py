"""Publishing to topics of SNS, by boto3 and by our own transport, and reading what comes back from a queue."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import lambda_tasks
from catalogue import tasks
from events import sqs_record
from fault_server import answer, serve
from lambda_tasks.enqueue.topics import InvalidPublication, PublishFailed
from lambda_tasks.errors import InvalidContext, MessageTooLarge
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.mapping.event_source_mapping import record
from lambda_tasks.local.queue import Queue
from lambda_tasks.testing import TaskQueue
from workers import Dispatched, reports, worker

MakeQueue = Callable[..., Queue]
TOPIC = "arn:aws:sns:eu-west-1:123456789012:news"


@pytest.fixture(autouse=True)
def _nothing_ran() -> Iterator[None]:
    tasks.seen.clear()
    yield
    tasks.seen.clear()


def topic_of(aws: EmbeddedAws, queue: Queue, *, raw: bool = False) -> str:
    """Return the ARN of a new topic to which a queue is subscribed."""
    sns, is_fifo = aws.client("sns"), queue.url.endswith(".fifo")
    attributes = {"FifoTopic": "true"} if is_fifo else {}
    arn: str = sns.create_topic(Name=f"t-{uuid.uuid4()}{'.fifo' if is_fifo else ''}", Attributes=attributes)["TopicArn"]
    own = {"RawMessageDelivery": "true"} if raw else {}
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue.arn, Attributes=own)
    return arn


@pytest.mark.parametrize("raw", [False, True])
def test_a_published_message_runs_in_the_context_of_its_publisher(
    producer: EmbeddedAws, make_queue: MakeQueue, *, raw: bool
) -> None:
    """What is bound, what is given, and the correlation id reach the task, by a topic with raw delivery or without."""
    queue = make_queue()
    topic = topic_of(producer, queue, raw=raw)
    body = {"task_name": "catalogue.tasks.note_context", "kwargs": {}}
    with lambda_tasks.context.bind(tenant="acme", correlation_id="c-1"):
        message_id = lambda_tasks.publish(topic, body, {"user": "ü & =\n"})

    assert message_id
    (received,) = queue.receive()
    with reports() as told:
        assert Dispatched(worker(), record(received, queue.arn)).outcomes == ["succeeded"]  # type: ignore[arg-type]
    assert tasks.seen.pop()[2] == {"tenant": "acme", "user": "ü & =\n"}
    assert told[0].correlation_id == "c-1"


def test_a_fifo_topic_has_groups(producer: EmbeddedAws, make_queue: MakeQueue) -> None:
    """A FIFO topic gets a group and a deduplication ID; without a group nothing is sent."""
    queue = make_queue(FifoQueue="true")
    topic = topic_of(producer, queue, raw=True)
    for _ in range(2):
        asyncio.run(lambda_tasks.apublish(topic, "twice", group="g", deduplication_id="d"))
    received = queue.receive()
    assert {(one["Body"], one["Attributes"]["MessageGroupId"]) for one in received} == {("twice", "g")}
    with pytest.raises(InvalidPublication, match=r"needs a group .*: give group="):
        lambda_tasks.publish(topic, "x")


def test_what_sns_refuses_is_said(producer: EmbeddedAws) -> None:
    """A topic that is not there is an error with SNS's code, the topic, and what to check."""
    assert producer.endpoint_url
    with pytest.raises(
        PublishFailed, match=r"404 NotFound.* \(topic arn:aws:sns:eu-west-1:.*:news\): check .*sns:Publish"
    ):
        lambda_tasks.publish(TOPIC, "x")


@pytest.mark.usefixtures("producer")
def test_an_answer_without_an_id_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message of which SNS does not say that it took it was not published."""
    with serve(answer(b"<PublishResponse><PublishResult></PublishResult></PublishResponse>")) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", server.url)
        with pytest.raises(PublishFailed, match="did not say whether"):
            lambda_tasks.publish(TOPIC, "x")


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        (("news", "x"), {}, InvalidPublication, "'news' is not the ARN of a topic"),
        (("arn:aws:sqs:eu-west-1:123456789012:news", "x"), {}, InvalidPublication, "arn:aws:sns:<region>"),
        ((f"{TOPIC}:7f1e", "x"), {}, InvalidPublication, "not the ARN of a topic"),
        ((None, "x"), {}, InvalidPublication, "None is not the ARN"),
        ((TOPIC, ""), {}, InvalidPublication, "the message is empty"),
        ((TOPIC, object()), {}, InvalidPublication, "no form in JSON"),
        ((TOPIC, {"a": float("nan")}), {}, InvalidPublication, "no form in JSON"),
        ((TOPIC, "\ud800"), {}, InvalidPublication, "half a character"),
        ((TOPIC, "x"), {"deduplication_id": "d"}, InvalidPublication, "leave deduplication_id out"),
        ((TOPIC, "x", "acme"), {}, InvalidContext, "of type str: give a mapping"),
        ((TOPIC, "x", {"task": 1}), {}, InvalidContext, "task cannot be bound"),
        ((TOPIC, "ü" * 131072, {"a": 1}), {}, MessageTooLarge, "SNS takes 262144"),
    ],
)
def test_what_no_topic_takes_is_refused_here(
    arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception], words: str
) -> None:
    """A message that no topic could take is an error before any call, which says what and what to do."""
    with pytest.raises(error, match=words.replace("(", r"\(")):
        lambda_tasks.publish(*arguments, **options)


@pytest.mark.usefixtures("calls_of_its_own")
@pytest.mark.parametrize("mode", ["off", "eager", "local"])
def test_other_modes_publish_nothing(
    mode: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without an SNS of its own a mode other than sqs publishes nothing, and says so."""
    monkeypatch.setenv("LAMBDA_TASKS_MODE", mode)
    assert lambda_tasks.publish(TOPIC, "x")
    assert f"nothing is published to {TOPIC}: LAMBDA_TASKS_MODE is not sqs" in caplog.text


def test_local_mode_publishes_to_the_embedded_aws(
    producer: EmbeddedAws, make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the mode local an SNS with an endpoint of its own is published to."""
    monkeypatch.setenv("LAMBDA_TASKS_MODE", "local")
    queue = make_queue()
    lambda_tasks.publish(topic_of(producer, queue), {"number": 1}, subject="News")
    (received,) = queue.receive()
    assert json.loads(json.loads(received["Body"])["Message"]) == {"number": 1}


def test_tests_see_what_was_published() -> None:
    """A TaskQueue keeps what is published within its block, and nothing leaves the process."""
    with TaskQueue() as task_queue:
        lambda_tasks.publish(TOPIC, {"number": 1}, {"tenant": "acme"})
        (found,) = task_queue.published
    assert (found.topic_arn, found.message) == (TOPIC, '{"number":1}')
    assert json.loads(found.attributes["lambda_tasks_context"]["StringValue"]) == {"tenant": "acme"}
    assert sqs_record(found.message)["body"] == found.message
