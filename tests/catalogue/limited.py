"""Tasks with a rate limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lambda_tasks import Item, task

ran: list[Any] = []


@task(rate_limit="2/h")
def call(*, number: int) -> None:
    ran.append(number)


@task(rate_limit="2/h")
async def call_async(*, number: int) -> None:
    ran.append(number)


@task(rate_limit="1/h", rate_limit_by=("tenant",))
def call_for(*, tenant: str = "none", number: int = 0) -> None:
    ran.append((tenant, number))


@dataclass(frozen=True)
class Call:
    """A call, for one tenant."""

    tenant: str
    number: int


@task(batch=True, rate_limit="1/h", rate_limit_by=("tenant",))
def call_together(items: list[Item[Call]]) -> None:
    ran.append([(one.kwargs.tenant, one.kwargs.number) for one in items])


@task(rate_limit="2/s", rate_limit_burst=1)
def call_soon(*, number: int) -> None:
    ran.append(number)


@task(rate_limit="2/h", singleton=True)
def call_alone(*, number: int) -> None:
    ran.append(number)
