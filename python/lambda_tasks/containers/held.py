"""The messages that this process has, kept invisible while they wait, run, and are settled."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from lambda_tasks.containers.source import MAX_MESSAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lambda_tasks.containers.source import Source

logger = logging.getLogger("lambda_tasks")

_TICK_SECONDS = 1.0


class Held:
    """The messages that are held, and the thread that keeps them invisible. Usable from several threads.

    `tick` is called about once a second, as long as the thread runs.
    """

    def __init__(
        self, source: Source, tick: Callable[[], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._tick = tick
        self._clock = clock
        self._visible_at: dict[str, float] = {}
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin to keep them."""
        threading.Thread(target=self._run, name="lambda-tasks-heartbeat", daemon=True).start()

    def end(self) -> None:
        """Keep them no more."""
        self._ended.set()

    def add(self, handles: Iterable[str], received_at: float) -> None:
        """Keep messages that were received, by a request that began at `received_at`."""
        visible_at = received_at + self._source.visibility_seconds
        with self._lock:
            self._visible_at.update(dict.fromkeys(handles, visible_at))

    def let_go(self, handles: Iterable[str]) -> None:
        """Leave messages to whoever changes their visibility next: no renewal of it comes after this."""
        if self.forget(handles):
            with self._renewing:  # of one that is under way
                pass

    def forget(self, handles: Iterable[str]) -> bool:
        """Leave messages as they are, and tell whether any was held."""
        with self._lock:
            taken = [self._visible_at.pop(one, None) for one in handles]
        return any(one is not None for one in taken)

    def renew(self) -> None:
        """Keep those messages invisible that are so for less than half of the visibility timeout."""
        with self._renewing:
            for handles in self._due():
                self._source.keep(handles)

    def _due(self) -> list[list[str]]:
        now, seconds = self._clock(), self._source.visibility_seconds
        with self._lock:
            due = [one for one, visible_at in self._visible_at.items() if visible_at - now < seconds / 2]
            self._visible_at.update(dict.fromkeys(due, now + seconds))
        return [due[start : start + MAX_MESSAGES] for start in range(0, len(due), MAX_MESSAGES)]

    def _run(self) -> None:
        while not self._ended.wait(min(_TICK_SECONDS, self._source.visibility_seconds / 4)):
            try:
                self.renew()
                self._tick()
            except Exception:
                logger.exception("the messages could not be kept invisible")
