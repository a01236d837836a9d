"""The job as a task: its secrets are variables, its message is checked against the annotations."""

from __future__ import annotations

import os
from decimal import Decimal

from lambda_tasks import task

VARIABLES = ("KEY_0", *(f"VARIABLE_{number}" for number in range(5)))


@task
def charge(*, order_id: int, amount: Decimal) -> None:
    """Fail where a secret is missing or the message was not converted."""
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    if missing or order_id + amount != Decimal("61.90"):
        raise ValueError(f"missing: {missing}")
