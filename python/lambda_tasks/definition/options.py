"""The options of a task, checked when it is defined, so that a bad one fails at import and not in the queue."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import msgspec

from lambda_tasks import settings
from lambda_tasks.errors import MAX_VISIBILITY_SECONDS, InvalidTask
from lambda_tasks.setting_values import LONGEST_FUNCTION_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Seconds = float | timedelta
ExceptionType = type[BaseException]

_LONGEST_KEPT_SECONDS = 10 * 366 * 86400.0
MAX_DELAY_SECONDS = 900  # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html

_LONGEST_JOB_SECONDS = 14 * 86400
_DEFAULT_QUEUE = "default"


class OptionValuesOfAll(TypedDict, total=False):
    """The options that any task may have, as they are written. Times are seconds or a `timedelta`."""

    queue: str
    """The queue that `enqueue` sends to."""
    delay: Seconds
    """The time after which a message is delivered, up to 900 seconds. 0 overrides a delay of the queue."""
    retry_on: ExceptionType | Sequence[ExceptionType]
    """The errors after which a message is tried again."""
    max_retries: int
    """The number of retries."""
    retry_delay: Seconds
    """The backoff: a random time from 0 to `retry_delay` · 2ⁿ seconds after n retries, at most 12 hours."""
    ignore_errors: ExceptionType | Sequence[ExceptionType]
    """The errors that count as success."""
    soft_timeout: Seconds | None
    """The time after which `SoftTimeLimitExceeded` is raised in the task. `None` is the setting's."""
    hard_timeout: Seconds | None
    """The time after which `HardTimeLimitExceeded` is raised in the task. `None` is the setting's. Above 5,400
    seconds the task needs a queue of its own, for containers."""
    singleton: bool | tuple[str, ...] | list[str]
    """`True`: one message of the task runs at a time; names of kwargs: one for each value of those. Needs a table."""
    singleton_busy: Literal["defer", "skip"]
    """The outcome of another message of a singleton meanwhile."""
    rate_limit: str | None
    """The runs that the task may have in a time: `"100/m"` (`s`, `m`, `h`, `d`; or `"5/10s"`). Others wait for their
    turns. Needs a table."""
    rate_limit_by: tuple[str, ...]
    """The kwargs for each of whose values the limit holds, such as `("tenant_id",)`. Default: one for the task."""
    rate_limit_burst: int | None
    """The runs at once, after a time without any. Default: the limit's number."""
    idempotency_key: bool | tuple[str, ...]
    """The kwargs that make a key, such as `("order_id",)` or `("order.id",)`: after a success, messages with that key
    are skipped. `True`: each `enqueue` has a key of its own. Needs a table."""
    idempotency_seconds: Seconds
    """The time for which a key is kept after a success. Default: a day."""
    idempotency_check: tuple[str, ...]
    """The kwargs in which messages with the same key may not differ: one that does fails."""
    atomic: bool | str
    """`True`, or the alias of a database: the task runs in a transaction of Django's. Unset, it is the setting's."""
    schedule: str | None
    """The times at which the task runs by itself, without kwargs: `cron(0 3 * * ? *)`, `rate(5 minutes)` or
    `at(2027-01-31T12:00:00)`. `lambda-tasks schedules` makes the template's events of them."""
    schedule_timezone: str | None
    """The time zone of the schedule, such as `Europe/Berlin`. `None` is UTC."""
    record_kwargs: bool | tuple[str, ...] | None
    """The kwargs that records hold: `True` for all, or names. `None` is the setting's."""


class OptionValues(OptionValuesOfAll, total=False):
    """The keywords of `@task` and of `Task.options`."""

    batch: bool
    """`True`: the task is called once for all messages of an invocation."""


