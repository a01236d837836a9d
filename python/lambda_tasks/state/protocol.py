"""The protocol of a store of leases and records, and the values that go in and out.

Every method raises a `LambdaTasksError` alone, so that its caller keeps the message: `StateUnavailable` where the
store did not answer, `LeaseLost` where another execution environment has taken the lease meanwhile.

Clocks: leases and times are in epoch seconds of the store's own (injectable) wall clock; every ``deadline`` is a
reading of ``time.monotonic`` after which the call gives up.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import msgspec

from lambda_tasks.errors import LeaseLost
from lambda_tasks.state.steps import Steps
from lambda_tasks.state.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lambda_tasks.state.record import Ending, Status, StoredRecord

LETTER_SECONDS = 15.0  # for sending a dead letter, while nobody else does


def new_owner() -> str:
    """Return a token that no other attempt has: of 128 random bits."""
    return os.urandom(16).hex()


class Attempt(msgspec.Struct, frozen=True):
    """One attempt to run one message, and for how long it may hold the message.

    `lease_seconds` is the longest that the task can run, and a margin; `first_received_at` and `sent_at` (epoch
    seconds) are what SQS says. A message that was sent after its record ended is another one, as a redrive may make it.
    `details` are attributes of the record, of those that `lambda_tasks.state.table` lists. Make a new one for every
    delivery that is to run: `owner` must never be used twice.
    """

    message_id: str
    task: str
    lease_seconds: float
    first_received_at: float | None = None
    sent_at: float | None = None
    owner: str = msgspec.field(default_factory=new_owner)
    details: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"Attempt({self.message_id!r}, {self.task!r})"


class Queued(msgspec.Struct, frozen=True):
    """A message that was sent at `queued_at` (epoch seconds). Its record keeps `request`, JSON of the sender's own."""

    message_id: str
    task: str
    queue: str
    queued_at: float
    replay_of: str = ""
    request: str = ""
    due_at: float = 0.0

    def __repr__(self) -> str:
        return f"Queued({self.message_id!r}, {self.task!r})"


class KeyLease(msgspec.Struct, frozen=True):
    """The claim of one message on a key, so that no other message with that key runs meanwhile.

    The `key` is that of a singleton, or one of the business: a success keeps that for `kept_seconds`, which are None
    for a singleton. Messages of one such key have the same `check`, a hash of what they may not differ in, or none.

    The `owner` is that of the attempt that it is for. `spacing_seconds` is the time between the turns of those that
    wait for a singleton, until it is known how long that takes. `held_since` (epoch seconds) is when the attempt took
    the lease of its message: what that message took before is left behind.
    """

    key: str
    owner: str
    lease_seconds: float
    message_id: str
    spacing_seconds: float = 30.0
    held_since: float = 0.0
    kept_seconds: float | None = None
    check: str = ""


class Started(msgspec.Struct, frozen=True):
    """The answer to an attempt that has the lease now. `attempts` counts those that started, this one included.

    `first_failed_at` (epoch seconds) is when an earlier attempt first ended with an error. `history` has the entries of
    the executions so far, for `Ending.history`, and `steps` what `Steps.keep_step` or `Ending.steps` wrote. `turn_at`
    is what the last ending said.
    """

    attempts: int
    first_failed_at: float | None = None
    history: tuple[str, ...] = ()
    steps: str = ""
    turn_at: float | None = None


class Busy(msgspec.Struct, frozen=True):
    """Another attempt has the lease, `until` (epoch seconds) at the longest.

    `turn_at` (epoch seconds) is the turn of a message that waits for a singleton, behind those that waited before it.
    """

    until: float
    turn_at: float | None = None


class Kept(msgspec.Struct, frozen=True):
    """The message that succeeded with a key, which is kept: its id, its `result` as JSON, and its `check`.

    ``repr`` does not show the result.
    """

    message_id: str
    result: str | None = None
    check: str = ""

    def __repr__(self) -> str:
        return f"Kept({self.message_id!r})"


class AlreadySucceeded(msgspec.Struct, frozen=True):
    """The answer to an attempt after an earlier one succeeded, at `finished_at` (epoch seconds)."""

    finished_at: float


