"""How long calls of AWS that fail are tried within one phase of an invocation."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

_FAILURES = 2
_AT_THE_SAME_TIME = contextlib.nullcontext()


class CircuitBreaker:
    """A circuit breaker of one phase and one kind of call: a failure is tried once more, and a second one ends it.

    Each message would otherwise wait for the same failure, until there is no time left to answer.
    """

    _failures = 0
    last: Exception | None = None

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()

    def turn(self) -> AbstractContextManager[object]:
        """Give what a call is made within: after a failure there is one at a time, so that a second one ends them."""
        return self._one_at_a_time if self._failures else _AT_THE_SAME_TIME

    @property
    def is_open(self) -> bool:
        """Whether the call is not to be tried any more."""
        return self._failures >= _FAILURES

    def failed(self, error: Exception) -> None:
        """Note a call that failed."""
        self._failures += 1
        self.last = error

    def succeeded(self) -> None:
        """Note a call that succeeded: the failures before it were no more than a blip."""
        self._failures = 0
