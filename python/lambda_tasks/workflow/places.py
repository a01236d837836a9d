"""The places of a task's steps: in which scope they lie, and which numbers they have there."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import TYPE_CHECKING, Any

from lambda_tasks.workflow.errors import InvalidStep

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_NAME_CHARACTERS = 256


class Place:
    """The place of a step: its `number` in a scope, or 0 beside the task's own code, and the scope's `item`.

    `parent` is what the scope itself lies in.
    """

    __slots__ = ("item", "name", "number", "parent", "scope")

    def __init__(self, name: str, scope: _Scope, number: int) -> None:
        self.name = name
        self.number = number
        self.scope = scope.name
        self.item = scope.item
        self.parent = scope.parent


class _Scope:
    """A scope that the task's own code is in: how many steps of it are over, and at which item of a loop it is."""

    def __init__(self, name: str, parent: str = "", item: int = 0) -> None:
        self.name = name
        self.parent = parent
        self.item = item
        self.count = 0


class Places:
    """The names that steps have, and the scopes that the task's own code is in. Usable from several threads.

    That code runs in `line`, a thread (its id) or an asyncio task. What runs elsewhere is beside it.
    """

    def __init__(self, line: Callable[[], object]) -> None:
        self._line = line
        self._names: set[str] = set()
        self._scopes = [_Scope("")]
        self._lock = threading.Lock()

    def take_name(self, name: Any, task: str) -> None:  # noqa: ANN401 - whatever the task gives
        """Note that a step has this name.

        Raises:
            InvalidStep: it is no name, or another step of the task has it.

        """
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARACTERS:
            shown = f"{name[:20]!a}..." if isinstance(name, str) else f"of type {type(name).__name__}"
            remedy = f"give each step a text of 1 to {MAX_NAME_CHARACTERS} characters"
            raise InvalidStep(f"a step's name is {shown}", source=f"task {task}", remedy=remedy)
        if name != name.encode("utf-8", "replace").decode():
            raise InvalidStep("its name holds half a character", source=f"step {name!a}", remedy="use another name")
        with self._lock:
            if name in self._names:
                remedy = "names are unique in a task: in a loop, put the item into them"
                raise InvalidStep("its name is taken by another step", source=f"step {name!r}", remedy=remedy)
            self._names.add(name)

    def free_name(self, name: str) -> None:
        """Note that a step raised, and may be called again."""
        with self._lock:
            self._names.discard(name)

    def next(self, name: str) -> Place:
        """Return the place of a step that begins now."""
        if not self._is_own_code():
            return Place(name, _Scope(""), 0)
        with self._lock:
            scope = self._scopes[-1]
            return Place(name, scope, scope.count + 1)

    def over(self, place: Place) -> None:
        """Note that the step at a place is over, or that the loop there began: others come behind it."""
        if place.number:
            with self._lock:
                self._scopes[-1].count = place.number

    def open(self, place: Place, item: int = 0) -> Callable[[], None]:
        """Let the steps that come now lie within the one at a place; return what ends that, once or several times."""
        if not place.number:
            return lambda: None
        scope = _Scope(place.name, place.scope, item)
        with self._lock:
            self._scopes.append(scope)
        return functools.partial(self._close, scope)

    def _close(self, scope: _Scope) -> None:
        """Leave a scope, and those in it that are open yet."""
        with self._lock:
            if scope in self._scopes:
                del self._scopes[self._scopes.index(scope) :]

    def _is_own_code(self) -> bool:
        line = self._line()
        if isinstance(line, int):
            return line == threading.get_ident()
        try:
            return asyncio.current_task() is line
        except RuntimeError:  # no running event loop
            return False
