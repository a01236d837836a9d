"""The protocol of a store of leases and records, and the values that go in and out.

Every method raises a `LambdaTasksError` alone, so that whoever calls it keeps the message: `StateUnavailable` where the
store did not answer, `LeaseLost` where another execution environment has taken the lease meanwhile.

Clocks: leases and times are in epoch seconds of the store's own (injectable) wall clock; every ``deadline`` is a
reading of ``time.monotonic`` after which the call gives up.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import msgspec

from lambda_tasks.errors import LeaseLost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lambda_tasks.state.record import Ending, Status, StoredRecord


def new_owner() -> str:
    """Return a token that no other attempt has: of 128 random bits."""
    return os.urandom(16).hex()


class Attempt(msgspec.Struct, frozen=True):
    """One attempt to run one message, and for how long it may hold the message.

    `lease_seconds` is the longest that the task can run, and a margin; `first_received_at` (epoch seconds) is what SQS
    says. Make a new one for every delivery that is to run: `owner` must never be used twice.
    """

    message_id: str
    task: str
    lease_seconds: float
    first_received_at: float | None = None
    owner: str = msgspec.field(default_factory=new_owner)


class SingletonLease(msgspec.Struct, frozen=True):
    """A claim that no other message of a singleton task (with the same values of the chosen kwargs) runs meanwhile.

    `key` is that of `Definition.singleton_key`; give it the `owner` of the attempt that it is for.
    """

    key: str
    owner: str
    lease_seconds: float
    message_id: str


class Started(msgspec.Struct, frozen=True):
    """The attempt has the lease. `attempts` counts those that started, this one included.

    `first_failed_at` (epoch seconds) is when an earlier attempt first ended with an error, or None.
    """

    attempts: int
    first_failed_at: float | None = None


class Busy(msgspec.Struct, frozen=True):
    """Another attempt has the lease, `until` (epoch seconds) at the longest."""

    until: float


class AlreadySucceeded(msgspec.Struct, frozen=True):
    """An earlier attempt succeeded, at `finished_at` (epoch seconds): there is nothing left to run."""

    finished_at: float


class State(Protocol):
    """A store of leases and records. Usable from several threads.

    An attempt is one `start`, then one of `finish` and `release`. What is done twice with one owner counts once, so
    that a call whose answer was lost may be sent again.
    """

    def start(self, attempt: Attempt, *, deadline: float) -> Started | Busy | AlreadySucceeded:
        """Take the lease of the attempt's message, unless it succeeded before or another attempt has the lease.

        A lease that has expired, left by an execution environment that crashed, is taken over.

        Raises:
            StateUnavailable: the store did not answer. The lease may have been taken.

        """
        ...

    def finish(self, attempt: Attempt, ending: Ending, *, deadline: float) -> None:
        """Write the final outcome and give the lease back. Only a status ``succeeded`` keeps it from running again.

        Raises:
            LeaseLost: the lease is no longer this attempt's. Nothing was written.
            StateUnavailable: the store did not answer. The outcome may have been written.

        """
        ...

    def release(self, attempt: Attempt, ending: Ending, *, deadline: float) -> None:
        """Give the lease back without a final outcome: retrying, deferred, or failed with the message still queued.

        Raises:
            LeaseLost: the lease is no longer this attempt's. Nothing was written.
            StateUnavailable: the store did not answer. The lease may still be held until it expires.

        """
        ...

    def acquire(self, lease: SingletonLease, *, deadline: float) -> Busy | None:
        """Take the lease of a singleton and return None; where another message has it, return until when.

        Raises:
            StateUnavailable: the store did not answer. The lease may have been taken.

        """
        ...

    def surrender(self, lease: SingletonLease, *, deadline: float) -> None:
        """Give the lease of a singleton back.

        Raises:
            LeaseLost: it had expired and was taken over, so that two messages of the singleton may have run together.
            StateUnavailable: the store did not answer. The lease may still be held until it expires.

        """
        ...

    def record(self, message_id: str, *, deadline: float) -> StoredRecord | None:
        """Return what is known of a message, or None.

        Raises:
            StateUnavailable: the store did not answer.

        """
        ...

    def records_of_task(self, task: str) -> Iterator[StoredRecord]:
        """Yield the records of a task, those of the messages first received last first.

        Raises:
            StateUnavailable: the store did not answer.

        """
        ...

    def records_with_status(self, status: Status) -> Iterator[StoredRecord]:
        """Yield the records with a status, those of the messages first received last first.

        Raises:
            StateUnavailable: the store did not answer.

        """
        ...


def lease_lost(attempt: Attempt) -> LeaseLost:
    """Return the error of an attempt whose lease another one has taken."""
    return LeaseLost(
        "the lease expired and another attempt has taken it: the outcome of this one is not recorded",
        source=f"message {attempt.message_id}",
        remedy="shorten the task, or give it an explicit hard_timeout",
    )


def singleton_lost(lease: SingletonLease) -> LeaseLost:
    """Return the error of a singleton whose lease another message has taken."""
    return LeaseLost(
        "the singleton's lease expired and another message may have taken it",
        source=f"message {lease.message_id}",
        remedy="shorten the task, or give it an explicit hard_timeout",
    )
