"""End a copy of this process that a task's ``os.fork`` makes, where the task returns or raises in it.

Otherwise the copy would go on as this process does, and run the rest of the batch a second time. Processes of
`multiprocessing` and `subprocess` never get that far: they end by themselves.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

number = 0  # of forks between the process that imported this module and this one


def run(function: Callable[[], T]) -> T:
    """Return what `function` returns, in this process. Every copy that it makes of it ends where `function` does."""
    before = number
    try:
        value = function()
    except BaseException as error:
        end_if_copied(before, error)
        raise
    end_if_copied(before)
    return value


def end_if_copied(before: int, error: BaseException | None = None) -> None:
    """End this process, as for `error`, if it is a copy of the one in which `number` was `before`."""
    if number != before:
        end(error)


def end(error: BaseException | None = None) -> NoReturn:
    """End this process as Python would for `error`, but without what is to be done at the end of the original."""
    status = 1
    try:
        if error is None:
            status = 0
        elif isinstance(error, SystemExit):
            status = _status_of(error)
        else:
            sys.excepthook(type(error), error, error.__traceback__)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _status_of(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    sys.stderr.write(f"{error.code}\n")
    return 1


def _count() -> None:
    global number
    number += 1


os.register_at_fork(after_in_child=_count)
