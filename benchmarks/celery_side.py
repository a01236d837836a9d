"""Celery on SQS, as a process of an environment that has it: ``python celery_side.py (send | consume) URL COUNT``.

It prints how many seconds of wall time and of its CPU time it took to send the messages, or to consume them.
"""

from __future__ import annotations

import os
import sys
import time

from celery import Celery, signals

_, ROLE, URL, COUNT = sys.argv if len(sys.argv) == 4 else ("", "body", "http://127.0.0.1:1", "1")
WARM_UP = 100

app = Celery("celery_side")
app.conf.update(
    broker_url="sqs://id:key@",
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "region": "eu-west-1",
        "predefined_queues": {"celery": {"url": f"{URL}/123456789012/celery"}},
        "visibility_timeout": 60,
    },
    task_ignore_result=True,
    worker_prefetch_multiplier=10,  # as many as one call of ReceiveMessage gives
    worker_hijack_root_logger=False,
)
done = 0
since = (0.0, 0.0)


@app.task(name="celery_side.nothing")  # type: ignore[untyped-decorator]
def nothing(*, order_id: int, currency: str) -> None:
    """Return."""


def send(count: int) -> None:
    """Send so many messages."""
    for _ in range(WARM_UP):
        nothing.delay(order_id=1, currency="EUR")
    _begin()
    for number in range(count):
        nothing.delay(order_id=number, currency="EUR")
    _report()


def _begin() -> None:
    global since
    since = time.perf_counter(), time.process_time()


def _report() -> None:
    print(time.perf_counter() - since[0], time.process_time() - since[1], file=sys.__stdout__, flush=True)


@signals.task_postrun.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _count(**_: object) -> None:
    global done
    done += 1
    if done == WARM_UP:
        _begin()
    elif done == WARM_UP + int(COUNT):
        _report()
        os._exit(0)  # a warm shutdown finishes what it has received, of a queue that is never empty


if __name__ == "__main__":
    if ROLE == "send":
        send(int(COUNT))
    else:
        app.worker_main(["worker", "--pool", "solo", "--concurrency", "1", "--loglevel", "ERROR"])
