"""AWS's cron: six fields, of which one of the two for days is ``?``.

Source: https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#cron-based
"""

from __future__ import annotations

import re
from typing import NamedTuple

from lambda_tasks.errors import InvalidTask

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEK_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_NAMES = {
    "month": {name: number for number, name in enumerate(_MONTHS, 1)},
    "day-of-week": {name: number for number, name in enumerate(_WEEK_DAYS, 1)},
}
_RANGES = {
    "minutes": (0, 59),
    "hours": (0, 23),
    "day-of-month": (1, 31),
    "month": (1, 12),
    "day-of-week": (1, 7),
    "year": (1970, 2199),
}
_ORDER = " ".join(_RANGES)
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LAST_DAY = re.compile(r"L(?:-([0-9]{1,2}))?|(L)W|([0-9]{1,2})W")
_WEEK_DAY = re.compile(r"([1-7]|[A-Z]{3})(?:(L)|#([1-5]))|L")
_SATURDAY = 7


class Special(NamedTuple):
    """A day that depends on the month.

    By `kind`: ``last`` is its last day, less `number`; ``last weekday`` its last from Monday to Friday; ``nearest`` the
    weekday nearest to the day `number`; ``last of`` its last day of the week `number` (1 is Sunday); ``nth of`` the
    `nth` of those.
    """

    kind: str
    number: int = 0
    nth: int = 0


class Cron(NamedTuple):
    """A parsed expression: the values of each field. Of `days` and `week_days` one is None, for ``?``, or special."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int] | Special | None
    months: frozenset[int]
    week_days: frozenset[int] | Special | None
    years: frozenset[int]


def parse(text: str) -> Cron:
    """Return what the six fields `text` say.

    Raises:
        InvalidTask: AWS would not take them.

    """
    fields = text.upper().split()
    if len(fields) != len(_RANGES):
        remedy = f"write six: cron({_ORDER}), such as {_six(fields)}"
        raise InvalidTask(f"it has {len(fields)} fields", remedy=remedy)
    minutes, hours, day, month, week_day, year = fields
    if (day == "?") is (week_day == "?"):
        raise _days(fields)
    days: frozenset[int] | Special | None = None
    week_days: frozenset[int] | Special | None = None
    months = _values("month", month)
    if day != "?":
        days = _special_day(day) or _values("day-of-month", day)
        _check_days(days, months, day)
    else:
        week_days = _special_week_day(week_day) or _values("day-of-week", week_day)
    return Cron(_values("minutes", minutes), _values("hours", hours), days, months, week_days, _values("year", year))


def _six(fields: list[str]) -> str:
    """Return five fields of another cron as six of AWS's, as far as they mean the same there; else an example."""
    if len(fields) == 5:
        minutes, hours, day, month, week_day = fields
        if week_day == "*":
            return f"cron({minutes} {hours} {day} {month} ? *)"
        if day == "*" and not any(one.isdigit() for one in week_day):  # the others' week begins with another number
            return f"cron({minutes} {hours} ? {month} {week_day} *)"
    return "cron(0 3 * * ? *)"


def _days(fields: list[str]) -> InvalidTask:
    minutes, hours, day, month, week_day, year = fields
    if day == week_day == "?":
        problem, remedy = "both fields for days are ?", f"write cron({minutes} {hours} * {month} ? {year})"
    elif week_day == "*":
        problem, remedy = "no field for days is ?", f"write cron({minutes} {hours} {day} {month} ? {year})"
    elif day == "*":
        problem, remedy = "no field for days is ?", f"write cron({minutes} {hours} ? {month} {week_day} {year})"
    else:
        problem, remedy = "both fields for days have values", "write ? for day-of-month or for day-of-week"
    return InvalidTask(problem, remedy=remedy)


def _values(name: str, text: str) -> frozenset[int]:
    found: set[int] = set()
    parts = text.split(",")
    for part in parts:
        head, slash, step = part.partition("/")
        low, high = _RANGES[name]
        if head == "*":
            if len(parts) > 1:
                raise _bad(name, text, "* is one of several")
            first, last = low, high
        elif "-" in head:
            first, last = (_number(name, text, one) for one in head.split("-", 1))
            if first > last:
                raise _bad(name, text, f"the range {head} goes back")
        else:
            first = _number(name, text, head)
            last = high if slash else first
        if slash and not (step.isascii() and step.isdigit() and 1 <= int(step[:4]) <= high - low):
            raise _bad(name, text, f"the step is {step!r}")
        found.update(range(first, last + 1, int(step) if slash else 1))
    return frozenset(found)


def _number(name: str, text: str, part: str) -> int:
    low, high = _RANGES[name]
    number = _NAMES.get(name, {}).get(part)
    if number is None and part.isascii() and part.isdigit() and len(part) <= 4:
        number = int(part)
    if number is None or not low <= number <= high:
        raise _bad(name, text, f"{part!r} is none of its values")
    return number


def _special_day(text: str) -> Special | None:
    found = _LAST_DAY.fullmatch(text)
    if found is None:
        return None
    if found[2]:
        return Special("last weekday")
    if found[3]:
        return Special("nearest", _number("day-of-month", text, found[3]))
    return Special("last", _number("day-of-month", text, found[1]) if found[1] else 0)


def _special_week_day(text: str) -> Special | frozenset[int] | None:
    found = _WEEK_DAY.fullmatch(text)
    if found is None:
        return None
    if found[1] is None:
        return frozenset({_SATURDAY})
    number = _number("day-of-week", text, found[1])
    return Special("last of", number) if found[2] else Special("nth of", number, int(found[3]))


def _check_days(days: frozenset[int] | Special, months: frozenset[int], text: str) -> None:
    """Refuse a day that none of the months has."""
    first = min(days) if isinstance(days, frozenset) else days.number if days.kind == "nearest" else 1
    if first > max(_LONGEST_MONTHS[month - 1] for month in months):
        raise _bad("day-of-month", text, "there is no such day in these months")


def _bad(name: str, text: str, problem: str) -> InvalidTask:
    low, high = _RANGES[name]
    names = list(_NAMES.get(name, ()))
    values = f"{low} to {high}" + (f" or {names[0]} to {names[-1]}" if names else "")
    wildcards = {"day-of-month": ", ?, L, W", "day-of-week": ", ?, L, #"}.get(name, "")
    return InvalidTask(f"its {name} is {text}: {problem}", remedy=f"use {values}, with , - * /{wildcards}")
