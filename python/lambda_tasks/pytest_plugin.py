"""The plugin that pytest finds where this package is installed: the fixture ``task_queue``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambda_tasks.testing import TaskQueue


@pytest.fixture
def task_queue() -> Iterator[TaskQueue]:
    """Record what the test enqueues, in place of sending it; ``task_queue.run()`` runs it."""
    from lambda_tasks.testing import TaskQueue  # noqa: PLC0415 - every pytest run imports this module

    with TaskQueue() as queue:
        yield queue
