"""What a function tells of failed messages: up to ten at once and ten a minute, and a flood in one event with a count.

Nothing depends on it: an error is logged, its messages count in the next event, and the channel is left alone for a
while.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from lambda_tasks.telemetry.failures import channel, event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lambda_tasks.aws.transport import Transport
    from lambda_tasks.telemetry.failures.event import Event
    from lambda_tasks.telemetry.report import Report

logger = logging.getLogger("lambda_tasks")

MOST_AT_ONCE = 10
_SECONDS_OF_EACH = 6.0
_CALL_SECONDS = 1.5
_SILENCE_SECONDS = 30.0
_LEAST_SECONDS = 0.05


class Failed(NamedTuple):
    """A message that failed or was rejected for good: its report, and the details of its record."""

    report: Report
    details: Mapping[str, str]
    has_run: bool


class Notices:
    """The notices of one execution environment. Usable from several threads; `transport` is asked for when needed."""

    def __init__(
        self,
        arn: str,
        environ: Mapping[str, str],
        transport: Callable[[], Transport],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._arn = arn
        self._environ = environ
        self._transport = transport
        self._clock = clock
        self._lock = threading.Lock()
        self._left, self._counted_at = float(MOST_AT_ONCE), clock()
        self._silent_until = self._counted_at
        self._untold: Counter[tuple[str, str]] = Counter()
        self._first: Event | None = None

    @property
    def is_behind(self) -> bool:
        """Whether messages failed earlier that nobody was told of yet."""
        return self._first is not None

    def tell(self, failed: Sequence[Failed], request_id: str, deadline: float) -> None:
        """Tell of messages, until `deadline` (a reading of ``time.monotonic``)."""
        try:
            with self._lock:
                self._tell(failed, request_id, deadline)
        except Exception as error:  # noqa: BLE001 - no message depends on it
            remedy = "check that the role allows sns:Publish on the topic, or events:PutEvents on the event bus"
            logger.warning("failed messages could not be told of: %s: %s: %s", type(error).__name__, error, remedy)

    def _tell(self, failed: Sequence[Failed], request_id: str, deadline: float) -> None:
        now = self._clock()
        events = [event.of_message(*one[:2], self._environ, request_id, has_run=one.has_run) for one in failed]
        self._left = min(MOST_AT_ONCE, self._left + (now - self._counted_at) / _SECONDS_OF_EACH)
        self._counted_at = now
        is_flood = bool(self._untold) or len(events) > self._left
        if is_flood:
            self._note(failed, events)
        if now < self._silent_until or self._left < 1 or deadline - time.monotonic() < _LEAST_SECONDS:
            if not is_flood:
                self._note(failed, events)
            return
        if is_flood:
            assert self._first is not None  # noqa: S101 - for mypy: there is at least one
            events_told = [event.of_many(self._untold, self._first, self._environ, request_id)]
        else:
            events_told = events
        self._left -= len(events_told)
        try:
            channel.send(self._arn, events_told, self._transport(), min(deadline, time.monotonic() + _CALL_SECONDS))
        except BaseException:
            self._silent_until = now + _SILENCE_SECONDS
            if not is_flood:
                self._note(failed, events)
            raise
        self._untold, self._first = Counter(), None

    def _note(self, failed: Sequence[Failed], events: Sequence[Event]) -> None:
        for one, made in zip(failed, events, strict=True):
            event.count(self._untold, made, one.report)
            self._first = self._first or made
