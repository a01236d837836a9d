"""The schedules of tasks: what EventBridge Scheduler takes, checked where a task is defined, and when it is due."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_tasks import task
from lambda_tasks.definition.schedules.expression import parse
from lambda_tasks.errors import InvalidTask
from lambda_tasks.local.schedules.occurrences import next_after
from wrapper import base_environ

START = datetime(2026, 11, 21, 12, 0, 30, tzinfo=timezone.utc)  # a Saturday


def define(**options: Any) -> Any:
    def tick(*, days: int = 3) -> None:
        assert days

    made: Any = task(**options)
    return made(tick)


GOOD = [
    "cron(0 3 * * ? *)",
    "cron(0/15 8-17 ? * MON-FRI *)",
    "cron(*/5 * 1,15 * ? 2026-2030)",
    "cron(15 10 ? * 6L 2026-2027)",
    "cron(0 0 L * ? *)",
    "cron(0 0 3W * ? *)",
    "cron(0 9 ? JAN,jul TUE#2 *)",
    "cron(0 9 29 2 ? *)",
    "rate(1 minute)",
    "rate(5 minutes)",
    "rate(12 hours)",
    "rate(1 day)",
    "at(2027-01-31T12:00:00)",
]


@pytest.mark.parametrize("text", GOOD)
def test_what_aws_takes_is_taken(text: str) -> None:
    """A task keeps its expression as it is written; only blanks in it are made one each."""
    assert define(schedule=text).configuration.schedule == text
    spaced = f" {text.replace(' ', '  ')} "
    assert define(schedule=spaced, schedule_timezone="Europe/Berlin").configuration.schedule == text


BAD = [
    (5, "use a text: cron"),
    ("", "use cron"),
    ("daily", "use cron"),
    ("0 3 * * ? *", r"write cron\(0 3 \* \* \? \*\)"),
    ("0 3 * * *", "use cron"),
    (
        "cron(0 3 * * *)",
        r"it has 5 fields .*write six: cron\(minutes hours day-of-month .*such as cron\(0 3 \* \* \? \*\)",
    ),
    ("cron(0 3 * * MON)", r"such as cron\(0 3 \? \* MON \*\)"),
    ("cron(0 3 * * 1)", r"such as cron\(0 3 \* \* \? \*\)"),
    ("cron(0 3 * * * *)", r"no field for days is \? .*write cron\(0 3 \* \* \? \*\)"),
    ("cron(0 3 * * MON *)", r"write cron\(0 3 \? \* MON \*\)"),
    ("cron(0 3 1 * MON *)", "both fields for days have values"),
    ("cron(0 3 ? * ? *)", r"both fields for days are \? .*write cron\(0 3 \* \* \? \*\)"),
    ("cron(60 3 * * ? *)", "its minutes is 60: '60' is none of its values .*use 0 to 59"),
    ("cron(0 24 * * ? *)", "its hours is 24"),
    ("cron(0 3 0 * ? *)", "its day-of-month is 0"),
    ("cron(0 3 32 * ? *)", "its day-of-month is 32"),
    ("cron(0 3 ? 13 MON *)", "its month is 13.*1 to 12 or JAN to DEC"),
    ("cron(0 3 ? * 0 *)", "its day-of-week is 0.*1 to 7 or SUN to SAT"),
    ("cron(0 3 ? * MUN *)", "'MUN' is none"),
    ("cron(0 3 ? * MON#6 *)", "none of its values"),
    ("cron(0 3 ? * XYZL *)", "'XYZ' is none"),
    ("cron(0 3 40W * ? *)", "'40' is none"),
    ("cron(0 3 * * ? 1969)", "its year is 1969"),
    ("cron(0 3 30 2 ? *)", "there is no such day"),
    ("cron(0 3 31W 4,6 ? *)", "there is no such day"),
    ("cron(30-10 3 * * ? *)", "the range 30-10 goes back"),
    ("cron(0/0 3 * * ? *)", "the step is '0'"),
    ("cron(0/60 3 * * ? *)", "the step is '60'"),
    ("cron(*,5 3 * * ? *)", "is one of several"),
    ("cron(1, 3 * * ? *)", "'' is none"),
    ("cron(? 3 * * ? *)", "its minutes is"),
    ("CRON(0 3 * * ? *)", "use cron"),
    ("rate(0 minutes)", "no whole number above 0"),
    ("rate(-1 minutes)", "no whole number"),
    ("rate(1.5 hours)", "no whole number"),
    ("rate(30 seconds)", "the shortest unit is a minute"),
    ("rate(1 minutes)", r"write rate\(1 minute\)"),
    ("rate(2 hour)", r"write rate\(2 hours\)"),
    ("rate(1 week)", "use minutes, hours or days"),
    ("at(2027-02-30T00:00:00)", "write at"),
    ("at(2027-01-31T12:00:00Z)", "no time without a zone"),
    ("at(2027-01-31)", "no time without a zone"),
]


@pytest.mark.parametrize(("text", "words"), BAD)
def test_what_aws_refuses_is_an_error_of_the_definition(text: object, words: str) -> None:
    """A bad expression is an error where the task is defined, which names the task and says what to write."""
    with pytest.raises(InvalidTask, match=f"(?s)schedule is .*{words}") as raised:
        define(schedule=text)
    assert "task test_schedule_expressions." in str(raised.value)


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("Europe/Berln", "no time zone.*use Europe/Berlin"),
        ("europe/berlin", "use Europe/Berlin"),
        ("+02:00", "no time zone"),
        ("../UTC", "no time zone"),
        ("Europe", "no time zone"),
        ("", "use a name"),
        (2, "use a name"),
    ],
)
def test_a_zone_has_to_be_one(zone: object, words: str) -> None:
    """A time zone that there is not is an error, with the nearest one that there is."""
    with pytest.raises(InvalidTask, match=f"schedule_timezone is .*{words}"):
        define(schedule="rate(1 day)", schedule_timezone=zone)


def test_options_that_need_each_other() -> None:
    """A zone needs a schedule, a scheduled task runs without kwargs, and neither option is one of messages."""
    with pytest.raises(InvalidTask, match=r"a schedule_timezone and no schedule .*add schedule="):
        define(schedule_timezone="UTC")

    def needs(*, order_id: int, days: int = 1) -> None: ...

    with pytest.raises(InvalidTask, match=r"no kwargs, and order_id has no default .*: give each parameter a default"):
        task(schedule="rate(1 day)")(needs)
    made = define(schedule="rate(1 day)", schedule_timezone="UTC")
    assert made.options(delay=5).configuration.schedule == "rate(1 day)"
    with pytest.raises(InvalidTask, match="messages do not carry schedule"):
        made.options(schedule="rate(2 days)")
    assert define(schedule=None).configuration.schedule is None


def test_tasks_without_a_schedule_pay_nothing() -> None:
    """Nothing is imported for tasks without a schedule, no zones without one, and the layer has no grammar at all."""
    program = """
