"""Enqueueing, against an SQS server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from catalogue import tasks
from fault_server import answer, serve
from lambda_tasks.errors import EnqueueFailed, InvalidSetting
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.tasks import queue


@pytest.fixture(autouse=True)
def _transport_of_its_own() -> Iterator[None]:
    """Each test has the connections of its own environment."""
    queue.transport.cache_clear()
    yield
    queue.transport().close()


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch, embedded_aws: EmbeddedAws) -> EmbeddedAws:
    """Make this process a producer, as its environment says."""
    for name, value in embedded_aws.environ().items():
        monkeypatch.setenv(name, value)
    return embedded_aws


def test_a_task_becomes_a_message(
    producer: EmbeddedAws, make_queue: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Enqueueing sends the wire format to the default queue and returns the message id."""
    made = make_queue()
    monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL", made.url)
    message_id = tasks.add.enqueue(number=1)
    (received,) = producer.client("sqs").receive_message(QueueUrl=made.url)["Messages"]
    assert received["MessageId"] == message_id
    assert json.loads(received["Body"]) == {"task_name": "catalogue.tasks.add", "kwargs": {"number": 1}, "n_retries": 0}


def test_a_delay_and_another_queue_are_options(
    producer: EmbeddedAws, make_queue: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delayed message is not there yet; a named queue has its own variable."""
    made = make_queue()
    monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL_MAIL", made.url)
    tasks.add.options(delay=60, queue="mail").enqueue(number=1)
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"]
    attributes = producer.client("sqs").get_queue_attributes(QueueUrl=made.url, AttributeNames=names)["Attributes"]
    assert [attributes[name] for name in names] == ["0", "1"]


def test_a_queue_without_url_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the queue's variable nothing is sent, and the error names it."""
    monkeypatch.delenv("LAMBDA_TASKS_QUEUE_URL", raising=False)
    with pytest.raises(InvalidSetting, match=r"'default' has no URL \(variable LAMBDA_TASKS_QUEUE_URL\)"):
        tasks.add.enqueue(number=1)


def test_a_message_that_sqs_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SQS does not take the message the error names the queue and what to check."""
    refusal = json.dumps({"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no such queue"}).encode()
    with serve(answer(refusal, status="400 Bad Request")) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
        monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/123456789012/q")
        with pytest.raises(EnqueueFailed) as caught:
            tasks.add.enqueue(number=1)
        queue.transport().close()
    assert str(caught.value) == (
        f"127.0.0.1:{server.port} answered 400 QueueDoesNotExist "
        "(queue https://sqs.eu-central-1.amazonaws.com/123456789012/q): "
        "check the queue's URL, the role's sqs:SendMessage and the network"
    )
    assert b"/eu-central-1/sqs/aws4_request" in server.heads[0]
