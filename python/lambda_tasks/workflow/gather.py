"""`gather`: several steps at a time, in threads or in the event loop."""

from __future__ import annotations

import asyncio
import inspect
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from lambda_tasks.messages.outcome import PutOff
from lambda_tasks.workflow import origin
from lambda_tasks.workflow.errors import InvalidStep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lambda_tasks.workflow.run import Run

_MOST_THREADS = 10
_GLANCE_SECONDS = 0.1  # so that a limit of the task's arrives while it waits for its threads


def gather(*parts: object) -> Any:  # noqa: ANN401 - a list, or what it is awaited from
    """Run several steps at a time, and return their results in a list.

    Each of `parts` is what ``step`` returns for an async function, or a function without parameters that calls
    ``step``, such as a ``functools.partial`` of it. Functions run in up to ten threads. Where one of the parts is to be
    awaited, so is the result. Anything else is a result already.

    All parts come to their end. Then the error of the first one that raised is raised.
    """
    if any(inspect.isawaitable(one) for one in parts):
        return _gather_async(parts)
    outcomes = _in_threads([_called(one) for one in parts], origin.current())
    return [one.result() for one in _gravest_first(outcomes)]


class _Outcome:
    """What one of several parts came to."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._value: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:  # noqa: BLE001 - raised where the parts come together
            self.error = error

    def result(self) -> Any:  # noqa: ANN401
        if self.error is not None:
            raise self.error
        return self._value


def _called(part: Any) -> _Outcome:  # noqa: ANN401
    return _Outcome(part if callable(part) else lambda: part)


def _gravest_first(outcomes: Sequence[_Outcome]) -> Sequence[_Outcome]:
    """Return the outcomes as they are, unless one is to be raised: what is put off, or else the first error."""
    put_off = [one for one in outcomes if isinstance(one.error, PutOff)]
    return put_off[:1] or [one for one in outcomes if one.error is not None][:1] or outcomes


def _in_threads(outcomes: list[_Outcome], run: Run | None) -> list[_Outcome]:
    """Run parts in threads of their own, each in a copy of the context; return when all have come to their end."""
    waiting, left = list(reversed(outcomes)), len(outcomes)
    changed = threading.Condition()

    def work() -> None:
        nonlocal left
        try:
            while True:
                with changed:
                    if not waiting:
                        return
                    one = waiting.pop()
                copy_context().run(one.run)
                with changed:
                    left -= 1
                    changed.notify_all()
        finally:
            if run is not None:
                run.close_connections()

    for _ in range(min(len(outcomes), _MOST_THREADS)):
        thread = threading.Thread(target=copy_context().run, args=(work,), name="lambda-tasks-gather", daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            with changed:
                if left == len(waiting):  # no thread has begun
                    raise InvalidStep("no thread can be started", remedy="give the function more memory") from error
            break
    try:
        with changed:
            while left:
                changed.wait(_GLANCE_SECONDS)
    except BaseException:
        with changed:
            waiting.clear()  # what has not begun is for another delivery
        raise
    return outcomes


async def _gather_async(parts: Sequence[Any]) -> list[Any]:
    async def awaited(part: Any) -> Any:  # noqa: ANN401
        if inspect.isawaitable(part):
            return await part
        return await asyncio.to_thread(part) if callable(part) else part

    tasks = [asyncio.ensure_future(awaited(one)) for one in parts]
    try:
        await asyncio.wait(tasks)
    finally:
        for one in tasks:
            one.cancel()
    errors = [one.exception() if not one.cancelled() else asyncio.CancelledError() for one in tasks]
    for kind in (PutOff, BaseException):
        for error in errors:
            if isinstance(error, kind):
                raise error
    return [one.result() for one in tasks]