class AlreadyEnded(msgspec.Struct, frozen=True):
    """An earlier attempt failed, was rejected or skipped for good, at `finished_at`: there is nothing left to run.

    `has_letter` tells that its dead letter was sent; else whoever gets this answer is the one to send it. ``repr`` does
    not show the error's text.
    """

    status: Status
    finished_at: float
    has_letter: bool = False
    error_type: str | None = None
    error_message: str | None = None

    def __repr__(self) -> str:
        return f"AlreadyEnded({self.status}, {self.finished_at}, has_letter={self.has_letter}, {self.error_type})"


class Keys(Protocol):
    """A store of the leases of keys. Usable from several threads, and called twice as `State` is."""

    def acquire(self, lease: KeyLease, *, deadline: float) -> Busy | Kept | None:
        """Take the lease of a key and return None. Where another message has it, return until when; or what it kept.

        A lease that the same message left behind, in an execution environment that crashed, is taken over.

        Raises:
            StateUnavailable: the store did not answer. The lease may have been taken.

        """
        ...

    def surrender(
        self, lease: KeyLease, *, seconds: float | None = None, kept: Kept | None = None, deadline: float
    ) -> None:
        """Give the lease of a key back; keep the key where its message succeeded (`kept`).

        `seconds` is how long a singleton's task took, by which turns are spaced.

        Raises:
            LeaseLost: it had expired and was taken over, so that two messages of the key may have run together.
            StateUnavailable: the store did not answer. The lease may still be held until it expires.

        """
        ...


class State(Keys, Steps, Turns, Protocol):
    """A store of leases, turns and records. Usable from several threads.

    An attempt is one `start`, then one of `finish` and `release`. A call that is made twice with one owner counts once,
    so that one whose answer was lost may be sent again.
    """

    def start(self, attempt: Attempt, *, deadline: float) -> Started | Busy | AlreadySucceeded | AlreadyEnded:
        """Take the lease of the attempt's message, unless it ended before or another attempt has the lease.

        A lease that has expired, left by an execution environment that crashed, is taken over.

        Raises:
            StateUnavailable: the store did not answer. The lease may have been taken.

        """
        ...

    def finish(
        self,
        attempt: Attempt,
        ending: Ending,
        *,
        has_run: bool = True,
        sends_letter: bool = False,
        deadline: float,
    ) -> None:
        """Write the final outcome and give the lease back. The message never runs again.

        An attempt whose task was not called (`has_run`) does not count as one. One that `sends_letter` keeps others
        from doing so for `LETTER_SECONDS`, or until it calls `letter`.

        Raises:
            LeaseLost: the lease is no longer this attempt's. Nothing was written.
            StateUnavailable: the store did not answer. The outcome may have been written.

        """
        ...

    def release(self, attempt: Attempt, ending: Ending, *, has_run: bool = True, deadline: float) -> None:
        """Give the lease back without a final outcome: the message may run again.

        Raises:
            LeaseLost: the lease is no longer this attempt's. Nothing was written.
            StateUnavailable: the store did not answer. The lease may still be held until it expires.

        """
        ...

    def letter(self, attempt: Attempt, *, was_sent: bool, deadline: float) -> None:
        """Note whether the message of an attempt that ended lies in the dead-letter queue now.

        Raises:
            StateUnavailable: the store did not answer. It may have been noted.

        """
        ...

    def queued(self, messages: Sequence[Queued], *, deadline: float) -> None:
        """Record messages that were sent, without those that have a record: they were received meanwhile.

        Raises:
            StateUnavailable: the store did not answer. Some may have been recorded.

        """
        ...

    def record(self, message_id: str, *, deadline: float) -> StoredRecord | None:
        """Return the record of a message, or None.

        Raises:
            StateUnavailable: the store did not answer.

        """
        ...

    def records_of_task(self, task: str) -> Iterator[StoredRecord]:
        """Yield the records of a task, the latest received first.

        Raises:
            StateUnavailable: the store did not answer.

        """
        ...

    def records_with_status(self, status: Status) -> Iterator[StoredRecord]:
        """Yield the records with a status, the latest received first.

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


def key_lost(lease: KeyLease) -> LeaseLost:
    """Return the error of a key whose lease another message has taken."""
    of = "singleton" if lease.kept_seconds is None else "key"
    return LeaseLost(
        f"the {of}'s lease expired and another message may have taken it",
        source=f"message {lease.message_id}",
        remedy="shorten the task, or give it an explicit hard_timeout",
    )
