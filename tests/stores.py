"""Stores of leases and records under test: in memory, and in a table of the embedded AWS, with a clock that tests move."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambda_tasks.aws.credentials import CredentialChain
from lambda_tasks.aws.transport import Transport
from lambda_tasks.state.dynamodb import DynamoDbState
from lambda_tasks.state.table import create_table_request

if TYPE_CHECKING:
    from lambda_tasks.local.embedded_aws import EmbeddedAws

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


@contextlib.contextmanager
def transport(environ: Mapping[str, str]) -> Iterator[Transport]:
    """Reach AWS as `environ` says, without waiting between one try and the next."""
    made = Transport(CredentialChain(environ), environ, sleep=lambda _: None)
    with contextlib.closing(made):
        yield made


def dynamodb_state(transport: Transport, table: str, clock: Clock) -> DynamoDbState:
    """Return a store in `table`, in the embedded AWS's region."""
    where = {"region": "eu-west-1", "partition": "aws"}
    return DynamoDbState(table, transport, **where, record_ttl_seconds=14 * DAY, clock=clock)
