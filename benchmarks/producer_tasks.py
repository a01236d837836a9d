"""The task that the producers' benchmark sends."""

from __future__ import annotations

from lambda_tasks import task


@task
def send_receipt(*, order_id: int, total: str) -> None:
    """Run nowhere: it is only enqueued."""
