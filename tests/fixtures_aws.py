"""Fixtures for this machine as Lambda: embedded AWS, once a session, queues in it, and the emulator."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.embedded_aws import embedded_aws as start_embedded_aws
from lambda_tasks.local.queue import Queue, create_queue
from lambda_tasks.local.runtime.emulator import emulator

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def embedded_aws() -> Iterator[EmbeddedAws]:
    """Serve the embedded AWS for the whole session; tests tell their own resources apart by name."""
    with start_embedded_aws() as aws:
        yield aws


@pytest.fixture(scope="session")
def emulator_path() -> Path:
    """Fetch AWS's runtime interface emulator, unless an earlier session did."""
    return emulator(ROOT / "build")


@pytest.fixture
def make_queue(embedded_aws: EmbeddedAws) -> Callable[..., Queue]:
    """Create queues of new names; keywords are their attributes."""
    client = embedded_aws.client("sqs")

    def make(**attributes: str) -> Queue:
        suffix = ".fifo" if attributes.get("FifoQueue") == "true" else ""
        return create_queue(client, f"q-{uuid.uuid4()}{suffix}", **attributes)

    return make
