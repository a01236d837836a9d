"""Tasks with steps, whose code a test gives, so that each delivery can run another one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from lambda_tasks import Item, task


class Script:
    """The code of the tasks."""

    ordinary: Callable[[], Any]
    asynchronous: Callable[[], Coroutine[Any, Any, Any]]


@task(retry_on=(ConnectionError,), retry_delay=0.001, max_retries=2)
def run(*, value: int = 0) -> Any:  # noqa: ARG001
    return Script.ordinary()


@task(retry_on=(ConnectionError,), retry_delay=0.001)
async def run_async(*, value: int = 0) -> Any:  # noqa: ARG001
    return await Script.asynchronous()


@task(hard_timeout=0.2)
def limited() -> Any:
    return Script.ordinary()


@task(batch=True)
def together(items: list[Item[dict[str, int]]]) -> None:  # noqa: ARG001
    Script.ordinary()


@task
def double(*, value: int) -> int:
    if value < 0:
        raise ConnectionError("not yet")
    return 2 * value


@task
async def triple(*, value: int) -> int:
    return 3 * value
