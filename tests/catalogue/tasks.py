"""One task for each way that a message can end. `ran` holds the calls, in order."""

from __future__ import annotations

import sys
from typing import NoReturn

from lambda_tasks import task

ran: list[int] = []


@task
def add(*, number: int, addend: int = 1) -> int:
    ran.append(number)
    return number + addend


@task
def fail(*, number: int = 0) -> NoReturn:
    ran.append(number)
    raise ConnectionError("the other side is down")


@task(ignore_errors=(FileNotFoundError,))
def ignore(*, path: str) -> None:
    raise FileNotFoundError(path)


@task
def leave() -> NoReturn:
    sys.exit("a task that ends the process")


@task
def misannotated(*, order: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821
    """A task that no message can fit."""


@task
def note(*, text: str) -> str:
    return text


@task
def chain(*, number: int) -> None:
    """A task that enqueues another one."""
    add.enqueue(number=number)


def undecorated() -> None:
    """Not a task: no message may run it."""
    ran.append(-1)
