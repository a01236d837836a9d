"""The schedules of a session, which fire at their time or when they are told to."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lambda_tasks.definition.schedules import expression
from lambda_tasks.errors import InvalidTask
from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.schedules.occurrences import next_after
from lambda_tasks.local.schedules.resources import ScheduleResource, parsed

_LOOK_SECONDS = 0.2

Target = Callable[[ScheduleResource, datetime], None]


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(timezone.utc)


class Firing:
    """The schedules of a session, each of which has a `target` that takes its firings, one after the other.

    Those that are enabled and send a message fire at their time, and any when it is told to. `on_problem` hears what
    ends the session. Another process asks for a firing by a file in the folder `requests`, which holds a name.
    """

    def __init__(
        self,
        schedules: Sequence[ScheduleResource],
        target: Target,
        on_problem: Callable[[LocalError], None],
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.schedules = schedules
        self._target = target
        self._on_problem = on_problem
        self._clock = clock
        self._started = clock()
        self.requests: Path | None = None
        self._running: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._due = {one: self._next(one, self._started) for one in schedules if one.is_enabled and one.messages}

    @property
    def due(self) -> Mapping[ScheduleResource, datetime]:
        """The next time of each schedule that has one."""
        return {one: at for one, at in self._due.items() if at is not None}

    @property
    def is_idle(self) -> bool:
        """Whether no firing is under way."""
        with self._lock:
            self._running = [one for one in self._running if one.is_alive()]
            return not self._running

    def fire(self, schedule: ScheduleResource, at: datetime | None = None) -> None:
        """Let a schedule fire for the time `at`, or for this moment, in a thread of its own."""
        thread = threading.Thread(
            target=self._fire, args=(schedule, at or self._clock()), name=f"fire-{schedule.name}", daemon=True
        )
        with self._lock:
            self._running.append(thread)
            thread.start()

    def fire_due(self) -> None:
        """Let each schedule fire whose time has come: once, however often that was."""
        current = self._clock()
        for schedule, at in self.due.items():
            if at <= current:
                self.fire(schedule, at)
                self._due[schedule] = self._next(schedule, current)

    def run(self, stop: threading.Event) -> None:
        """Fire what is due until `stop`."""
        while not stop.wait(_LOOK_SECONDS):
            self.fire_due()
            for request in sorted(self.requests.glob("*.name")) if self.requests else ():
                name = request.read_text(encoding="utf-8")
                request.unlink()
                with contextlib.suppress(LocalError):  # whoever asks has looked at the template
                    self.fire(named(self.schedules, name))

    def _fire(self, schedule: ScheduleResource, at: datetime) -> None:
        try:
            self._target(schedule, at)
        except LocalError as error:
            self._on_problem(error)

    def _next(self, schedule: ScheduleResource, after: datetime) -> datetime | None:
        if schedule.expression is None:
            return None  # a rule with a pattern
        try:
            found = expression.parse(schedule.expression)
            zone = None if schedule.timezone is None else expression.checked_zone("the time zone", schedule.timezone)
        except InvalidTask:
            return None  # `check` says so
        return next_after(found, zone, after, self._started)


def named(schedules: Sequence[ScheduleResource], name: str) -> ScheduleResource:
    """Return the schedule of a name: its own, with its function's before it or without, or its task's.

    Raises:
        LocalError: there is none, or there are several.

    """
    for names in (_places, _names, _tasks):
        found = [one for one in schedules if name in names(one)]
        if len(found) == 1:
            return found[0]
        if found:
            places = ", ".join(one.place for one in found)
            raise LocalError(f"{name} names several schedules", remedy=f"name one of them: {places}")
    known = ", ".join(one.place for one in schedules) or "none"
    raise LocalError(f"there is no schedule {name}", remedy=f"the template's schedules: {known}")


def event_of(text: str) -> Any:  # noqa: ANN401 - an event is any JSON
    """Return the event of a function that is sent `text`."""
    found = parsed(text)
    return text if found is None and text != json.dumps(None) else found


def _places(schedule: ScheduleResource) -> Sequence[str]:
    return (schedule.place,)


def _names(schedule: ScheduleResource) -> Sequence[str]:
    return (schedule.name, schedule.aws_name)


def _tasks(schedule: ScheduleResource) -> Sequence[str]:
    return [str(one["task_name"]) for one in schedule.messages]
