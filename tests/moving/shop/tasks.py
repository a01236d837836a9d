"""The tasks of the shop."""

import time

from lambda_tasks.decorators import lambda_task
from lambda_tasks.logging import task_logger
from lambda_tasks.timeouts import SoftTimeLimitExceeded

from .models import Order


@lambda_task
def place(*, name: str, pieces: int = 1) -> int:
    """Place an order."""
    task_logger.info("placing %s", name)
    return int(Order.objects.create(name=f"{pieces} {name}").pk)


@lambda_task(retry_on=(ConnectionError,), retry_delay=2)
def charge(*, name: str) -> None:
    """Charge a card that cannot be reached, and leave no row behind."""
    Order.objects.create(name=name)
    raise ConnectionError(name)


@lambda_task()
def cancel(*, name: str) -> None:
    """Fail, and leave no row behind."""
    Order.objects.create(name=name)
    raise ValueError(name)


@lambda_task(soft_timeout=1, hard_timeout=3)
def count(*, name: str) -> str:
    """Take too long, and clean up."""
    try:
        while True:
            time.sleep(0.01)
    except SoftTimeLimitExceeded:
        Order.objects.create(name=name)
    return "cut short"


@lambda_task(singleton=True, retry_singleton=False)
def take_stock(*, name: str) -> None:
    """Run alone."""
    Order.objects.create(name=name)