class Options(msgspec.Struct, frozen=True):
    """The options of a task, checked, with times in seconds. `Options.check` makes them.

    `atomic` is the alias of a database of Django's, empty for no transaction, or None for what the settings say.
    """

    queue: str = "default"
    delay: float = 0
    retry_on: tuple[ExceptionType, ...] = ()
    max_retries: int = 3
    retry_delay: float = 30
    ignore_errors: tuple[ExceptionType, ...] = ()
    soft_timeout: float | None = None
    hard_timeout: float | None = None
    singleton: bool | tuple[str, ...] = False
    singleton_busy: str = "defer"
    rate_limit: str | None = None
    rate_limit_by: tuple[str, ...] = ()
    rate_limit_burst: int | None = None
    record_kwargs: bool | tuple[str, ...] | None = None
    idempotency_key: bool | tuple[str, ...] = False
    idempotency_seconds: float = 86400.0
    idempotency_check: tuple[str, ...] = ()
    batch: bool = False
    atomic: str | None = None
    schedule: str | None = None
    schedule_timezone: str | None = None

    @classmethod
    def check(cls, values: Mapping[str, Any]) -> Options:
        """Return the options that `values` (see `OptionValues`) mean.

        Raises:
            InvalidTask: one is unknown, has a value that it cannot have, or contradicts another.

        """
        unknown = sorted(set(values) - set(_CHECKS))
        if unknown:
            raise InvalidTask(f"there is no option {unknown[0]}", remedy=f"use {', '.join(_CHECKS)}")
        options = cls(**{name: _CHECKS[name](name, value) for name, value in values.items()})
        if options.soft_timeout and options.hard_timeout and options.soft_timeout >= options.hard_timeout:
            remedy = "the soft timeout lets a task clean up before the hard one ends it: make it shorter"
            raise InvalidTask("soft_timeout is not below hard_timeout", remedy=remedy)
        _check_length(options)
        if options.rate_limit is None and (options.rate_limit_by or options.rate_limit_burst):
            problem = "rate_limit_by and rate_limit_burst are of a rate_limit, and there is none"
            raise InvalidTask(problem, remedy='add one, such as rate_limit="100/m"')
        for retried in options.retry_on:
            for ignored in options.ignore_errors:
                if issubclass(retried, ignored) or issubclass(ignored, retried):
                    problem = f"retry_on and ignore_errors overlap: {retried.__name__} and {ignored.__name__}"
                    raise InvalidTask(problem, remedy="keep each exception in one of them")
        return options

    @property
    def is_plain(self) -> bool:
        """Whether no message of the task belongs to others: by a batch, a singleton, a key or a rate limit."""
        return not (self.batch or self.singleton or self.idempotency_key or self.rate_limit)


def _seconds(minimum: float, maximum: float) -> Callable[[str, object], float]:
    def check(name: str, value: object) -> float:
        seconds = value.total_seconds() if isinstance(value, timedelta) else value
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
            raise InvalidTask(f"{name} is {value!r}", remedy="use seconds, as a number or a timedelta")
        if not minimum <= seconds <= maximum:
            raise InvalidTask(f"{name} is {seconds} s", remedy=f"use from {minimum} to {maximum} s")
        return seconds

    return check


_timeout_seconds = _seconds(0.001, LONGEST_FUNCTION_SECONDS)
_long_timeout_seconds = _seconds(0.001, _LONGEST_JOB_SECONDS)


def _check_length(options: Options) -> None:
    """Refuse what no function can run: tasks of containers have a queue of their own, or are jobs."""
    for name in ("soft_timeout", "hard_timeout"):
        seconds = getattr(options, name) or 0
        if seconds > LONGEST_FUNCTION_SECONDS and options.queue == _DEFAULT_QUEUE and not _makes_jobs():
            remedy = f'use from 0.001 to {LONGEST_FUNCTION_SECONDS} s, or a queue for containers, as queue="reports"'
            raise InvalidTask(f"{name} is {seconds} s", remedy=remedy)


def _makes_jobs() -> bool:
    url = settings.current().queue_urls.get(settings.queue_url_variable(_DEFAULT_QUEUE), "")
    return settings.names_jobs(url)


def _timeout(name: str, value: object) -> float | None:
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    is_long = isinstance(seconds, (int, float)) and seconds > LONGEST_FUNCTION_SECONDS
    return (_long_timeout_seconds if is_long else _timeout_seconds)(name, value)