import sys
from lambda_tasks import task
@task
def plain() -> None: ...
wanted = {"zoneinfo", "lambda_tasks.definition.schedules.expression", "lambda_tasks.enqueue.topics"}
print(sorted(wanted & sys.modules.keys()))
task(schedule="rate(1 day)")(plain.function)
print(sorted(wanted & sys.modules.keys()))
sys.modules["lambda_tasks.definition.schedules"] = None  # as in the layer
del sys.modules["lambda_tasks.definition.schedules.expression"]
print(task(schedule="rate(1 day)", schedule_timezone="UTC")(plain.function).configuration.schedule)
"""
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, env=base_environ()
    )
    imported = "['lambda_tasks.definition.schedules.expression']"
    assert finished.stdout.splitlines() == ["[]", imported, "rate(1 day)"]


def due(text: str, zone: str | None = None, after: datetime = START) -> str:
    """Return the next time of an expression, in UTC."""
    found = next_after(parse(text), zone, after, START)
    return "never" if found is None else found.strftime("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(
    ("text", "zone", "time"),
    [
        ("cron(0 3 * * ? *)", None, "2026-11-22 03:00:00"),
        ("cron(0 3 * * ? *)", "Europe/Berlin", "2026-11-22 02:00:00"),
        ("cron(0 3 * 7 ? *)", "Europe/Berlin", "2027-07-01 01:00:00"),
        ("cron(0 23 * * ? *)", "America/Los_Angeles", "2026-11-22 07:00:00"),
        ("cron(0/15 * * * ? *)", None, "2026-11-21 12:15:00"),
        ("cron(0 12 ? * SAT *)", None, "2026-11-28 12:00:00"),
        ("cron(0 12 ? * L *)", None, "2026-11-28 12:00:00"),
        ("cron(0 12 ? * 2L *)", None, "2026-11-30 12:00:00"),
        ("cron(0 12 ? * MON#1 *)", None, "2026-12-07 12:00:00"),
        ("cron(0 12 ? * 1#5 *)", None, "2026-11-29 12:00:00"),
        ("cron(0 12 L * ? *)", None, "2026-11-30 12:00:00"),
        ("cron(0 12 L-3 * ? *)", None, "2026-11-27 12:00:00"),
        ("cron(0 12 LW 1 ? *)", None, "2027-01-29 12:00:00"),
        ("cron(0 12 15W 8 ? *)", None, "2027-08-16 12:00:00"),  # a Sunday
        ("cron(0 12 1W 5 ? *)", None, "2027-05-03 12:00:00"),  # a Saturday, and the nearest day is of another month
        ("cron(0 12 31W 1 ? *)", None, "2027-01-29 12:00:00"),  # a Sunday, as above
        ("cron(0 12 31W 2-3 ? *)", None, "2027-03-31 12:00:00"),
        ("cron(0 12 29 2 ? *)", None, "2028-02-29 12:00:00"),
        ("cron(30 2 28 3 ? 2027)", "Europe/Berlin", "never"),  # clocks go from 2 to 3
        ("cron(30 2 31 10 ? 2027)", "Europe/Berlin", "2027-10-31 00:30:00"),  # twice, and it runs once
        ("cron(0 12 1 1 ? 2026)", None, "never"),
        ("rate(5 minutes)", None, "2026-11-21 12:05:30"),
        ("rate(1 day)", "Europe/Berlin", "2026-11-22 12:00:30"),
        ("at(2027-01-31T12:00:00)", "Europe/Berlin", "2027-01-31 11:00:00"),
        ("at(2026-01-31T12:00:00)", None, "never"),
    ],
)
def test_the_next_time(text: str, zone: str | None, time: str) -> None:
    """A schedule is due when EventBridge Scheduler has it, in its own zone."""
    assert due(text, zone) == time


def test_it_is_due_again_and_again() -> None:
    """After each time comes the next one: no time comes twice, and where clocks go back neither."""
    times, now = [], datetime(2027, 10, 31, 0, 0, tzinfo=timezone.utc)
    for _ in range(3):
        now = next_after(parse("cron(30 2 * * ? *)"), "Europe/Berlin", now, START) or now
        times.append(f"{now:%d %H:%M}")
    assert times == ["31 00:30", "01 01:30", "02 01:30"]
    later = START + timedelta(minutes=7)
    assert due("rate(5 minutes)", after=later) == "2026-11-21 12:10:30"


@settings(max_examples=40, deadline=None)
@given(
    minutes=st.sets(st.integers(0, 59), min_size=1, max_size=3),
    hours=st.sets(st.integers(0, 23), min_size=1, max_size=2),
    week_days=st.sets(st.integers(1, 7), min_size=1, max_size=3),
    shift=st.integers(0, 500_000),
)
def test_no_time_is_passed_over(minutes: set[int], hours: set[int], week_days: set[int], shift: int) -> None:
    """The next time is the first minute whose parts the fields have."""
    after = START + timedelta(minutes=shift)
    text = f"cron({','.join(map(str, minutes))} {','.join(map(str, hours))} ? * {','.join(map(str, week_days))} *)"
    found = next_after(parse(text), None, after, START)
    minute = after.replace(second=0)
    while True:
        minute += timedelta(minutes=1)
        if minute.hour not in hours:
            minute = minute.replace(minute=59)
        elif minute.minute in minutes and minute.isoweekday() % 7 + 1 in week_days:
            break
    assert found == minute
