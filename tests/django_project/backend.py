"""The backend under test with a store of this process, and what it sends in a list, for a real dispatcher to run."""

from __future__ import annotations

from lambda_tasks.django import LambdaTasksBackend
from memory_state import MemoryState


class Backend(LambdaTasksBackend):
    """The backend, but for its store."""

    memory = MemoryState()

    def store(self) -> MemoryState:
        return self.memory
