"""Tasks for tests of what is around a call."""

from __future__ import annotations

from lambda_tasks import context, task

seen: list[str] = []


@task
def see() -> None:
    seen.append(context.message_id)


@task
async def see_async() -> None:
    seen.append(context.message_id)


@task
def exhaust_memory() -> None:
    raise MemoryError


@task(atomic="orders")
def keep() -> str:
    seen.append("kept")
    return "kept"
