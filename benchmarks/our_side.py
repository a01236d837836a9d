"""Our side of the comparison with Celery: ``python -m benchmarks.our_side (send | consume) URL COUNT``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from os import environ

from benchmarks import consumers
from benchmarks.dispatcher_tasks import nothing

WARM_UP = 100


def send(count: int) -> None:
    """Send so many messages, one call each."""
    for number in range(count):
        nothing.enqueue(order_id=number, currency="EUR")


def consume(count: int) -> None:
    """Consume so many messages as one process of `lambda-tasks worker` does."""
    consumers.worker(environ["LAMBDA_TASKS_QUEUE_URL"], count)


ROLES: dict[str, Callable[[int], None]] = {"send": send, "consume": consume}

if __name__ == "__main__":
    _, role, url, messages = sys.argv
    logging.getLogger("lambda_tasks").setLevel(logging.WARNING)
    environ["LAMBDA_TASKS_QUEUE_URL"] = f"{url}/123456789012/{nothing.name}"
    ROLES[role](WARM_UP)
    taken = consumers.seconds(lambda _: ROLES[role](int(messages)), "")
    print(taken["wall"], taken["CPU"])
