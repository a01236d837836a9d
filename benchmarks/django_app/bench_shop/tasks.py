"""The task of the benchmark, by either distribution's decorator."""

try:
    from lambda_tasks.decorators import lambda_task
except ModuleNotFoundError:
    from lambda_tasks.django import lambda_task

from .models import Order  # noqa: F401 - as tasks do


@lambda_task
def nothing(*, order_id: int, currency: str) -> None:
    """Do nothing."""
