"""How fast `enqueue_many` is: against a loop of boto3's `send_message`, both to a local server, in turn.

``python -m benchmarks.producers [--messages N] [--rounds N]`` prints the ratio of the medians.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from os import environ
from pathlib import Path

import boto3

from benchmarks.producer_tasks import send_receipt
from lambda_tasks.tasks import message

GOAL = 3.0
SERVER = Path(__file__).with_name("sqs_server.py")


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and return 1 where the goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.producers", description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    with sqs_server() as url:
        settings = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_REGION": "eu-west-1"}
        environ.update(settings, AWS_ENDPOINT_URL=url, LAMBDA_TASKS_QUEUE_URL=f"{url}/123456789012/bench")
        many, loop = [], []
        for _ in range(options.rounds):
            loop.append(rate(send_message_loop, options.messages))
            many.append(rate(enqueue_many, options.messages))
    ratio = statistics.median(many) / statistics.median(loop)
    print(f"enqueue_many: {statistics.median(many):,.0f} messages/s; ", end="")
    print(f"a loop of send_message: {statistics.median(loop):,.0f}; ratio {ratio:.1f} (at least {GOAL:.0f})")
    return 0 if ratio >= GOAL else 1


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


def rate(send: Callable[[int], None], count: int) -> float:
    """Return how many messages a second `send` gets to the server."""
    started = time.perf_counter()
    send(count)
    return count / (time.perf_counter() - started)


def enqueue_many(count: int) -> None:
    """Send through a task, with its kwargs validated."""
    send_receipt.enqueue_many({"order_id": number, "total": "9.90"} for number in range(count)).raise_for_errors()


def send_message_loop(count: int) -> None:
    """Send as one would with boto3 alone: one call a message, with the body encoded beforehand."""
    client = boto3.client("sqs", region_name="eu-west-1")
    body = message.encode(send_receipt, {"order_id": 1, "total": "9.90"})
    for _ in range(count):
        client.send_message(QueueUrl=environ["LAMBDA_TASKS_QUEUE_URL"], MessageBody=body)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
