"""The deletion of messages that are done with, beside the tasks: ten in a call, where there are so many."""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from lambda_tasks.containers.source import MAX_MESSAGES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lambda_tasks.containers.held import Held
    from lambda_tasks.containers.source import Source


class Deleting:
    """A thread that deletes messages, which are held until then."""

    def __init__(self, source: Source, held: Held) -> None:
        self._source = source
        self._held = held
        self._handles: SimpleQueue[str | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="lambda-tasks-deleting", daemon=True)

    def start(self) -> None:
        """Begin to delete."""
        self._thread.start()

    def add(self, handles: Iterable[str]) -> None:
        """Have messages deleted soon."""
        for handle in handles:
            self._handles.put(handle)

    def finish(self, timeout_seconds: float) -> None:
        """Delete what is left, and wait for that."""
        self._handles.put(None)
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while (first := self._handles.get()) is not None:
            handles, is_over = [first], False
            while len(handles) < MAX_MESSAGES and not is_over:
                try:
                    another = self._handles.get_nowait()
                except Empty:
                    break
                if another is None:
                    is_over = True
                else:
                    handles.append(another)
            self._source.delete(handles)
            self._held.forget(handles)
            if is_over:
                return
