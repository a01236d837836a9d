"""One side of the benchmark of Django's messages, in the environment of its distribution: ``lambda_tasks`` is either.

It makes its tables, and for each number on standard input runs as many batches of ten messages with its own handler; it
prints the seconds, of wall time and of CPU. ``--results`` prints the queries that a result takes.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from typing import Any

BATCH = 10


class Context:
    """The context of an invocation that has time."""

    aws_request_id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
    function_name = "benchmark"

    def get_remaining_time_in_millis(self) -> int:
        return 900_000


def main() -> None:
    """Serve the rounds."""
    import django  # noqa: PLC0415 - the interpreter decides which

    django.setup()
    from django.db import connection  # noqa: PLC0415

    make_tables(connection)
    from lambda_tasks.handler import handler  # noqa: PLC0415

    print(connection.vendor, flush=True)
    for line in sys.stdin:
        events = [batch() for _ in range(int(line))]
        wall, cpu = time.perf_counter(), time.process_time()
        for event in events:
            assert handler(event, Context()) == {"batchItemFailures": []}  # noqa: S101 - the job was done
        print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]), flush=True)


def make_tables(connection: Any) -> None:  # noqa: ANN401 - Django has no types
    """Make the tables. The other side's need PostgreSQL, whose kinds of indexes are left out elsewhere."""
    from django.apps import apps  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415

    if connection.vendor == "postgresql" or not apps.is_installed("lambda_tasks"):
        call_command("migrate", verbosity=0, run_syncdb=True)
        return
    model = apps.get_model("lambda_tasks", "TaskRecord")
    model._meta.indexes = [one for one in model._meta.indexes if type(one).__module__ == "django.db.models.indexes"]
    with connection.schema_editor() as editor:
        editor.create_model(model)


def batch() -> dict[str, Any]:
    """Return an event with ten messages."""
    return {"Records": [record(number) for number in range(BATCH)]}


def record(number: int) -> dict[str, Any]:
    kwargs = {"order_id": number, "currency": "EUR"}
    message = {"task_name": "bench_shop.tasks.nothing", "kwargs": kwargs, "n_retries": 0}
    return {
        "messageId": str(uuid.uuid4()),
        "receiptHandle": "handle",
        "body": json.dumps(message),
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1767225600000"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:tasks",
        "awsRegion": "eu-west-1",
    }


if __name__ == "__main__":
    main()
