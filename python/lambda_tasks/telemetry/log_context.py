"""The ids of a message in every log record that is made while its task runs: by its own loggers, in whichever thread.

In the runtime's JSON they are keys, in its text format the end of the line. A filter of the root logger's handlers adds
them, so that a record that nobody writes costs nothing, and ``extra`` may have keys of the same names.
"""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, Any

from lambda_tasks.messages.context import Context, bearer

if TYPE_CHECKING:
    from collections.abc import Sequence

_NOBODY = Context()
_OUR_OWN = "lambda_tasks"
_RUNTIME = "awslambdaric.bootstrap"


def carry(names: Sequence[str], *, shows_process: bool = False) -> None:
    """Have the handlers that the root logger has now carry the ids, and the context's values with these `names`.

    Where one log has the records of several processes, `shows_process`: each carries the process's id.
    """
    _carrier.names = tuple(names)
    _carrier.shows_process = shows_process
    for handler in logging.root.handlers:
        if _carrier not in handler.filters:
            handler.addFilter(_carrier)
        formatter = handler.formatter
        if type(formatter) is logging.Formatter and type(handler).__module__ == _RUNTIME:
            handler.setFormatter(_TextFormatter(formatter))


class _Carrier(logging.Filter):
    """A filter that lets everything through, with what the context of the running task says."""

    names: tuple[str, ...] = ()
    shows_process = False

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in {**self.of_message(), **self.of_process()}.items():
            record.__dict__.setdefault(name, value)
        return True

    def of_process(self) -> dict[str, Any]:
        """Return what tells the records of several processes apart."""
        return {"process_id": os.getpid()} if self.shows_process else {}

    def of_message(self) -> dict[str, Any]:
        """Return what a record made here carries: nothing outside of a task."""
        one = bearer.get()
        if one is _NOBODY:
            return {}
        token = bearer.set(_NOBODY)  # a message makes its context now, and may log that it is malformed
        try:
            context = one.context
        finally:
            bearer.reset(token)
        if not context.message_id:
            return {}
        carried = {"message_id": context.message_id, "task": context.task, "correlation_id": context.correlation_id}
        for name in self.names:
            if name in context.values:
                carried.setdefault(name, context.values[name])
        return carried


_carrier = _Carrier()


class _TextFormatter(logging.Formatter):
    """The runtime's own formatter, with the ids at the end of the line, ahead of a traceback.

    A line of this package that names its message in words says nothing twice.
    """

    def __init__(self, runtimes: logging.Formatter) -> None:
        super().__init__()
        self.__dict__.update(runtimes.__dict__)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's name
        line = super().formatMessage(record)
        carried = _carrier.of_message()
        if carried and record.name == _OUR_OWN and carried["message_id"] in line:
            carried = {}
        carried.update(_carrier.of_process())
        if not carried:
            return line
        text = line.rstrip("\n")
        return text + "".join(f"\t{name}={_text(value)}" for name, value in carried.items()) + line[len(text) :]


def _text(value: object) -> str:
    """Return a value on one line: a plain word as it is, anything else as JSON."""
    if isinstance(value, str) and value and value.isascii() and value.isprintable() and not {*' "='} & {*value}:
        return value
    return json.dumps(value, default=str)
