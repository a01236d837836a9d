"""The statistics of records: counts by outcome, durations by task, and messages by time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lambda_tasks.state.record import Status, StoredRecord

PERCENTS = (50, 95, 99)


@dataclass
class TaskStatistics:
    """The statistics of one task, or of all. `durations` are the seconds of the last execution of each message."""

    task: str
    statuses: Counter[Status] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    durations: list[float] = field(default_factory=list)

    @property
    def messages(self) -> int:
        """How many messages there are."""
        return self.statuses.total()

    def add(self, record: StoredRecord) -> None:
        """Count a record."""
        self.statuses[record.status] += 1
        self.attempts += record.attempts
        if record.error_type and record.status is not Status.SUCCEEDED:
            self.errors[record.error_type] += 1
        seconds = _seconds(record)
        if seconds is not None:
            self.durations.append(max(0.0, seconds))

    def percentiles(self) -> list[float | None]:
        """Return the durations that so many percent (`PERCENTS`) of the messages do not exceed, in seconds."""
        return [percentile(self.durations, one) for one in PERCENTS]


@dataclass(frozen=True)
class Statistics:
    """The statistics of records: of `all`, by task (the most messages first), and their times of sending or receipt."""

    all: TaskStatistics
    tasks: Sequence[TaskStatistics]
    times: Sequence[tuple[float, Status]]


def statistics_of(records: Iterable[StoredRecord]) -> Statistics:
    """Return the statistics of `records`."""
    every, by_task, times = TaskStatistics("all"), dict[str, TaskStatistics](), []
    for record in records:
        name = record.task or "(no task)"
        every.add(record)
        by_task.setdefault(name, TaskStatistics(name)).add(record)
        times.append((record.listed_at, record.status))
    return Statistics(every, sorted(by_task.values(), key=lambda one: (-one.messages, one.task)), times)


def _seconds(record: StoredRecord) -> float | None:
    """Return how long the last execution took that ended. A release before kept no history, but the last times."""
    ended = [one.ended_at - one.started_at for one in record.history if one.ended_at is not None]
    if ended or record.history:
        return ended[-1] if ended else None
    did_run = record.attempts > 0 and record.status not in (Status.DEFERRED, Status.SKIPPED)
    return record.finished_at - record.started_at if did_run and record.finished_at is not None else None


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return the smallest of `values` that so many percent of them do not exceed; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
