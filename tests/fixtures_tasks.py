"""Fixtures of tests that run the tasks of `catalogue.tasks` in their own process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from catalogue import tasks
from fake_aws import FakeAws

DEAD_LETTERS = "arn:aws:sqs:eu-west-1:123456789012:dead"


@pytest.fixture
def nothing_ran() -> Iterator[None]:
    """Forget what ran before, and what runs in this test."""
    tasks.ran.clear()
    tasks.seen.clear()
    yield
    tasks.ran.clear()


@pytest.fixture
def dead_letters(aws: FakeAws) -> FakeAws:
    """SQS, where the queue of the records has a dead-letter queue, and allows five deliveries."""
    aws.redrive_policies["queue"] = DEAD_LETTERS
    return aws
