"""The wire format: one JSON object a message, which names the task and has its kwargs."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from lambda_tasks.errors import MalformedMessage
from lambda_tasks.messages.payload import Pointer, pointer_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambda_tasks.messages.sqs_event import Record


MAX_ID_CHARACTERS = 64


class Message(msgspec.Struct, frozen=True):
    """The content of a body: the task's dotted path, its kwargs still as JSON, and how often it was sent again.

    Tasks of a framework may have more: `args` by position, the `id` under which the sender looks the record up, and
    what the sender says of itself, the `origin`; without them these are empty.
    """

    task_name: str
    kwargs: msgspec.Raw = msgspec.Raw(b"{}")
    n_retries: Annotated[int, msgspec.Meta(ge=0)] = 0
    args: msgspec.Raw = msgspec.Raw(b"")
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARACTERS)] | None = None
    origin: msgspec.Raw = msgspec.Raw(b"")


_DECODER = msgspec.json.Decoder(Message)
_ERRORS = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)
_REMEDY = 'send {"task_name": "package.module.task", "kwargs": {}, "n_retries": 0}'


def read(record: Record) -> tuple[Message | Pointer | MalformedMessage, Record]:
    """Return the message in `record` (or the pointer to it, or why it cannot be read), and the record as it was sent.

    For an SNS notification that is the record with the notification's attributes.
    """
    try:
        return _DECODER.decode(record.get("body")), record  # type: ignore[arg-type] # no text is a TypeError
    except _ERRORS:  # few bodies are no message themselves
        from lambda_tasks.messages import sns  # noqa: PLC0415

        body, record = sns.unwrapped(record)
    try:
        return pointer_in(body) or decode(body), record
    except MalformedMessage as error:
        return error, record


def decode(body: object) -> Message:
    """Return the message that `body` is.

    Raises:
        MalformedMessage: it is not a JSON object with a ``task_name``, or has fields of other types.

    """
    if not isinstance(body, (str, bytes)):
        raise MalformedMessage(f"the body is {type(body).__name__}, not text", remedy=_REMEDY)
    try:
        return _DECODER.decode(body)
    except _ERRORS as error:
        raise MalformedMessage(f"the body is malformed: {error}", remedy=_REMEDY) from error


def encode(task_name: str, kwargs: bytes, more: Mapping[str, Any] = MappingProxyType({})) -> str:
    """Return the body of a message that runs `task_name` with `kwargs`, which are a JSON object, and `more` fields."""
    message = {"task_name": task_name, "kwargs": msgspec.Raw(kwargs), "n_retries": 0, **more}
    return msgspec.json.encode(message).decode()
