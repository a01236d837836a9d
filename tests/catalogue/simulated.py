"""Tasks for the simulation: each takes the simulated seconds that its message says."""

from __future__ import annotations

import simulation
from lambda_tasks import context, step, steps, task


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


@task(rate_limit="6/m")
def limited(*, number: int, seconds: float = 1) -> int:
    simulation.work(seconds, context.message_id)
    return number


@task(rate_limit="6/m", rate_limit_burst=1)
def spread(*, number: int, seconds: float = 1) -> int:
    simulation.work(seconds, context.message_id)
    return number


@task(rate_limit="2/h", rate_limit_by=("tenant",), rate_limit_burst=1)
def limited_by_tenant(*, number: int, tenant: str, seconds: float = 1) -> str:
    simulation.work(seconds, context.message_id)
    return f"{tenant} {number}"


@task(rate_limit="60/m", rate_limit_burst=4, retry_on=(ConnectionError,))
def limited_and_recovering(*, number: int, seconds: float = 1, failures: int = 1) -> None:
    simulation.work(seconds, context.message_id)
    if simulation.runs_of(context.message_id) <= failures:
        simulation.fail(context.message_id, ConnectionError(f"not yet {number}"))


@task(retry_on=(ConnectionError,), max_retries=50)  # deaths count as attempts, and so does what was not recorded
def stepping(
    *, number: int, pages: int, seconds: float = 60, before: float = 60, fails_at: tuple[int, ...] = ()
) -> int:
    """Have one step, then a loop of pages, and of each page that is among them fail once; then a step again."""
    step("before", simulation.step, "before", before)
    for page in steps(range(pages), name="page"):
        simulation.step(f"page {page}", seconds)
        if page in fails_at and simulation.times(f"page {page}") == 1:
            raise ConnectionError(f"not yet {number}")
    step("after", simulation.step, "after", before)
    return pages


@task(singleton=True)
def stepping_alone(*, number: int, pages: int, seconds: float = 60) -> None:
    for page in steps(range(pages), name="page"):
        simulation.step(f"page {page} of {number}", seconds)


@task
def sequence(*, number: int, seconds: float, parts: int) -> int:  # noqa: ARG001
    """Have steps of so many seconds, one after the other."""
    for one in range(parts):
        step(f"step {one}", simulation.step, f"step {one}", seconds)
    return parts
