"""The details that a record tells of a delivery: where it runs, its context, and its kwargs where that is wanted.

Values that a record must not hold are taken out by the hooks of `redact_record`. A hook that raises leaves nothing.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lambda_tasks.definition.definition import Definition
    from lambda_tasks.messages.context import Context
    from lambda_tasks.messages.sqs_event import Record

MAX_KWARGS_BYTES = 16 * 1024
_CUT = "... (cut: {} bytes)"
_PYTHON = ".".join(map(str, sys.version_info[:3]))

logger = logging.getLogger("lambda_tasks")

Redactor = TypeVar("Redactor", bound="Callable[[str, dict[str, Any]], Mapping[str, Any]]")
_redactors: list[Callable[[str, dict[str, Any]], Mapping[str, Any]]] = []


class Received(Protocol):
    """A message that was received: a job of the dispatcher."""

    record: Record
    sent: Record
    task_name: str | None
    definition: Definition | None
    kwargs: Any

    @property
    def context(self) -> Context:
        """The context that the message carries."""
        ...


def redact_record(function: Redactor) -> Redactor:
    """Have `function` called with what is recorded of each message, and record what it returns. A decorator.

    It gets the task's name and a ``dict`` of names and values, as JSON has them: once for the kwargs, where they are
    recorded, and once for the values of the context. Where it raises, nothing of these is recorded.
    """
    if function not in _redactors:
        _redactors.append(function)
    return function


def details(received: Received, environ: Mapping[str, str], request_id: str, *, records_kwargs: bool) -> dict[str, str]:
    """Return the details of a delivery, by the names of a record's attributes (`lambda_tasks.state.table.DETAILS`)."""
    from lambda_tasks.messages.attributes import REPLAY_OF, own  # noqa: PLC0415 - after the message itself

    arn = received.record.get("eventSourceARN")
    texts = {
        "queue": arn.rpartition(":")[2] if isinstance(arn, str) else "",
        "request_id": request_id,
        "function_version": environ.get("AWS_LAMBDA_FUNCTION_VERSION", ""),
        "log_stream": environ.get("AWS_LAMBDA_LOG_STREAM_NAME", ""),
        "python": _PYTHON,
        "replay_of": own(received.sent, REPLAY_OF) or "",
    }
    texts["context"], *notes = _context(received)
    if received.definition is not None:
        texts |= _kwargs(received.definition, received.kwargs, notes, records_kwargs=records_kwargs)
    return {name: text for name, text in texts.items() if text}


def _context(received: Received) -> list[str]:
    """Return the context's values as JSON, and a note where they are not all."""
    context = received.context
    values = dict(context.values)
    if context.correlation_id != context.message_id:
        values["correlation_id"] = context.correlation_id
    redacted = _redacted(received.task_name or "", values) if values else {}
    text = _as_json(redacted) if redacted else ""
    return [text] if redacted == values else [text, "context redacted"]


def _kwargs(
    definition: Definition,
    kwargs: Any,  # noqa: ANN401
    notes: list[str],
    *,
    records_kwargs: bool,
) -> dict[str, str]:
    """Return the kwargs as JSON, and why they are not all that the task gets."""
    wanted = definition.options.record_kwargs
    wanted = records_kwargs if wanted is None else wanted
    if wanted is False:
        return {}
    from lambda_tasks.definition.values import plain  # noqa: PLC0415 - for functions that record them

    try:
        values: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(definition.by_name(kwargs), enc_hook=plain))
    except Exception as error:  # noqa: BLE001 - a value's own code may raise anything, and the message runs all the same
        return {"kwargs_note": f"without a form in JSON ({type(error).__name__})"}
    if not isinstance(wanted, bool):
        chosen = {name: value for name, value in values.items() if name in wanted}
        notes += ["chosen"] if len(chosen) < len(values) else []
        values = chosen
    redacted = _redacted(definition.name, values)
    if redacted is None:
        return {"kwargs_note": "redaction failed"}
    text = _as_json(redacted)
    notes += ["redacted"] if text != _as_json(values) else []
    encoded = text.encode()
    if len(encoded) > MAX_KWARGS_BYTES:
        mark = _CUT.format(len(encoded))
        text = encoded[: MAX_KWARGS_BYTES - len(mark)].decode("utf-8", "ignore") + mark
        notes.append("cut")
    return {"kwargs": text, "kwargs_note": ", ".join(notes)}


def _redacted(task: str, values: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever a hook makes of it
    """Return what the hooks leave of `values`, or None where one of them failed. `values` stay as they are."""
    encoded = msgspec.json.encode(values) if _redactors else b""
    for redact in _redactors:
        try:
            encoded = msgspec.json.encode(redact(task, msgspec.json.decode(encoded)))
        except Exception as error:  # noqa: BLE001 - of the application's own code
            name = getattr(redact, "__qualname__", type(redact).__qualname__)
            logger.error("the hook %s raised %s, so nothing is recorded of a message", name, type(error).__name__)  # noqa: TRY400 - the text may hold a value
            return None
    return msgspec.json.decode(encoded) if _redactors else values


def _as_json(value: object) -> str:
    return msgspec.json.encode(value).decode()
