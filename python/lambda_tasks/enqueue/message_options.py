"""The options of a task's messages: the keywords of `Task.options` that are no options of the task itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec

from lambda_tasks.errors import InvalidTask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lambda_tasks.definition.options import Seconds

MAX_ID_CHARACTERS = 128  # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
LATEST_EPOCH_SECONDS = 253402300799  # the last second of the year 9999, in UTC
MAX_KEY_CHARACTERS = 1024
_LONGEST_SECONDS = 366 * 86400.0
_ID_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


class MessageOptionValues(TypedDict, total=False):
    """The keywords of `Task.options`: what a producer decides of its messages."""

    queue: str
    """The queue of this message, in place of the task's."""
    delay: Seconds
    """The delay of this message, in place of the task's."""
    group: str | None
    """The message group ID: the order of a FIFO queue, the tenant of a fair queue."""
    deduplication_id: str | None
    """The deduplication ID of a FIFO queue."""
    context: Mapping[str, Any]
    """The values that are added to the context that is bound."""
    at: datetime | None
    """The time, with a time zone, before which the message does not run. Up to 15 minutes away it is a delay. Later,
    and on a FIFO queue, it is a schedule of EventBridge Scheduler that deletes itself."""
    using: str | None
    """The database of Django's whose transaction `enqueue_on_commit` waits for."""
    expires: Seconds | datetime | None
    """The time, or the seconds from its sending, after which the message is skipped where it is delivered."""
    idempotency_key: str | None
    """The message's key, such as the id of a request, in place of what the task makes of its kwargs."""


class MessageOptions(msgspec.Struct, frozen=True):
    """The options of messages, checked. ``repr`` does not show the context."""

    group: str | None = None
    deduplication_id: str | None = None
    context: Mapping[str, Any] = {}
    at: datetime | None = None
    using: str | None = None
    expires: float | datetime | None = None
    idempotency_key: str | None = None

    def __repr__(self) -> str:
        return f"MessageOptions(group={self.group!r}, deduplication_id={self.deduplication_id!r}, at={self.at!r})"

    def with_changes(self, task_name: str, changes: Mapping[str, Any]) -> MessageOptions:
        """Return these options of the messages of `task_name` with `changes`.

        Raises:
            InvalidTask: one has a value that it cannot have.

        """
        try:
            checked = {name: _CHECKS[name](name, value) for name, value in changes.items()}
        except InvalidTask as error:
            raise InvalidTask(error.problem, source=f"task {task_name}", remedy=error.remedy) from None
        return msgspec.structs.replace(self, **checked)


def _identifier(name: str, value: object) -> str | None:
    if value is None:
        return None
    fits = isinstance(value, str) and 0 < len(value) <= MAX_ID_CHARACTERS and value.isascii()
    if not fits or not all(one.isalnum() or one in _ID_PUNCTUATION for one in str(value)):
        remedy = f"use a text of 1 to {MAX_ID_CHARACTERS} ASCII letters, digits and punctuation"
        raise InvalidTask(f"{name} is {value!r}", remedy=remedy)
    return str(value)


def _context(name: str, value: object) -> Mapping[str, Any]:
    from collections.abc import Mapping  # noqa: PLC0415 - above for type checkers alone

    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidTask(
            f"{name} is of type {type(value).__name__}", remedy='use a mapping, such as {"tenant": "acme"}'
        )
    return dict(value)


def _moment(name: str, value: object) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise InvalidTask(f"{name} is {value!r}", remedy="use a datetime with a time zone")
    if value.utcoffset() is None:
        remedy = "give it a time zone, such as datetime(..., tzinfo=timezone.utc)"
        raise InvalidTask(f"{name} is {value.isoformat()}, without a time zone", remedy=remedy)
    if value.timestamp() > LATEST_EPOCH_SECONDS:
        raise InvalidTask(f"{name} is {value.isoformat()}", remedy="use a time before the end of the year 9999 in UTC")
    return value


def _alias(name: str, value: object) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value or None
    raise InvalidTask(f"{name} is {value!r}", remedy="use the alias of a database of Django's, such as 'default'")


def _expiry(name: str, value: object) -> float | datetime | None:
    if value is None or isinstance(value, datetime):
        return _moment(name, value)
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= _LONGEST_SECONDS:
        remedy = "use seconds from 0 to a year, as a number or a timedelta, or a datetime with a time zone"
        raise InvalidTask(f"{name} is {value!r}", remedy=remedy)
    return seconds


def _key(name: str, value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and 0 < len(value) <= MAX_KEY_CHARACTERS and value.isprintable():
        return value
    remedy = f"use a text of 1 to {MAX_KEY_CHARACTERS} printable characters, such as str(uuid)"
    raise InvalidTask(f"{name} is of type {type(value).__name__}, or cannot be sent", remedy=remedy)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "group": _identifier,
    "deduplication_id": _identifier,
    "context": _context,
    "at": _moment,
    "using": _alias,
    "expires": _expiry,
    "idempotency_key": _key,
}
NAMES = frozenset(_CHECKS)
OF_TASKS_TOO = frozenset({"queue", "delay"})
