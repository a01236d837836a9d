"""The speed of `enqueue_many` against a loop of boto3's `send_message`, both to a local server, in turn."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from os import environ
from pathlib import Path

import boto3

from benchmarks.measure import Figure
from benchmarks.producer_tasks import send_receipt
from lambda_tasks.messages import body as message

MESSAGES = 10_000
ROUNDS = 5
SERVER = Path(__file__).with_name("sqs_server.py")


def figures() -> list[Figure]:
    """Measure the producers' figures. Records may cost a third of the throughput."""
    with sqs_server() as url:
        settings = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_REGION": "eu-west-1"}
        environ.update(settings, AWS_ENDPOINT_URL=url, LAMBDA_TASKS_QUEUE_URL=f"{url}/123456789012/bench")
        loop, many, recorded = [], [], []
        for _ in range(ROUNDS):
            loop.append(seconds(send_message_loop, MESSAGES))
            many.append(seconds(enqueue_many, MESSAGES))
            environ["LAMBDA_TASKS_TABLE"] = "tasks"
            recorded.append(seconds(enqueue_many, MESSAGES))
            del environ["LAMBDA_TASKS_TABLE"]
    ours, theirs, with_records = (MESSAGES / statistics.median(one) for one in (many, loop, recorded))
    name, records = (
        f"{MESSAGES:,} messages: enqueue_many / send_message loop",
        "the same: with records of them / without",
    )
    return [
        Figure(name, theirs / ours, 1 / 3, f"{ours:,.0f} and {theirs:,.0f} messages/s"),
        Figure(records, ours / with_records, 1.5, f"{with_records:,.0f} and {ours:,.0f} messages/s"),
    ]


@contextlib.contextmanager
def sqs_server() -> Iterator[str]:
    """Run the server as a process of its own."""
    with subprocess.Popen(
        [sys.executable, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None  # noqa: S101 - for mypy
        assert process.stdin is not None  # noqa: S101
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def seconds(send: Callable[[int], None], count: int) -> float:
    """Return how long `send` takes for so many messages."""
    started = time.perf_counter()
    send(count)
    return time.perf_counter() - started


def enqueue_many(count: int) -> None:
    """Send through a task, with its kwargs validated."""
    send_receipt.enqueue_many({"order_id": number, "total": "9.90"} for number in range(count)).raise_for_errors()


def send_message_loop(count: int) -> None:
    """Send as one would with boto3 alone: one call a message, with the body encoded beforehand."""
    client = boto3.client("sqs", region_name="eu-west-1")
    body = message.encode(send_receipt.name, send_receipt.definition.encode_kwargs({"order_id": 1, "total": "9.90"}))
    for _ in range(count):
        client.send_message(QueueUrl=environ["LAMBDA_TASKS_QUEUE_URL"], MessageBody=body)
