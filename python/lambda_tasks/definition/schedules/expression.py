"""The expression of a schedule: ``cron(...)``, ``rate(...)`` or ``at(...)``, as EventBridge Scheduler takes it.

Source: https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

from lambda_tasks.definition.schedules import cron
from lambda_tasks.errors import InvalidTask

UTC = "UTC"
_FORM = re.compile(r"(cron|rate|at)\(([^()]*)\)")
_AT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")
_RATE = re.compile(r"([1-9][0-9]{0,8}) (minute|hour|day)(s?)")
_SECONDS = {"minute": 60, "hour": 3600, "day": 86400}
_FORMS = "cron(0 3 * * ? *), rate(5 minutes) or at(2027-01-31T12:00:00)"


class Expression(NamedTuple):
    """A parsed expression. `text` is as AWS is to have it; of `cron`, `seconds` and `at`, a local time, one is set."""

    text: str
    cron: cron.Cron | None = None
    seconds: int | None = None
    at: datetime | None = None


def parse(value: object, name: str = "schedule") -> Expression:
    """Return what an expression says.

    Raises:
        InvalidTask: AWS would not take it.

    """
    if not isinstance(value, str):
        raise InvalidTask(f"{name} is {value!r}", remedy=f"use a text: {_FORMS}")
    form = _FORM.fullmatch(value.strip())
    if form is None:
        is_bare = len(value.split()) in (5, 6) and "(" not in value
        remedy = f"write cron({' '.join(value.split())})" if is_bare and len(value.split()) == 6 else f"use {_FORMS}"
        raise InvalidTask(f"{name} is {value!r}", remedy=remedy)
    content = " ".join(form[2].split())
    text = f"{form[1]}({content})"
    try:
        if form[1] == "cron":
            return Expression(text, cron=cron.parse(content))
        return Expression(text, seconds=_seconds(content)) if form[1] == "rate" else Expression(text, at=_at(content))
    except InvalidTask as error:
        raise InvalidTask(f"{name} is {value!r}: {error.problem}", remedy=error.remedy) from None


def checked(name: str, value: object) -> str:
    """Return an expression as AWS is to have it.

    Raises:
        InvalidTask: as `parse`.

    """
    return parse(value, name).text


def checked_zone(name: str, value: object) -> str:
    """Return the name of a time zone that there is, as far as this machine has the data to tell.

    Raises:
        InvalidTask: there is none of this name.

    """
    import zoneinfo  # noqa: PLC0415 - for schedules with a time zone

    if not isinstance(value, str):
        raise InvalidTask(f"{name} is {value!r}", remedy='use a name, such as "Europe/Berlin"')
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        if value and _has_data(zoneinfo):
            import difflib  # noqa: PLC0415 - for a name that is misspelt

            names = {one.lower(): one for one in sorted(zoneinfo.available_timezones())}
            close = difflib.get_close_matches(value.lower(), names, 1)
            remedy = f"use {names[close[0]]}" if close else 'use a name, such as "Europe/Berlin"'
            raise InvalidTask(f"{name} is {value!r}, which is no time zone", remedy=remedy) from None
        if re.fullmatch(r"[A-Za-z][\w+-]*(/[\w+-]+)*", value) is None:
            raise InvalidTask(f"{name} is {value!r}", remedy='use a name, such as "Europe/Berlin"') from None
    return value


def _has_data(zoneinfo: object) -> bool:
    try:
        zoneinfo.ZoneInfo("Europe/Berlin")  # type: ignore[attr-defined] # the module
    except (LookupError, ValueError, OSError):
        return False
    return True


def _seconds(content: str) -> int:
    rate = _RATE.fullmatch(content)
    if rate is None:
        problem = "it is no whole number above 0 with a unit"
        if re.fullmatch(r"[0-9]+ seconds?", content):
            problem = "the shortest unit is a minute"
        raise InvalidTask(problem, remedy="use minutes, hours or days, such as rate(5 minutes)")
    if (rate[1] == "1") is bool(rate[3]):
        unit = rate[2] if rate[1] == "1" else f"{rate[2]}s"
        raise InvalidTask("number and unit do not agree", remedy=f"write rate({rate[1]} {unit})")
    return int(rate[1]) * _SECONDS[rate[2]]


def _at(content: str) -> datetime:
    try:
        if _AT.fullmatch(content):
            return datetime.fromisoformat(content)
        problem = "it is no time without a zone"
    except ValueError as error:
        problem = str(error)
    raise InvalidTask(problem, remedy="write at(yyyy-mm-ddThh:mm:ss), and the zone as schedule_timezone") from None
