"""The pace of a consumer: how many messages one of its threads takes at a time, as it is learnt."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from lambda_tasks.containers.source import MAX_MESSAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambda_tasks.containers.source import Received

# Messages wait for those before them no longer than this, as far as their pace is known.
_LONGEST_WAIT_SECONDS = 0.5
_MEMORY = 0.7


class Pace:
    """The pace of messages: the seconds that one takes, lately. A slow message counts at once, a fast one by and by."""

    def __init__(self, batch_size: int = MAX_MESSAGES) -> None:
        self._batch_size = batch_size
        self._seconds: float | None = None

    def note(self, count: int, seconds: float) -> None:
        """Note that `count` messages took so many seconds together."""
        latest = seconds / count
        before = latest if self._seconds is None else self._seconds
        self._seconds = max(latest, before * _MEMORY + latest * (1 - _MEMORY))

    @property
    def at_a_time(self) -> int:
        """The number of messages to run one after the other."""
        if self._seconds is None:
            return 1
        return max(1, min(self._batch_size, int(_LONGEST_WAIT_SECONDS / max(self._seconds, 1e-6))))

    @property
    def is_fast(self) -> bool:
        """Whether the next messages are to be there before these are done with."""
        return self._seconds is not None and self._seconds < _LONGEST_WAIT_SECONDS / MAX_MESSAGES

    def units(self, messages: Sequence[Received], *, is_fifo: bool) -> list[list[Received]]:
        """Divide messages among threads. Those of a FIFO group stay together, in order."""
        if not is_fifo:
            size = self.at_a_time
            return [list(messages[start : start + size]) for start in range(0, len(messages), size)]
        by_group = sorted(messages, key=lambda one: one.group or "")  # stable: the order within a group stays
        return [list(units) for _, units in itertools.groupby(by_group, key=lambda one: one.group)]
