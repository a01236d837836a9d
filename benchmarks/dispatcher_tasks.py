"""Tasks that do next to nothing, to measure what is around them."""

from __future__ import annotations

import asyncio

from lambda_tasks import task


@task
def nothing(*, order_id: int, currency: str) -> None:
    """Return."""


@task
async def wait() -> None:
    """Wait, as for an answer."""
    await asyncio.sleep(0.1)
