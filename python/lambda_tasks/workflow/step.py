"""`step`: a part of a task that is kept when it is finished."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar, overload

from lambda_tasks.errors import PayloadUnavailable
from lambda_tasks.messages.outcome import NO_STATE
from lambda_tasks.workflow import origin, results
from lambda_tasks.workflow.calling import Part, StepFunction, seconds_of, timed_out, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from datetime import timedelta

    from lambda_tasks.workflow.places import Place
    from lambda_tasks.workflow.results import Content
    from lambda_tasks.workflow.run import Run

T = TypeVar("T")


@overload
def step(
    name: str, function: Callable[..., T], /, *args: object, timeout: float | timedelta | None = ..., **kwargs: object
) -> T: ...


@overload
def step(
    name: str, function: str, /, *args: object, timeout: float | timedelta | None = ..., **kwargs: object
) -> Any: ...  # noqa: ANN401 - whatever the task returns


def step(
    name: str, function: object, /, *args: object, timeout: float | timedelta | None = None, **kwargs: object
) -> Any:
    """Call a function once for the message: the first delivery that finishes it keeps its result for the later ones.

    The result is JSON, and comes back as the type that the function is annotated to return. Of an async function, or an
    async task, it is to be awaited. A task, given as itself or by its dotted path, has a record of its own. A step that
    raised is run again by the next delivery. In a plain call, outside of a message, the function is just called.

    `name` is unique in the task, and the order of the names is always the same. `timeout` is in seconds, or a
    `timedelta`.

    Raises:
        InvalidStep: the name is taken, the order has changed, or the result has no form in JSON, or is too large.
        InvalidSetting: the message runs on a worker without a table.
        StepTimeout: the function took longer than `timeout`.
        LeaseLost: another delivery of the message has taken over.

    """
    seconds, called = seconds_of(name, timeout), StepFunction(name, function)
    call = functools.partial(called.call, *args, **kwargs)
    run = origin.current()
    if run is None:
        return call()
    run.take_name(name)
    one = _Step(run, name, called, call, seconds)
    return one.run_async() if called.is_async else one.run()


class _Step:
    """One step of a delivery."""

    def __init__(
        self, run: Run, name: str, called: StepFunction, call: Callable[[], Any], seconds: float | None
    ) -> None:
        self._run = run
        self._name = name
        self._called = called
        self._call = call
        self._seconds = seconds
        self._part: Part | None = None

    def run(self) -> Any:  # noqa: ANN401 - whatever the function returns
        """Return what is kept, or call the function and keep what it returns."""
        place = self._run.places.next(self._name)
        content = self._found(place)
        if content is not None:
            result = self._read(content)
            return _returned(result) if content.is_awaited else result
        try:
            with self._within(place):
                result_of_part = self._begin()
                if result_of_part is None:
                    value = within(self._name, self._seconds, self._run, self._call)
                    if inspect.isawaitable(value):
                        return self._run_rest(place, value)
                    result_of_part = self._encoded(value)
        except BaseException as error:
            self._raised(place, error)
            raise
        return self._kept(place, result_of_part)

    async def run_async(self) -> Any:  # noqa: ANN401
        """Do as `run` does, and let the event loop go on meanwhile."""
        place = self._run.places.next(self._name)
        content = await asyncio.to_thread(self._found, place)
        if content is not None:
            return await asyncio.to_thread(self._read, content)
        try:
            with self._within(place):
                result_of_part = None if self._called.task is None else await asyncio.to_thread(self._begin)
        except BaseException as error:
            self._raised(place, error)
            raise
        if result_of_part is not None:
            return await asyncio.to_thread(self._kept, place, result_of_part)
        return await self._run_rest(place, None)

    async def _run_rest(self, place: Place, value: Any) -> Any:  # noqa: ANN401
        """Await what the function returns, and keep it."""
        try:
            with self._within(place):
                result = await _awaited(self._name, self._seconds, self._call() if value is None else value)
                encoded = await asyncio.to_thread(self._encoded, result)
        except BaseException as error:
            self._raised(place, error)
            raise
        return await asyncio.to_thread(self._kept, place, encoded, is_awaited=True)

    @contextlib.contextmanager
    def _within(self, place: Place) -> Iterator[None]:
        """Let the steps that come now lie within this one."""
        leave = self._run.places.open(place)
        try:
            yield
        finally:
            leave()

    def _found(self, place: Place) -> Content | None:
        content = self._run.found(place)
        if content is None:
            self._run.check_time_for(self._seconds)
        return content

    def _read(self, content: Content) -> Any:  # noqa: ANN401
        pointer = content.pointer
        try:
            result = bytes(content.result) if pointer is None else results.get(self._name, pointer, self._run.worker)
        except PayloadUnavailable as error:
            raise self._run.put_off(NO_STATE, error) from error
        return results.decoded(result, self._called.call)

    def _begin(self) -> bytes | None:
        """Begin the record of a task; return its result where it succeeded before."""
        if self._called.task is None or self._run.attempt is None:
            return None
        self._part = Part(self._run, self._name, self._called.task)
        return self._part.begin()

    def _encoded(self, value: object) -> bytes:
        result = results.encoded(self._name, value)
        if self._part is not None:
            self._part.returned(value)
        return result

    def _raised(self, place: Place, error: BaseException) -> None:
        self._run.raised(place)
        if self._part is not None:
            self._part.raised(error)

    def _kept(self, place: Place, result: bytes, *, is_awaited: bool = False) -> Any:  # noqa: ANN401
        self._run.keep(place, result, is_awaited=is_awaited)
        return results.decoded(result, self._called.call)


async def _returned(result: T) -> T:
    return result


async def _awaited(name: str, seconds: float | None, awaited: Awaitable[Any]) -> Any:  # noqa: ANN401
    """Await within a step's own time."""
    if seconds is None:
        return await awaited
    task = asyncio.ensure_future(awaited)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise timed_out(name, seconds)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=seconds)
    return task.result()
