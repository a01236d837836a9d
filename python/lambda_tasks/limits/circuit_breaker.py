"""How long calls of AWS that fail are tried within one phase of an invocation."""

from __future__ import annotations

_FAILURES = 2


class CircuitBreaker:
    """A circuit breaker of one phase and one kind of call: a failure is tried once more, and a second one ends it.

    Each message would otherwise wait for the same failure, until there is no time left to answer.
    """

    _failures = 0
    last: Exception | None = None

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
