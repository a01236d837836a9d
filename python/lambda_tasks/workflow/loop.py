"""`steps`: a loop that keeps its place, and goes on in another delivery where the time of this one ends."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lambda_tasks.workflow import origin
from lambda_tasks.workflow.errors import InvalidStep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lambda_tasks.workflow.marks import Loop
    from lambda_tasks.workflow.places import Place
    from lambda_tasks.workflow.run import Run

T = TypeVar("T")


def steps(iterable: Iterable[T] | AsyncIterable[T], name: str) -> Steps[T]:
    """Return an iterator over `iterable` that keeps its place for the deliveries to come; ``async for`` takes it too.

    An item is done when the next one is asked for. The place is written at most every second, or every fifth of the
    time that is left, whichever is longer, and when the delivery ends: a crash repeats the items since. Before each
    item it is decided whether there is time for it: as much as the longest one so far took, and a margin. Otherwise
    the message is put off, and goes on in another invocation at once. That is no retry.

    An iterable is gone through from its beginning, without the items that are done: it must give the same ones each
    time. One with a length shows how much is left. In a plain call, outside of a message, nothing is kept.

    `name` is as that of ``step``.

    Raises:
        InvalidStep: the name is taken, or the order has changed.
        InvalidSetting: the message runs on a worker without a table.

    """
    return Steps(iterable, name)


class Steps(Generic[T]):
    """The items of a loop, for ``for`` or ``async for``, once. See `steps`."""

    def __init__(self, iterable: Iterable[T] | AsyncIterable[T], name: str) -> None:
        if not hasattr(iterable, "__iter__") and not hasattr(iterable, "__aiter__") and not _is_sequence(iterable):
            remedy = "use steps(iterable, name=...)"
            raise InvalidStep(
                f"{type(iterable).__name__} cannot be gone through", source=f"step {name!r}", remedy=remedy
            )
        self._iterable: Any = iterable
        self._name = name
        self._run = origin.current()
        if self._run is not None:
            self._run.take_name(name)
        self._is_used = False

    def __repr__(self) -> str:
        return f"<steps {self._name!r}>"

    def __iter__(self) -> Iterator[T]:
        if self._run is None:
            return iter(self._iterable)
        return _Sync(self._use(), self._iterable)

    def __aiter__(self) -> AsyncIterator[T]:
        if self._run is None:
            return aiter(self._iterable) if hasattr(self._iterable, "__aiter__") else _aiter(self._iterable)
        return _Async(self._use(), self._iterable)

    def _use(self) -> _Way:
        if self._is_used:
            remedy = "use another steps(...) of another name"
            raise InvalidStep("it was gone through before", source=f"step {self._name!r}", remedy=remedy)
        self._is_used = True
        assert self._run is not None  # noqa: S101 - for mypy: in a plain call there is nothing to keep
        return _Way(self._run, self._name, _length(self._iterable))


class _Way:
    """The way of one delivery through a loop."""

    def __init__(self, run: Run, name: str, total: int | None) -> None:
        self._run = run
        self._name = name
        self._total = total
        self._place: Place | None = None
        self._loop: Loop | None = None
        self._leave: Callable[[], None] | None = None
        self._began_at = 0.0

    def begin(self) -> int | None:
        """Begin, and return how many items are done already; None where the loop is over."""
        place = self._place = self._run.places.next(self._name)
        loop = self._loop = self._run.begin_loop(place, self._total)
        return None if loop.is_over else loop.done

    def end_item(self) -> bool:
        """Note that the item before is done, if there is one; tell whether that is to be written now."""
        place, loop = self._place, self._loop
        if self._leave is None or place is None or loop is None:
            return False
        self.close()
        return self._run.item_done(place, loop, time.monotonic() - self._began_at)

    def write(self) -> None:
        """Write how far the loop has come."""
        self._run.write()

    def begin_item(self) -> None:
        """Decide that there is time for an item, which begins with this.

        Raises:
            PutOff: there is not.

        """
        loop = self._loop
        assert loop is not None  # noqa: S101 - for mypy: it began
        if loop.total is None or loop.done < loop.total:
            self._run.check_time(loop)
        self._began_at = time.monotonic()

    def enter_item(self) -> None:
        """Let the steps that come now belong to the item."""
        place, loop = self._place, self._loop
        assert place is not None  # noqa: S101
        assert loop is not None  # noqa: S101
        self._leave = self._run.places.open(place, loop.done)

    def end(self) -> None:
        """Note that there are no more items."""
        if self._loop is not None:
            self._run.end_loop(self._loop)

    def close(self) -> None:
        """Leave the item, whether it is done or not."""
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()


class _Sync(Iterator[T]):
    """The items for ``for``."""

    def __init__(self, way: _Way, iterable: Iterable[T]) -> None:
        self._way = way
        self._iterable = iterable
        self._source: Iterator[T] | None = None
        self._is_over = False

    def __next__(self) -> T:
        way = self._way
        if self._is_over:
            raise StopIteration
        if self._source is None:
            done = way.begin()
            if done is None:
                self._is_over = True
                raise StopIteration
            self._source = iter(self._iterable)
            next(itertools.islice(self._source, done, done), None)  # those that are done
        elif way.end_item():
            way.write()
        way.begin_item()
        try:
            item = next(self._source)
        except StopIteration:
            self._is_over = True
            way.end()
            raise
        way.enter_item()
        return item

    def __del__(self) -> None:
        """Leave the item of a loop that was broken off."""
        self._way.close()


class _Async(AsyncIterator[T]):
    """The items for ``async for``. Others go on while the place is written."""

    def __init__(self, way: _Way, iterable: Iterable[T] | AsyncIterable[T]) -> None:
        self._way = way
        self._iterable = iterable
        self._source: AsyncIterator[T] | None = None
        self._is_over = False

    async def __anext__(self) -> T:
        way = self._way
        if self._is_over:
            raise StopAsyncIteration
        if self._source is None:
            done = way.begin()
            if done is None:
                self._is_over = True
                raise StopAsyncIteration
            self._source = await self._after(done)
        elif way.end_item():
            await asyncio.to_thread(way.write)
        way.begin_item()
        try:
            item = await anext(self._source)
        except StopAsyncIteration:
            self._is_over = True
            way.end()
            raise
        way.enter_item()
        return item

    async def _after(self, done: int) -> AsyncIterator[T]:
        """Return the items without those that are done."""
        if not isinstance(self._iterable, AsyncIterable):
            return _aiter(itertools.islice(self._iterable, done, None))
        source: AsyncIterator[T] = aiter(self._iterable)
        for _ in range(done):
            try:
                await anext(source)
            except StopAsyncIteration:
                break
        return source

    def __del__(self) -> None:
        """Leave the item of a loop that was broken off."""
        self._way.close()


async def _aiter(iterable: Iterable[T]) -> AsyncIterator[T]:
    for one in iterable:
        yield one


def _is_sequence(iterable: object) -> bool:
    return hasattr(iterable, "__getitem__")


def _length(iterable: Any) -> int | None:  # noqa: ANN401
    try:
        return len(iterable)
    except Exception:  # noqa: BLE001 - a generator, or an object whose own code does not know
        return None
