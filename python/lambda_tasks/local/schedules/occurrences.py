"""The next time at which a schedule is due, as EventBridge Scheduler has it in the schedule's time zone.

Where clocks go forward a time that is left out is left out here too, and where they go back one runs once.
Source: https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#daylight-savings-time
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from lambda_tasks.definition.schedules.cron import Cron, Special
from lambda_tasks.definition.schedules.expression import UTC, Expression

_MOST_DAYS = 366 * 30  # a 29th of February on a given day of the week comes within them
_SATURDAY, _MONDAY_TO_FRIDAY = 5, range(5)


def next_after(expression: Expression, zone: str | None, after: datetime, started: datetime) -> datetime | None:
    """Return the first time after `after` in UTC; None for never. A rate counts from `started`."""
    if expression.seconds is not None:
        past = (after - started) // timedelta(seconds=expression.seconds)
        return started + (max(past, 0) + 1) * timedelta(seconds=expression.seconds)
    place = timezone.utc if zone in (None, UTC) else ZoneInfo(str(zone))
    if expression.at is not None:
        due = expression.at.replace(tzinfo=place).astimezone(timezone.utc)
        return due if due > after else None
    assert expression.cron is not None  # noqa: S101 - for mypy: one of the three is set
    for due in _times(expression.cron, after.astimezone(place).date() - timedelta(days=1), place):
        if due > after:
            return due
    return None


def _times(cron: Cron, first: date, place: timezone | ZoneInfo) -> Iterator[datetime]:
    """Yield the times from the day `first` on, in UTC, in their order."""
    for number in range(_MOST_DAYS):
        day = first + timedelta(days=number)
        if day.year > max(cron.years):
            return
        if day.year not in cron.years or day.month not in cron.months or not _is_due_on(cron, day):
            continue
        found = []
        for hour in cron.hours:
            for minute in cron.minutes:
                local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=place)
                due = local.astimezone(timezone.utc)
                if due.astimezone(place).replace(tzinfo=None) == local.replace(tzinfo=None):  # else clocks skip it
                    found.append(due)
        yield from sorted(found)


def _is_due_on(cron: Cron, day: date) -> bool:
    if isinstance(cron.days, Special):
        return day.day == _special_day(cron.days, day)
    if cron.days is not None:
        return day.day in cron.days
    own = day.isoweekday() % 7 + 1  # as AWS counts: 1 is Sunday
    if isinstance(cron.week_days, Special):
        last = calendar.monthrange(day.year, day.month)[1]
        if own != cron.week_days.number:
            return False
        return day.day + 7 > last if cron.week_days.kind == "last of" else (day.day - 1) // 7 + 1 == cron.week_days.nth
    return cron.week_days is not None and own in cron.week_days


def _special_day(special: Special, day: date) -> int:
    last = calendar.monthrange(day.year, day.month)[1]
    if special.kind == "last":
        return last - special.number
    if special.kind == "last weekday":
        return next(one for one in range(last, 0, -1) if day.replace(day=one).weekday() in _MONDAY_TO_FRIDAY)
    if special.number > last:
        return 0
    weekday = day.replace(day=special.number).weekday()
    if weekday in _MONDAY_TO_FRIDAY:
        return special.number
    before = special.number - (1 if weekday == _SATURDAY else 2)
    after = special.number + (2 if weekday == _SATURDAY else 1)
    nearest = before if weekday == _SATURDAY else after
    return nearest if 1 <= nearest <= last else after if nearest < 1 else before
