"""The task of ``lambda-tasks smoke``. It does nothing, so that a message can be followed through a deployed function.

``LAMBDA_TASKS_MODULES`` need not name this module, and there is nothing else in it.
"""

from __future__ import annotations

from lambda_tasks.tasks.task import task


@task(atomic=False, max_retries=0)
def nothing() -> None:
    """Do nothing."""
