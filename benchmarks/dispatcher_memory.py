"""Dispatch 100,000 messages as an execution environment does; print its memory after the first 1,000 and at the end."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from events import Context, message_body, sqs_event, sqs_record
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.dispatch.worker import Worker
from lambda_tasks.settings import Settings

BATCH = 10
EARLY, LATE = 1_000, 100_000


def resident_kib() -> int:
    """Return how much memory this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def main() -> None:
    """Dispatch and print both sizes, in KiB."""
    environ = {**os.environ, "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9"}  # as on Lambda: with limits and a watchdog
    worker = Worker(Settings(concurrency=1), environ)
    logger = logging.getLogger("lambda_tasks")  # every outcome is logged, as on Lambda, to nowhere
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    sizes = []
    for number in range(0, LATE, BATCH):
        if number == EARLY:
            sizes.append(resident_kib())
        bodies = [
            message_body("benchmarks.dispatcher_tasks.nothing", order_id=number + one, currency="EUR")
            for one in range(BATCH)
        ]
        dispatch(sqs_event(*[sqs_record(body) for body in bodies]), Context(), worker)
    print(json.dumps([sizes[0], resident_kib()]))


if __name__ == "__main__":
    main()
