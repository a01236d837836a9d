"""Tasks for the units that a table costs: one for each thing that may become of a message."""

from __future__ import annotations

from lambda_tasks import task

down: list[str] = []


@task
def send_receipt(*, order_id: int, total: str) -> dict[str, int]:  # noqa: ARG001
    """Return a result of ordinary size."""
    return {"receipt_id": order_id}


@task(record_kwargs=True)
def send_recorded_receipt(*, order_id: int, total: str, address: str) -> dict[str, int]:  # noqa: ARG001
    """Return the same, with its kwargs in the record."""
    return {"receipt_id": order_id}


@task
def render(*, kilobytes: int) -> str:
    """Return a result of some size."""
    return "x" * kilobytes * 1024


@task(retry_on=(ConnectionError,), retry_delay=0)
def charge_card(*, order_id: int) -> None:  # noqa: ARG001
    """Fail for as long as the other side is down."""
    if down:
        raise ConnectionError(down.pop())


@task(idempotency_key=("order_id",))
def send_once(*, order_id: int, total: str) -> dict[str, int]:  # noqa: ARG001
    """Run once for an order."""
    return {"receipt_id": order_id}


@task(singleton=True)
def count_stock(*, warehouse_id: int) -> None:
    """Run one at a time."""


@task(rate_limit="100/m")
def geocode(*, address_id: int) -> None:
    """Run no more often than the other side allows."""
