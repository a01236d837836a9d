"""Payloads that are too large for SQS, in the extended client's format: sent, received, gone, and out of reach."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogue import tasks
from lambda_tasks import settings
from lambda_tasks.dispatch.delivery import deliver
from lambda_tasks.dispatch.dispatcher import process_here
from lambda_tasks.dispatch.job import Job
from lambda_tasks.dispatch.worker import Worker
from lambda_tasks.errors import (
    EnqueueFailed,
    MalformedMessage,
    MessageTooLarge,
    PayloadNotFound,
    PayloadUnavailable,
)
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.queue import Queue
from lambda_tasks.messages import body as message
from lambda_tasks.messages import payload
from lambda_tasks.messages.payload import MAX_MESSAGE_BYTES
from lambda_tasks.messages.sqs_event import Record
from lambda_tasks.testing import sqs_record
from workers import invocation_of

LARGE = "x" * (MAX_MESSAGE_BYTES + 1)


@pytest.fixture
def bucket(producer: EmbeddedAws, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket for payloads, as the setting names it."""
    name = f"payloads.{uuid.uuid4()}"
    client = producer.client("s3")
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": producer.region})
    monkeypatch.setenv("LAMBDA_TASKS_PAYLOAD_BUCKET", name)
    return name


def pointer(bucket: str, key: str, name: str = payload.POINTER) -> str:
    return json.dumps([name, {"s3BucketName": bucket, "s3Key": key}])


def delivered(body: str) -> Job:
    """Return the job that a message becomes, or raise why there is none."""
    ((job,),) = deliver(invocation_of(Worker.of_process(settings.current()), sqs_record(body)))
    if job.result is not None and job.result.error is not None:
        raise job.result.error
    return job


def test_a_large_message_goes_through_s3(default_queue: Queue, bucket: str, producer: EmbeddedAws) -> None:
    """The body is an object, the message is the extended client's pointer to it with its size, and decoding resolves it."""
    tasks.note.enqueue(text=LARGE)

    (received,) = default_queue.receive()
    name, place = json.loads(received["Body"])
    assert name == "software.amazon.payloadoffloading.PayloadS3Pointer"
    assert place["s3BucketName"] == bucket
    body = producer.client("s3").get_object(Bucket=bucket, Key=place["s3Key"])["Body"].read()
    size = received["MessageAttributes"]["ExtendedPayloadSize"]
    assert (size["DataType"], int(size["StringValue"])) == ("Number", len(body))
    assert delivered(received["Body"]).kwargs == {"text": LARGE}


def test_large_and_small_messages_go_together(default_queue: Queue, bucket: str) -> None:
    """Of many messages only the large ones take the way through S3."""
    assert bucket
    tasks.note.enqueue_many([{"text": "small"}, {"text": LARGE}, {"text": "small"}])
    found = [payload.is_pointer(received["Body"]) for received in default_queue.receive()]
    assert sorted(found) == [False, False, True]


def test_a_message_of_just_the_limit_stays_one(default_queue: Queue, bucket: str) -> None:
    """SQS takes 1 MiB: body and message attributes together."""
    assert bucket
    overhead = len(message.encode(tasks.note.name, tasks.note.definition.encode_kwargs({"text": ""})))
    tasks.note.enqueue(text="x" * (MAX_MESSAGE_BYTES - overhead))
    tasks.note.options(context={"a": 1}).enqueue(text="x" * (MAX_MESSAGE_BYTES - overhead))
    found = sorted(payload.is_pointer(received["Body"]) for received in default_queue.receive())
    assert found == [False, True]


@pytest.mark.usefixtures("default_queue")
def test_without_a_bucket_the_error_gives_the_size() -> None:
    """If payloads have nowhere to go the error says how large the message is, and what to do."""
    with pytest.raises(MessageTooLarge) as caught:
        tasks.note.enqueue(text=LARGE)
    assert str(caught.value) == (
        "the message has 1,048,648 bytes, and 1,048,576 is the most "
        "(variable LAMBDA_TASKS_PAYLOAD_BUCKET, task catalogue.tasks.note): "
        "set it to a bucket for larger ones, or pass a reference in place of the content"
    )


@pytest.mark.usefixtures("default_queue")
def test_a_bucket_that_takes_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """If S3 refuses the payload no message is sent."""
    monkeypatch.setenv("LAMBDA_TASKS_PAYLOAD_BUCKET", "no-such-bucket")
    with pytest.raises(EnqueueFailed, match=r"NoSuchBucket .*check the bucket's name, the role's s3:PutObject"):
        tasks.note.enqueue(text=LARGE)


@pytest.mark.parametrize("name", [payload.POINTER, "com.amazon.sqs.javamessaging.MessageS3Pointer"])
@pytest.mark.parametrize("key", ["plain", "folder/a b+c%2F~é"])
def test_pointers_of_other_producers_are_resolved(producer: EmbeddedAws, bucket: str, name: str, key: str) -> None:
    """The object is found by any key of another producer, and by the name that older ones give the pointer."""
    body = message.encode(tasks.note.name, tasks.note.definition.encode_kwargs({"text": "hello"}))
    producer.client("s3").put_object(Bucket=bucket, Key=key, Body=body)
    assert delivered(pointer(bucket, key, name)).kwargs == {"text": "hello"}


def test_a_pointer_to_a_pointer_is_malformed(producer: EmbeddedAws, bucket: str) -> None:
    """The object in S3 is the message: a pointer that points to itself is not followed round and round."""
    body = pointer(bucket, "itself")
    producer.client("s3").put_object(Bucket=bucket, Key="itself", Body=body)
    with pytest.raises(MalformedMessage, match="the body is malformed"):
        delivered(body)


def test_a_message_whose_payload_is_gone_is_rejected(bucket: str) -> None:
    """An object that is not there will not be there at the next delivery either."""
    body = pointer(bucket, "gone")
    with pytest.raises(PayloadNotFound, match=f"the payload is gone \\(object s3://{bucket}/gone\\)"):
        delivered(body)
    assert process_here(sqs_record(body), settings.current()).outcome.value == "rejected"


@pytest.mark.usefixtures("calls_of_its_own")
def test_a_message_whose_payload_is_out_of_reach_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where S3 does not give the payload the message is tried again: nothing says that it is bad."""
    monkeypatch.setenv("LAMBDA_TASKS_PAYLOAD_BUCKET", "bucket")
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    body = pointer("bucket", "key")
    with pytest.raises(PayloadUnavailable):
        delivered(body)
    from_nowhere: Record = {**sqs_record(body), "eventSourceARN": ""}
    assert process_here(from_nowhere, settings.current()).outcome.value == "retrying"


PLACES: list[Any] = [
    None, [], {}, {"s3BucketName": "bucket"}, {"s3BucketName": 1, "s3Key": "k"}, {"s3BucketName": "a/../b", "s3Key": "k"},
    {"s3BucketName": "bucket", "s3Key": ""}, {"s3BucketName": "bucket", "s3Key": 1},
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_pointers_that_name_no_object_are_malformed(place: object) -> None:
    """A pointer that leads nowhere is malformed, as any other body that is none."""
    with pytest.raises(MalformedMessage):
        delivered(json.dumps([payload.POINTER, place]))


@given(st.text() | st.binary())
def test_other_bodies_are_no_pointers(body: str | bytes) -> None:
    """Nothing but the extended client's own beginning makes the decoder ask S3."""
    assert not payload.is_pointer(body)
    assert payload.is_pointer(pointer("bucket", "key").encode())
