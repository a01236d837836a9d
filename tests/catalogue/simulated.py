"""Tasks for the simulation: each takes the simulated seconds that its message says."""

from __future__ import annotations

import simulation
from lambda_tasks import context, task


@task
def ordinary(*, number: int, seconds: float = 1) -> int:
    simulation.work(seconds, context.message_id)
    return number


@task(singleton=True)
def alone(*, number: int, seconds: float = 60) -> int:
    simulation.work(seconds, context.message_id)
    return number


@task(singleton=True, singleton_busy="skip")
def alone_or_skipped(*, number: int, seconds: float = 60) -> int:
    simulation.work(seconds, context.message_id)
    return number


@task
def failing(*, number: int, seconds: float = 1) -> None:
    simulation.work(seconds, context.message_id)
    simulation.fail(context.message_id, ValueError(f"never {number}"))


@task(retry_on=(ConnectionError,))
def recovering(*, number: int, seconds: float = 1, failures: int = 2) -> None:
    """Fail so many times, then succeed."""
    simulation.work(seconds, context.message_id)
    if simulation.runs_of(context.message_id) <= failures:
        simulation.fail(context.message_id, ConnectionError(f"not yet {number}"))
