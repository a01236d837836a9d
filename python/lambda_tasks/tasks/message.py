"""The wire format: one JSON object a message, names the task and its kwargs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from lambda_tasks.errors import MalformedMessage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambda_tasks.tasks.task import Task


class Message(msgspec.Struct, frozen=True):
    """What a body says: the task's dotted path, its kwargs still as JSON, and how often it was sent again."""

    task_name: str
    kwargs: msgspec.Raw = msgspec.Raw(b"{}")
    n_retries: int = 0


_DECODER = msgspec.json.Decoder(Message)
_ERRORS = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)


def decode(body: object) -> Message:
    """Read a body.

    Raises:
        MalformedMessage: it is not a JSON object with a ``task_name``, or has fields of other types.
        PayloadNotFound: it is a pointer to an object in S3 that is not there.
        PayloadUnavailable: S3 did not give that object.

    """
    try:
        return _DECODER.decode(body)  # type: ignore[arg-type] # what is no text is a TypeError
    except _ERRORS as error:
        content = _fetched(body)
        if content is None:
            raise MalformedMessage(f"the body is malformed: {error}", remedy=_REMEDY) from error
    try:
        return _DECODER.decode(content)
    except _ERRORS as error:
        raise MalformedMessage(f"the body is malformed: {error}", remedy=_REMEDY) from error


def _fetched(body: object) -> bytes | None:
    """Return the body that `body` points to, or None where it is no pointer."""
    if not isinstance(body, (str, bytes)):
        raise MalformedMessage(f"the body is {type(body).__name__}, not text", remedy=_REMEDY)
    if body[:1] not in ("[", b"["):  # no message begins so, but a pointer to one does
        return None
    from lambda_tasks.tasks import payload  # noqa: PLC0415 - few functions have large payloads

    return payload.fetched(body) if payload.is_pointer(body) else None


def encode(task: Task[..., Any], kwargs: Mapping[str, Any]) -> str:
    """Return the body of a message that runs `task` with `kwargs`.

    Raises:
        InvalidKwargs: the task would not accept them.

    """
    encoded = msgspec.Raw(task.encode_kwargs(kwargs))
    return msgspec.json.encode({"task_name": task.name, "kwargs": encoded, "n_retries": 0}).decode()


_REMEDY = 'send {"task_name": "package.module.task", "kwargs": {}, "n_retries": 0}'
