"""The rate limit of a task, as it is written."""

from __future__ import annotations

import re

from lambda_tasks.errors import InvalidTask

_FORM = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})?([smhd])", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# Each turn is a write of one item, which takes 1,000 a second.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html
_MOST_A_SECOND = 1000
_LONGEST_INTERVAL_SECONDS = 14 * 86400  # SQS keeps no message longer


def parse(name: str, value: object) -> tuple[int, int]:
    """Return the number of runs, and the seconds in which a task may have them: ``"100/m"`` is (100, 60).

    Raises:
        InvalidTask: `value` of the option `name` is no rate limit, or one that cannot be kept.

    """
    found = _FORM.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise InvalidTask(f"{name} is {value!r}", remedy='use a number and a time: "10/s", "100/m", "5/10s", "1000/d"')
    count, seconds = int(found[1]), int(found[2] or 1) * _UNITS[found[3]]
    if count > _MOST_A_SECOND * seconds:
        raise InvalidTask(f"{name} is {value!r}", remedy=f'use up to "{_MOST_A_SECOND}/s"')
    if seconds > _LONGEST_INTERVAL_SECONDS * count:
        raise InvalidTask(f"{name} is {value!r}", remedy='use at least "1/14d": SQS keeps no message longer')
    return count, seconds


def checked(name: str, value: object) -> str:
    """Return a rate limit as it is written.

    Raises:
        InvalidTask: as `parse`.

    """
    parse(name, value)
    return str(value)
