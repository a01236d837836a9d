"""A function's execution environments: one for each invocation at a time, made when it is needed and used again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.runtime.function import Function
from lambda_tasks.local.runtime.process import Invocation


class Invocable(Protocol):
    """A running function that takes one event at a time."""

    def invoke(self, event: Any, /) -> Invocation:  # noqa: ANN401 - an event is any JSON
        """Invoke it, and wait for its answer."""
        ...


Start = Callable[[Function], AbstractContextManager[Invocable]]


@dataclass
class Environment:
    """One execution environment. `generation` counts the changes of code before it."""

    generation: int
    running: Invocable
    closing: ExitStack


class Environments:
    """At most `limit` environments of a function, each started by `start`. Usable from several threads."""

    def __init__(self, function: Function, start: Start, limit: int) -> None:
        self.function = function
        self._start = start
        self._slots = threading.Semaphore(limit)
        self._idle: list[Environment] = []
        self._all: list[Environment] = []
        self._generation = 0
        self._is_closed = False
        self._running = 0
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Start an environment for the first invocation, so that no message is in flight meanwhile.

        Raises:
            LocalError: it could not be started.

        """
        self._give_back(self._take())

    def invoke(self, event: Any) -> Invocation:  # noqa: ANN401 - as above
        """Invoke the function in an environment that is free, or in a new one; wait where there may be no more.

        Raises:
            LocalError: it could not be started, or did not answer.

        """
        with self._slots, self._counted():
            environment = self._take()
            try:
                return environment.running.invoke(event)
            finally:
                self._give_back(environment)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is invoked now."""
        with self._lock:
            return not self._running

    def replace(self) -> None:
        """End every environment as soon as it is free: the code has changed."""
        with self._lock:
            self._generation += 1
            stale, self._idle = self._idle, []
        for environment in stale:
            self._end(environment)

    def close(self) -> None:
        """End every environment, in use or not."""
        with self._lock:
            self._is_closed = True
            left, self._all = self._all, []
        for environment in left:
            self._end(environment)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1

    def _take(self) -> Environment:
        with self._lock:
            self._check_open()
            if self._idle:
                return self._idle.pop()
            generation = self._generation
        with ExitStack() as closing:
            running = closing.enter_context(self._start(self.function))
            environment = Environment(generation, running, closing)
            with self._lock:
                self._check_open()  # it may have been closed while this one was started
                environment.closing = closing.pop_all()
                self._all.append(environment)
        return environment

    def _check_open(self) -> None:
        if self._is_closed:
            raise LocalError("the function was stopped", source=self.function.name)

    def _give_back(self, environment: Environment) -> None:
        with self._lock:
            is_stale = self._is_closed or environment.generation != self._generation
            if not is_stale:
                self._idle.append(environment)
        if is_stale:
            self._end(environment)

    def _end(self, environment: Environment) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._all.remove(environment)
        environment.closing.close()
