"""A child of a worker, from its preparation to its end."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

from lambda_tasks import settings
from lambda_tasks.aws import calls
from lambda_tasks.aws.calls import SignedCalls
from lambda_tasks.containers import preparation, processes
from lambda_tasks.containers.consumer import Consumer
from lambda_tasks.containers.source import MAX_MESSAGES, Source
from lambda_tasks.containers.worker import HoldingWorker
from lambda_tasks.errors import LambdaTasksError
from lambda_tasks.value import Value

if TYPE_CHECKING:
    import socket

    from lambda_tasks.aws.queue_address import QueueAddress
    from lambda_tasks.containers.held import Held


class Consumption(Value):
    """The way in which a process consumes a queue; times are seconds."""

    queue: QueueAddress
    concurrency: int = 1
    batch_size: int = MAX_MESSAGES
    grace_seconds: float = 25.0
    visibility_seconds: int = 60
    wait_seconds: int = 5


def consume(how: Consumption, line: socket.socket) -> int:
    """Consume until the parent at the other end of `line` says so, and return the exit status."""
    try:
        current = preparation.prepare()
    except LambdaTasksError as error:
        sys.stderr.write(f"lambda-tasks: {error}\n")
        return processes.BAD_INPUT
    source = Source(
        SignedCalls(calls.transport(), settings.environ()),
        how.queue,
        visibility_seconds=how.visibility_seconds,
        wait_seconds=how.wait_seconds,
    )
    # Each thread runs one message at a time: the consumer is what has several.
    current = current.replace(concurrency=1)

    def make_worker(held: Held) -> HoldingWorker:
        worker = HoldingWorker.of_process(current)
        assert isinstance(worker, HoldingWorker)  # noqa: S101 - for mypy
        worker.held = held
        return worker

    consumer = Consumer(
        source,
        make_worker,
        concurrency=how.concurrency,
        batch_size=how.batch_size,
        grace_seconds=how.grace_seconds,
        end=_end,
        tick=lambda: processes.beat(line),
    )

    def drain() -> None:
        processes.wait_for_end(line)
        consumer.drain()

    threading.Thread(target=drain, name="lambda-tasks-draining", daemon=True).start()
    consumer.run()
    return 0


def _end(status: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
