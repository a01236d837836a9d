"""Calls of a store that are made beside what their caller does, by a few threads that the process keeps."""

from __future__ import annotations

import os
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_STACK_BYTES = 1024 * 1024  # the default of 8 MiB counts in full where the memory of tasks is limited


class SideCall(Generic[T]):
    """A call of a function that is made once: by one of the threads, or by whoever waits for its result first.

    When it `is_over`, waiting for its result takes no time.
    """

    is_over = False
    _value: T
    _error: BaseException | None = None

    def __init__(self, function: Callable[[], T]) -> None:
        self._function: Callable[[], T] | None = function
        self._claim = threading.Lock()
        self._under_way = threading.Lock()
        self._under_way.acquire()
        self._then: Callable[[], object] | None = None

    def run(self) -> None:
        """Make the call, unless somebody else does or did."""
        if not self._claim.acquire(blocking=False):
            return
        function, self._function = self._function, None
        try:
            self._value = function()  # type: ignore[misc] # of the one who has the claim
        except BaseException as error:  # noqa: BLE001 - it is whose who waits for the result
            self._error = error
        self.is_over = True
        self._under_way.release()
        if self._then is not None:
            self._then()

    def then(self, function: Callable[[], object]) -> None:
        """Have `function` called when the call is over, perhaps twice, and in any thread."""
        self._then = function
        if self.is_over:
            function()

    def result(self) -> T:
        """Wait until the call is over, and return or raise what it did."""
        self.run()
        if not self.is_over:
            with self._under_way:
                pass
        if self._error is not None:
            raise self._error
        return self._value


class SideCalls:
    """The threads of a process that make calls beside what it does; without any, each call is made at once."""

    def __init__(self, most_threads: int) -> None:
        self._most_threads = most_threads
        self._waiting: SimpleQueue[SideCall[object] | None] = SimpleQueue()
        self._threads = 0
        self._process_id = os.getpid()
        self._lock = threading.Lock()

    def begin(self, function: Callable[[], T]) -> SideCall[T]:
        """Have `function` called in a thread, and return what its result can be had of."""
        call = SideCall(function)
        if self._has_threads():
            self._waiting.put(call)  # type: ignore[arg-type] # SimpleQueue is invariant
        else:
            call.run()
        return call

    def close(self) -> None:
        """End the threads, when they have made the calls that were begun."""
        with self._lock:
            threads, self._threads = self._threads, 0
        for _ in range(threads):
            self._waiting.put(None)

    def _has_threads(self) -> bool:
        """Start one more thread where there may be more; tell whether there is any."""
        if self._process_id != os.getpid():  # a fork has none of its parent's threads
            self.__init__(self._most_threads)  # type: ignore[misc]
        if self._threads < self._most_threads:
            with self._lock:
                if self._threads < self._most_threads:
                    self._start_thread()
        return self._threads > 0

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name="lambda-tasks-table", daemon=True)
        before = threading.stack_size()
        if not before:
            threading.stack_size(_STACK_BYTES)
        try:
            thread.start()
            self._threads += 1
        except (RuntimeError, MemoryError):  # those that there are make all calls
            pass
        finally:
            threading.stack_size(before)

    def _work(self) -> None:
        waiting = self._waiting
        while (call := waiting.get()) is not None:
            call.run()
            del call  # it refers to the messages of an invocation
