"""The speed of `lambda-tasks worker` against a loop of boto3's: tasks that do nothing, and a local server, in turn."""

from __future__ import annotations

import json
import logging
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from os import environ

import boto3

from benchmarks.dispatcher_tasks import nothing
from benchmarks.measure import Figure
from benchmarks.producers import sqs_server
from lambda_tasks.aws import calls
from lambda_tasks.aws.calls import SignedCalls
from lambda_tasks.containers.consumer import Consumer
from lambda_tasks.containers.held import Held
from lambda_tasks.containers.source import Source
from lambda_tasks.containers.worker import HoldingWorker
from lambda_tasks.settings import Settings

MESSAGES = 10_000
ROUNDS = 5


def figures() -> list[Figure]:
    """Measure the consumers' figures: of wall time, and of this process's CPU time."""
    with sqs_server() as url:
        settings = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_REGION": "eu-west-1"}
        environ.update(settings, AWS_ENDPOINT_URL=url)
        queue = f"{url}/123456789012/{nothing.name}"
        logging.getLogger("lambda_tasks").setLevel(logging.WARNING)
        loop, ours = [], []
        for _ in range(ROUNDS):
            loop.append(seconds(boto3_loop, queue))
            ours.append(seconds(worker, queue))
    return [_figure(f"{MESSAGES:,} messages: worker / boto3's loop", kind, ours, loop) for kind in ("wall", "CPU")]


def _figure(name: str, kind: str, ours: Sequence[dict[str, float]], theirs: Sequence[dict[str, float]]) -> Figure:
    ours_s, theirs_s = (statistics.median(one[kind] for one in side) for side in (ours, theirs))
    return Figure(
        f"{name}, {kind}",
        ours_s / theirs_s,
        0.75,
        f"{MESSAGES / ours_s:,.0f} and {MESSAGES / theirs_s:,.0f} messages/s",
    )


def seconds(consume: Callable[[str], None], queue: str) -> dict[str, float]:
    """Return how long `consume` takes for `MESSAGES`, in wall time and in CPU time of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    consume(queue)
    return {"wall": time.perf_counter() - wall, "CPU": time.process_time() - cpu}


class _Counted(Source):
    """A source that ends its consumer after the last deletion."""

    deleted = 0
    count: int
    stop: Callable[[], None]

    def delete(self, handles: Sequence[str]) -> None:
        super().delete(handles)
        self.deleted += len(handles)
        if self.deleted >= self.count:
            self.stop()


def worker(queue: str, count: int = MESSAGES) -> None:
    """Consume so many messages as one process of `lambda-tasks worker` does."""
    source = _Counted(
        SignedCalls(calls.transport(), environ), calls.queue_at(queue), visibility_seconds=60, wait_seconds=20
    )

    def make_worker(held: Held) -> HoldingWorker:
        made = HoldingWorker.of_process(Settings())
        made.held = held
        return made

    consumer = Consumer(source, make_worker, concurrency=1, batch_size=10, grace_seconds=60, end=sys.exit)
    source.stop, source.count = consumer.stop, count
    consumer.run()


def boto3_loop(queue: str) -> None:
    """Consume as one would with boto3 alone: receive ten, call a function with what each body says, delete ten."""
    client = boto3.client("sqs", region_name="eu-west-1")
    deleted = 0
    while deleted < MESSAGES:
        answer = client.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=20, MessageSystemAttributeNames=["All"]
        )
        for message in answer["Messages"]:
            nothing(**json.loads(message["Body"])["kwargs"])
        entries = [
            {"Id": str(number), "ReceiptHandle": one["ReceiptHandle"]} for number, one in enumerate(answer["Messages"])
        ]
        client.delete_message_batch(QueueUrl=queue, Entries=entries)
        deleted += len(entries)
