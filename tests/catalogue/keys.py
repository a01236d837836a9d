"""Tasks whose messages have a key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from lambda_tasks import Item, task

ran: list[Any] = []
failures: list[Exception] = []


@dataclass(frozen=True)
class Order:
    """An order, by its id."""

    id: UUID
    lines: tuple[int, ...] = ()


@task(
    idempotency_key=("order_id",),
    idempotency_seconds=timedelta(days=1),
    idempotency_check=("amount",),
    retry_on=(ConnectionError,),
    ignore_errors=(LookupError,),
)
def charge(*, order_id: int | None, amount: Decimal = Decimal(1), note: str = "") -> dict[str, Any]:  # noqa: ARG001
    ran.append(order_id)
    if failures:
        raise failures.pop()
    return {"receipt": f"receipt of {order_id}"}


@task(idempotency_key=("order.id",))
def ship(*, order: Order) -> str:
    ran.append(order.id)
    return str(order.id)


@task(idempotency_key=("order.nothing",))
def ship_wrongly(*, order: Order) -> None:
    ran.append(order.id)


@task(idempotency_key=True)
def notify(*, text: str) -> str:
    ran.append(text)
    return text


@task
def plain(*, text: str) -> str:
    ran.append(text)
    return text


@task(idempotency_key=("order_id",))
async def charge_async(*, order_id: int) -> int:
    ran.append(order_id)
    return order_id


@dataclass(frozen=True)
class Line:
    """The kwargs of one message of `pick`."""

    order_id: int


@task(batch=True, idempotency_key=("order_id",))
def pick(items: list[Item[Line]]) -> None:
    ran.append([item.kwargs.order_id for item in items])