def _exception_types(name: str, value: object) -> tuple[ExceptionType, ...]:
    types = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    unknown = [one for one in types if not (isinstance(one, type) and issubclass(one, BaseException))]
    if unknown:
        raise InvalidTask(f"{name} holds {unknown[0]!r}", remedy="use exception classes, such as (ConnectionError,)")
    return types


def _queue(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.replace("-", "_").isidentifier():
        raise InvalidTask(f"{name} is {value!r}", remedy="use a name of letters, digits, '-' and '_'")
    return value


def _whole_number(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidTask(f"{name} is {value!r}", remedy="use a whole number from 0")
    return value


def _boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidTask(f"{name} is {value!r}", remedy="use True or False")
    return value


def _singleton(name: str, value: object) -> bool | tuple[str, ...]:
    if isinstance(value, (tuple, list)) and value and all(isinstance(one, str) for one in value):
        return tuple(value)
    if isinstance(value, bool):
        return value
    raise InvalidTask(f"{name} is {value!r}", remedy="use True, or a tuple with names of the task's parameters")


def _record_kwargs(name: str, value: object) -> bool | tuple[str, ...] | None:
    return None if value is None else _singleton(name, value)


def _idempotency_key(name: str, value: object) -> bool | tuple[str, ...]:
    if isinstance(value, str):
        raise InvalidTask(f"{name} is {value!r}", remedy=f"use a tuple of names: ({value!r},)")
    return _singleton(name, value)


def _idempotency_check(name: str, value: object) -> tuple[str, ...]:
    if value == ():
        return ()
    checked = _singleton(name, value)
    if isinstance(checked, bool):
        raise InvalidTask(f"{name} is {value!r}", remedy="use a tuple with names of the task's parameters")
    return checked


def _late(module: str, function: str) -> Callable[[str, object], Any]:
    """Return a check by a module that few tasks need. One that the layer has not was made before the deployment."""

    def check(name: str, value: object) -> object:
        if value is None:
            return None
        try:
            return getattr(import_module(f"{__package__}.{module}"), function)(name, value)
        except ModuleNotFoundError:
            return value

    return check


def _rate_limit_by(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        raise InvalidTask(f"{name} is {value!r}", remedy=f"use a tuple of names: ({value!r},)")
    return _idempotency_check(name, value)


def _rate_limit_burst(name: str, value: object) -> int | None:
    burst = None if value is None else _whole_number(name, value)
    if burst == 0:
        raise InvalidTask(f"{name} is 0", remedy="use a whole number from 1")
    return burst


def _singleton_busy(name: str, value: object) -> str:
    if value not in ("defer", "skip"):
        raise InvalidTask(f"{name} is {value!r}", remedy="use 'defer' or 'skip'")
    return str(value)


def _atomic(name: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "default" if value else ""
    raise InvalidTask(f"{name} is {value!r}", remedy="use True, False, or the alias of a database")


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "queue": _queue,
    "delay": _seconds(0, MAX_DELAY_SECONDS),
    "retry_on": _exception_types,
    "max_retries": _whole_number,
    "retry_delay": _seconds(0, MAX_VISIBILITY_SECONDS),
    "ignore_errors": _exception_types,
    "soft_timeout": _timeout,
    "hard_timeout": _timeout,
    "singleton": _singleton,
    "singleton_busy": _singleton_busy,
    "rate_limit": _late("rates", "checked"),
    "rate_limit_by": _rate_limit_by,
    "rate_limit_burst": _rate_limit_burst,
    "record_kwargs": _record_kwargs,
    "idempotency_key": _idempotency_key,
    "idempotency_seconds": _seconds(1, _LONGEST_KEPT_SECONDS),
    "idempotency_check": _idempotency_check,
    "batch": _boolean,
    "atomic": _atomic,
    "schedule": _late("schedules.expression", "checked"),
    "schedule_timezone": _late("schedules.expression", "checked_zone"),
}
