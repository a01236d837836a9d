"""Fixtures of the project's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.db import connections

pytest.register_assert_rewrite("test_state", "test_state_machine", "test_turns")


@pytest.fixture(scope="session", autouse=True)
def _tables() -> None:
    for alias in connections:
        call_command("migrate", database=alias, run_syncdb=True, verbosity=0)


@pytest.fixture(autouse=True)
def _nothing_is_left(_tables: None) -> Iterator[None]:
    from django_project.orchard import jobs, tasks  # noqa: PLC0415 - not before Django is set up, after this module
    from django_project.orchard.models import Tree  # noqa: PLC0415
    from workers import close_workers  # noqa: PLC0415

    tasks.seen.clear()
    jobs.seen.clear()
    yield
    close_workers()
    for alias in connections:
        Tree.objects.using(alias).all().delete()
    connections.close_all()


@pytest.fixture(params=[alias for alias in ("default", "postgresql", "mariadb") if alias in connections])
def database(request: pytest.FixtureRequest) -> str:
    """Each database there is for records, by its alias."""
    return str(request.param)
