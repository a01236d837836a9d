"""The store in a database of Django's: the tests of every store, with SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections

from lambda_tasks.django.models import TaskKey, TaskRecord
from lambda_tasks.django.store.messages import OrmState
from lambda_tasks.life_cycle import setup
from lambda_tasks.life_cycle.application import Application
from stores import DAY, Clock

pytest.importorskip("hypothesis")  # the environments of Django 6 lack it, and boto3: other tests use the store there

from hypothesis import settings as of_hypothesis
from hypothesis.stateful import run_state_machine_as_test

from test_state import *  # noqa: F403
from test_state_machine import Interleavings
from test_turns import *  # noqa: F403

# Other tests have run it, and it needs no store.
del test_no_time_holds_more_than_the_rate_and_one_burst  # noqa: F821 - one of the star's


@pytest.fixture(autouse=True, scope="module")
def _no_row_is_left() -> Iterator[None]:
    yield
    for alias in connections:
        for model in (TaskRecord, TaskKey):
            model.objects.using(alias).all().delete()
        connections[alias].close()


@pytest.fixture  # type: ignore[no-redef]
def state(database: str, clock: Clock, request: pytest.FixtureRequest) -> Iterator[OrmState]:
    """The store; in tests with threads as a worker has it, where the connection of each is closed after a call."""
    if any(words in request.node.name for words in ("at_once", "same_time")):
        setup._application = Application(is_worker=True)
    yield OrmState(database, record_ttl_seconds=14 * DAY, clock=clock)
    setup._application = None


def test_no_interleaving_loses_a_message_or_runs_a_success_again(database: str) -> None:
    """Deliver, start, crash, expire and finish in any order, as for the other stores."""

    class OverDatabase(Interleavings):
        def __init__(self) -> None:
            super().__init__()
            self.state = OrmState(database, record_ttl_seconds=14 * DAY, clock=self.clock)

    run_state_machine_as_test(
        OverDatabase, settings=of_hypothesis(max_examples=8, stateful_step_count=30, deadline=None)
    )  # type: ignore[no-untyped-call, unused-ignore]
