"""The record that is kept of a message, and the ending that one attempt adds to it."""

from __future__ import annotations

import enum

import msgspec

from lambda_tasks.errors import text_of, traceback_of, type_name_of

MAX_RESULT_BYTES = 64 * 1024  # DynamoDB's items hold 400 KB, and each further KB is another write unit
MAX_ERROR_MESSAGE_BYTES = 2 * 1024
MAX_TRACEBACK_BYTES = 16 * 1024


class Status(str, enum.Enum):
    """The status of a message. `QUEUED` is one that its producer recorded, and that was not received yet."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    RETRYING = "retrying"
    DEFERRED = "deferred"
    FAILED = "failed"
    REJECTED = "rejected"
    SKIPPED = "skipped"

    def __str__(self) -> str:
        return self.value


class Ending(msgspec.Struct, frozen=True):
    """The end of one attempt: its status and, where there are any, result (as JSON) and error, all of bounded size.

    `reason` says why nothing ran, or not to its end; `duplicate_of` is the id of the message that succeeded in its
    place, with the same key. `history` holds the entries of the message's executions as they were when this attempt had
    started. `steps` replaces the text of that name, see `lambda_tasks.state.steps`; None leaves it as it is. `turn_at`
    (epoch seconds) is a turn of a rate limit that the message did not use yet: the next attempt is told of it. ``repr``
    shows neither the result nor the error's text.
    """

    status: Status
    result: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    traceback: str | None = None
    reason: str | None = None
    history: tuple[str, ...] = ()
    duplicate_of: str | None = None
    error_class: str | None = None
    steps: str | None = None
    turn_at: float | None = None

    def __repr__(self) -> str:
        return _shown(self)

    @classmethod
    def of(
        cls,
        status: Status,
        *,
        value: object = None,
        error: BaseException | None = None,
        reason: str = "",
        history: tuple[str, ...] = (),
        duplicate_of: str | None = None,
        turn_at: float | None = None,
    ) -> Ending:
        """Return the ending of an attempt that returned `value`, raised `error`, or did neither.

        A value that JSON cannot hold, or of more than `MAX_RESULT_BYTES`, is not kept; long errors are shortened.
        """
        result = _as_json(value)
        if error is None:
            return cls(
                status,
                result,
                reason=reason or None,
                history=history,
                duplicate_of=duplicate_of,
                turn_at=turn_at,
            )
        return cls(
            status,
            result,
            error_type=type_name_of(error),
            error_message=_bounded(text_of(error), MAX_ERROR_MESSAGE_BYTES),
            traceback=_bounded_from_its_end(traceback_of(error), MAX_TRACEBACK_BYTES),
            reason=reason or None,
            history=history,
            error_class=f"{type(error).__module__}.{type(error).__qualname__}",
            turn_at=turn_at,
        )


class PastAttempt(msgspec.Struct, frozen=True, array_like=True):
    """One execution of a message, with times in epoch seconds and the beginning of its error's text.

    One without an end still runs, or crashed. `outcome` is the status that it ended with. New fields go to the end: the
    order is that of stored arrays. ``repr`` does not show the error's text.
    """

    started_at: float
    request_id: str = ""
    ended_at: float | None = None
    outcome: str | None = None
    error_type: str | None = None
    error_message: str | None = None

    def __repr__(self) -> str:
        return _shown(self)


class StoredRecord(msgspec.Struct, frozen=True):
    """The record of one message, as a store keeps it. Times are in epoch seconds; `result` is JSON.

    `task` is empty where the message names none. `attempts` counts the executions that started, `history` has the last
    ten, the oldest first; `finished_at` is when the last one ended, and `result`, `reason` and the error are what it
    ended with. `queued_at` is when the producer sent it, where producers record that.

    `kwargs` and `context` are JSON, of bounded size; `kwargs_note` says why the kwargs are not all that the task got.
    `request_id`, `function_version`, `log_stream` and `python` are those of the last execution. `replay_of` is the id
    of the message that this one repeats, `duplicate_of` that of the one that succeeded in its place, with the same key:
    `result` is its result. `part_of` is the id of the message that has this task for a step, and `steps` is how far a
    message's own steps have come, see `lambda_tasks.state.steps`. `request` is JSON of the sender's own, such as
    Django's. ``repr`` shows no content and no error's text.
    """

    message_id: str
    task: str
    status: Status
    attempts: int
    first_received_at: float
    started_at: float
    finished_at: float | None = None
    first_failed_at: float | None = None
    result: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    traceback: str | None = None
    reason: str | None = None
    queue: str | None = None
    request_id: str | None = None
    function_version: str | None = None
    log_stream: str | None = None
    python: str | None = None
    context: str | None = None
    kwargs: str | None = None
    kwargs_note: str | None = None
    queued_at: float | None = None
    replay_of: str | None = None
    duplicate_of: str | None = None
    history: tuple[PastAttempt, ...] = ()
    error_class: str | None = None
    request: str | None = None
    part_of: str | None = None
    steps: str | None = None

    def __repr__(self) -> str:
        return _shown(self)

    @property
    def has_ended(self) -> bool:
        """Whether no further attempt is to be expected."""
        return self.status in _ENDED

    @property
    def listed_at(self) -> float:
        """The time by which records are listed, in epoch seconds: that of sending where it is known, else receipt."""
        return self.first_received_at if self.queued_at is None else self.queued_at


_ENDED = frozenset({Status.SUCCEEDED, Status.FAILED, Status.REJECTED, Status.SKIPPED})
_PRIVATE = frozenset({"result", "error_message", "traceback", "history", "context", "kwargs", "request", "steps"})


def shortened(text: str | None, max_bytes: int) -> str | None:
    """Return the beginning of `text` of at most `max_bytes`, with a mark where it was cut."""
    if text is None or len(text.encode("utf-8", "replace")) <= max_bytes:
        return text
    return _bounded(text, max_bytes - len(_CUT)) + _CUT.decode()


_CUT = "…".encode()


def _shown(of: Ending | PastAttempt | StoredRecord) -> str:
    """Return the repr of a record or a part of it, without the fields that may hold private data."""
    fields = [name for name in of.__struct_fields__ if name not in _PRIVATE]
    return f"{type(of).__name__}({', '.join(f'{name}={getattr(of, name)!r}' for name in fields)})"


def _as_json(value: object) -> str | None:
    if value is None:
        return None
    try:
        encoded = msgspec.json.encode(value, enc_hook=_plain)
    except Exception:  # noqa: BLE001 - a result that cannot be kept must not fail the task that returned it
        return None
    return encoded.decode() if len(encoded) <= MAX_RESULT_BYTES else None


def _plain(value: object) -> str:
    """Return a text of a type of its own, such as the id that ``enqueue`` returns, as a text: an ``enc_hook``."""
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")


def _bounded(text: str, max_bytes: int) -> str:
    return text.encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")


def _bounded_from_its_end(text: str, max_bytes: int) -> str:
    return text.encode("utf-8", "replace")[-max_bytes:].decode("utf-8", "ignore")
