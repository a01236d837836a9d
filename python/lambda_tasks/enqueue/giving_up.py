"""When to give up calls that fail: each of many messages would otherwise wait for the same failure."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

from lambda_tasks.errors import EnqueueFailed, LambdaTasksError, MessageTooLarge

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MOST_FAILURES = 3
_PAUSE_SECONDS = 0.5


class GivingUp:
    """A count of the calls of one kind that failed, one after the other. Usable from several threads.

    Calls that run at the same time fail for one reason, and count as one. From the first failure on, one call at a time
    tries whether it has passed.
    """

    def __init__(self, kind: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._kind = kind
        self._sleep = sleep
        self._failures = 0
        self._last = ""
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    @property
    def is_over(self) -> bool:
        """Whether no further call is made."""
        return self._failures >= MOST_FAILURES

    @property
    def reason(self) -> str:
        """The reason for not making a call, where `is_over`."""
        return f"not sent, after {MOST_FAILURES} {self._kind} in a row had failed, the last one with: {self._last}"

    def run(self, call: Callable[[], T]) -> T:
        """Return what `call` returns.

        Raises:
            EnqueueFailed: there have been too many failures, or `call` raises it.
            LambdaTasksError: `call` raises it.

        """
        if not self._failures:
            return self._counted(call, 0)
        with self._turn:
            before = self._failures
            if before >= MOST_FAILURES:
                raise EnqueueFailed(self.reason)
            self._sleep(before * _PAUSE_SECONDS)
            return self._counted(call, before)

    def _counted(self, call: Callable[[], T], before: int) -> T:
        try:
            result = call()
        except MessageTooLarge:
            raise  # no call was made
        except LambdaTasksError as error:
            with self._lock:
                self._failures = max(self._failures, before + 1)
                self._last = error.problem
            raise
        with self._lock:
            self._failures = 0
        return result
