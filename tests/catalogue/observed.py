"""Tasks that show what is around them."""

from __future__ import annotations

from typing import Any

import lambda_tasks
from lambda_tasks import context, task


@task
def hoard(*, piece_bytes: int) -> None:
    """Take memory until there is none left."""
    pieces: list[bytearray] = []
    while True:
        pieces.append(bytearray(piece_bytes))


@task
def look_around() -> dict[str, Any]:
    return {**context, "correlation_id": context.correlation_id, "attempt": context.attempt, "task": context.task}


@lambda_tasks.on_outcome
def note(report: Any) -> None:
    print(f"noted {report.outcome.value}")  # noqa: T201 - the runtime's standard output is what the test reads
