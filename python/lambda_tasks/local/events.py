"""What a session tells its listener while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class LogLine:
    """One line of a function's log, or a traceback as one block.

    `record` is the content of a JSON line. `message_id` is the message that was run when it was written, as far as that
    is certain.
    """

    function: str
    text: str
    message_id: str | None = None
    record: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class InitReport:
    """The duration of an execution environment's init phase, exec wrapper included, and the folder of its layers."""

    function: str
    duration_ms: float
    opt: str


@dataclass(frozen=True)
class MessageOutcome:
    """The outcome of one delivery of a message, as the dispatcher gives it. `error` is the error's type and text.

    `attempt` leaves out the deliveries that ran nothing; `receive_count` is SQS's number of this one.
    """

    message_id: str
    outcome: str
    attempt: int
    task: str | None = None
    duration_ms: float = 0.0
    error: str | None = field(default=None, repr=False)
    receive_count: int = 1


@dataclass(frozen=True)
class FunctionFailure:
    """An invocation that failed as a whole, with the messages of its event. `in_init` is true of the init phase."""

    function: str
    error_type: str
    reason: str = field(repr=False)
    message_ids: tuple[str, ...] = ()
    in_init: bool = False


@dataclass(frozen=True)
class Waiting:
    """Messages of a queue that nobody can receive yet, and the seconds until the first of them is visible."""

    queue: str
    count: int
    seconds: float


@dataclass(frozen=True)
class Fired:
    """The firing of a schedule, for the time `at`, in UTC."""

    schedule: str
    at: str


Event = Fired | LogLine | InitReport | MessageOutcome | FunctionFailure | Waiting
Listener = Callable[[Event], None]
