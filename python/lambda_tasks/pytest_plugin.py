"""The plugin that pytest finds where this package is installed: the fixture ``task_queue``."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambda_tasks.testing import TaskQueue


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Set Django up before modules of tests import those of tasks, unless pytest-django does it by its own rules."""
    if os.environ.get("DJANGO_SETTINGS_MODULE") and not config.pluginmanager.hasplugin("django"):
        from lambda_tasks.life_cycle import setup  # noqa: PLC0415 - every pytest run imports this module

        with contextlib.suppress(Exception):  # those who use the fixture are told
            setup.set_up(os.environ, is_worker=False)


@pytest.fixture
def task_queue() -> Iterator[TaskQueue]:
    """Record what the test enqueues, in place of sending it, as SQS would take it; ``task_queue.run()`` runs it."""
    from lambda_tasks.testing import TaskQueue  # noqa: PLC0415 - every pytest run imports this module

    with TaskQueue(strict=True, any_queue=True) as queue:
        yield queue
