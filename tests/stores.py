"""Stores of leases and records under test: in memory, and in a table of the embedded AWS, with a clock that tests move."""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from lambda_tasks.aws import credentials
from lambda_tasks.aws.transport import Transport
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.state.dynamodb import DynamoDbState
from lambda_tasks.state.table import create_table_request

DAY = 86400.0


@dataclass
class Clock:
    """Epoch seconds that pass when a test says so."""

    now: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def soon() -> float:
    """Return a deadline that no working store misses."""
    return time.monotonic() + 20


def create_table(aws: EmbeddedAws) -> str:
    """Create a table of a new name and return that."""
    name = f"tasks-{uuid.uuid4()}"
    aws.client("dynamodb").create_table(**create_table_request(name))
    return name


def dynamodb_state(environ: Mapping[str, str], table: str, clock: Clock) -> DynamoDbState:
    """Return a store in `table`, reached as `environ` says."""
    transport = Transport(functools.partial(credentials.from_environ, environ), environ)
    region = environ["AWS_REGION"]
    return DynamoDbState(table, transport, region=region, partition="aws", record_ttl_seconds=14 * DAY, clock=clock)
