"""The settings of a function. No other module reads ``LAMBDA_TASKS_*`` variables other than references."""

from __future__ import annotations

import os
import sys

from lambda_tasks.errors import InvalidSetting, LambdaTasksError, combine
from lambda_tasks.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    T = TypeVar("T")

DEFAULT_RECORD_TTL_SECONDS = 14 * 86400.0  # the longest that SQS keeps a message: no duplicate can come later

# The references to secrets, which `lambda_tasks.environment.reference` reads.
PREFIX = "LAMBDA_TASKS_"
ENVIRONMENT_SECRET = "LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN"  # noqa: S105 - the name of a setting
SSM_ENVIRONMENT = "LAMBDA_TASKS_SSM_ENVIRONMENT"
VARIABLE_PREFIX = "LAMBDA_TASKS_SECRET_"
REFERENCES = frozenset({ENVIRONMENT_SECRET, SSM_ENVIRONMENT})
RESOLVED = "LAMBDA_TASKS_RESOLVED"
NEXT_WRAPPER = "LAMBDA_TASKS_NEXT_WRAPPER"

_QUEUE_URL = "LAMBDA_TASKS_QUEUE_URL"
MODES = ("sqs", "eager", "local", "off")
_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True}
_BOOLEANS |= {"": False, "0": False, "false": False, "no": False, "off": False}


class Settings(Value):
    """The function's configuration, checked."""

    strict_references: bool = False
    resolve_timeout_seconds: float = 8.0
    next_wrapper: str | None = None
    resolved: tuple[str, ...] | None = None
    exports: tuple[str, ...] | None = None
    max_secret_age_seconds: float | None = None
    modules: tuple[str, ...] | None = None
    queue_urls: Mapping[str, str] = {}
    table: str | None = None
    record_ttl_seconds: float = DEFAULT_RECORD_TTL_SECONDS
    record_kwargs: bool = False
    record_enqueued: bool = True
    metrics_namespace: str | None = None
    memory_guard: bool = False
    mode: str = "sqs"
    payload_buckets: tuple[str, ...] = ()
    scheduler_role_arn: str | None = None
    dead_letter_queue_url: str | None = None
    soft_timeout_seconds: float | None = None
    hard_timeout_seconds: float | None = None
    reporting_margin_seconds: float = 2.0
    concurrency: int = 1
    log_context: tuple[str, ...] = ()
    django: bool = True
    atomic: str | None = None
    log_errors: str = "full"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings from `environ`; unset ones have their defaults.

        Raises:
            InvalidSetting: naming every setting with a value that it cannot have.

        """
        settings, errors = cls.parse(environ)
        if errors:
            raise combine(errors)
        return settings

    @classmethod
    def parse(cls, environ: Mapping[str, str]) -> tuple[Settings, list[LambdaTasksError]]:
        """Return the settings in `environ`, and an error for each that has a value that it cannot have."""
        errors: list[LambdaTasksError] = []

        def read(name: str, parse: Callable[[str], T], default: T) -> T:
            variable = PREFIX + name
            value = environ.get(variable)
            if value is None:
                return default
            try:
                return parse(value)
            except ValueError as error:
                errors.append(InvalidSetting("the setting is not usable", variable=variable, remedy=str(error)))
                return default

        settings = cls(
            strict_references=read("STRICT_REFERENCES", _boolean, False),  # noqa: FBT003
            resolve_timeout_seconds=read("RESOLVE_TIMEOUT_SECONDS", _positive_seconds, 8.0),
            next_wrapper=read("NEXT_WRAPPER", _optional, None),
            resolved=read("RESOLVED", _exact_names, None),
            exports=read("EXPORTS", _name_patterns, None),
            max_secret_age_seconds=read("MAX_SECRET_AGE_SECONDS", _max_age_seconds, None),
            modules=read("MODULES", _modules, None),
            queue_urls={name: value for name, value in environ.items() if name.startswith(_QUEUE_URL) and value},
            table=read("TABLE", _optional, None),
            record_ttl_seconds=read("RECORD_TTL_SECONDS", _record_ttl_seconds, DEFAULT_RECORD_TTL_SECONDS),
            record_kwargs=read("RECORD_KWARGS", _boolean, False),  # noqa: FBT003
            record_enqueued=read("RECORD_ENQUEUED", _boolean, True),  # noqa: FBT003
            metrics_namespace=read("METRICS_NAMESPACE", _metrics_namespace, None),
            memory_guard=read("MEMORY_GUARD", _boolean, False),  # noqa: FBT003
            mode=read("MODE", lambda value: _one_of(value, MODES), "sqs"),
            payload_buckets=read("PAYLOAD_BUCKET", _names, ()),
            scheduler_role_arn=read("SCHEDULER_ROLE_ARN", _optional, None),
            dead_letter_queue_url=read("DEAD_LETTER_QUEUE_URL", _optional, None),
            soft_timeout_seconds=read("SOFT_TIMEOUT_SECONDS", _optional_seconds, None),
            hard_timeout_seconds=read("HARD_TIMEOUT_SECONDS", _optional_seconds, None),
            reporting_margin_seconds=read("REPORTING_MARGIN_SECONDS", _positive_seconds, 2.0),
            concurrency=read("CONCURRENCY", _threads, 1),
            log_context=read("LOG_CONTEXT", _names, ()),
            django=read("DJANGO", _boolean, True),  # noqa: FBT003
            atomic=read("ATOMIC", _database, None),
            log_errors=read("LOG_ERRORS", lambda value: _one_of(value, ("full", "type")), "full"),
        )
        soft, hard = settings.soft_timeout_seconds, settings.hard_timeout_seconds
        if soft is not None and hard is not None and soft >= hard:
            problem, variable = "the soft timeout is not below the hard one", "LAMBDA_TASKS_SOFT_TIMEOUT_SECONDS"
            errors.append(InvalidSetting(problem, variable=variable, remedy="make it shorter than the hard one"))
        return settings, errors

    @property
    def payload_bucket(self) -> str | None:
        """The bucket that producers put large payloads into: the first of those that they are fetched from."""
        return self.payload_buckets[0] if self.payload_buckets else None

    def queue_url(self, queue: str) -> str:
        """Return the URL of the queue that tasks call `queue`.

        Raises:
            InvalidSetting: naming the variable that is not set.

        """
        variable = queue_url_variable(queue)
        if variable not in self.queue_urls:
            remedy = "set it to the queue's URL, https://sqs.<region>.amazonaws.com/<account>/<queue>"
            raise InvalidSetting(f"the queue {queue!r} has no URL", variable=variable, remedy=remedy)
        return self.queue_urls[variable]

    def allows_export(self, name: str) -> bool:
        """Tell whether an environment source may set the variable `name`: named in full, or by its beginning."""
        if self.exports is None:
            return True
        return any(name.startswith(one[:-1]) if one.endswith("*") else name == one for one in self.exports)

    def allows_module(self, module: str) -> bool:
        """Tell whether tasks of `module` may run: named in full, or below a package named as ``package.*``."""
        if self.modules is None:
            return True
        return any(
            module.startswith(pattern[:-1]) if pattern.endswith(".*") else module == pattern for pattern in self.modules
        )

    @property
    def modules_named_in_full(self) -> tuple[str, ...]:
        """The modules that can be imported in the init phase, before the first message."""
        return tuple(name for name in self.modules or () if not name.endswith(".*"))


def environ() -> Mapping[str, str]:
    """Return this process's environment. Other code gets it as an argument."""
    return os.environ


def has_references(environ: Mapping[str, str]) -> bool:
    """Tell whether there is anything to resolve, without the resolver's imports."""
    return any(name in REFERENCES or name.startswith(VARIABLE_PREFIX) for name in environ)


def resolves_again(environ: Mapping[str, str]) -> bool:
    """Tell whether what `environ` refers to may be resolved a second time: after a restore, or as it grows old."""
    return bool(environ.get("LAMBDA_TASKS_MAX_SECRET_AGE_SECONDS")) or is_snap_start(environ)


def is_snap_start(environ: Mapping[str, str] | None = None) -> bool:
    """Tell whether this process becomes a snapshot that is restored later.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """
    return (os.environ if environ is None else environ).get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"


_latest: tuple[dict[str, str], Settings] | None = None


def current() -> Settings:
    """Return the settings of this process, as its environment has them now, or else its Django's settings do."""
    global _latest
    own = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    if "django.conf" in sys.modules:
        from lambda_tasks import settings_dictionary  # noqa: PLC0415 - for Django

        own = {**settings_dictionary.of_django(queue_url_variable), **own}
    if _latest is None or _latest[0] != own:
        _latest = own, Settings.from_environ(own)
    return _latest[1]


def queue_url_variable(queue: str) -> str:
    """Return the name of the variable that holds the URL of `queue`."""
    return _QUEUE_URL if queue == "default" else f"{_QUEUE_URL}_{queue.upper().replace('-', '_')}"


def _boolean(value: str) -> bool:
    known = _BOOLEANS.get(value.strip().lower())
    if known is None:
        raise ValueError("use 1 or 0")
    return known


def _database(value: str) -> str | None:
    known = _BOOLEANS.get(value.strip().lower())
    return value if known is None else "default" if known else None


def _seconds(value: str) -> float:
    """Return a number of seconds; none of the settings takes 0, which stands for what is no number."""
    try:
        return float(value)
    except ValueError:
        return 0.0


def _positive_seconds(value: str) -> float:
    if not 0 < (seconds := _seconds(value)) <= 900:  # 15 minutes: the longest that a function can run
        raise ValueError("use a number of seconds above 0 and at most 900")
    return seconds


def _max_age_seconds(value: str) -> float | None:
    if not value:
        return None
    if not 0 < (seconds := _seconds(value)) <= 7 * 86400:
        raise ValueError("use a number of seconds above 0 and at most 604800 (a week)")
    return seconds


def _record_ttl_seconds(value: str) -> float:
    if not 3600 <= (seconds := _seconds(value)) <= 10 * 366 * 86400:
        raise ValueError("use a number of seconds from an hour (3600) to ten years")
    return seconds


def _metrics_namespace(value: str) -> str | None:
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    if len(value) > 255 or not (value.isascii() and value.replace(" ", "").isprintable()) or value.startswith("AWS/"):
        raise ValueError("use at most 255 printable ASCII characters, not beginning with AWS/")
    return value.strip() or None


def _one_of(value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"use one of {', '.join(known)}")
    return value


def _optional_seconds(value: str) -> float | None:
    return _positive_seconds(value) if value else None


def _threads(value: str) -> int:
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 1000):
        raise ValueError("use a whole number of threads from 1 to 1000")
    return int(value)


def _optional(value: str) -> str | None:
    return value or None


def _names(value: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in value.split(",")) if name)


def _exact_names(value: str) -> tuple[str, ...]:
    return tuple(filter(None, value.split(",")))  # as they were exported, where spaces are part of a name


def _name_patterns(value: str) -> tuple[str, ...]:
    names = _names(value)
    for name in names:
        if "*" in name[:-1]:
            raise ValueError("use names such as API_KEY, or their beginnings such as DB_*, separated by commas")
    return names


def _modules(value: str) -> tuple[str, ...]:
    names = _names(value)
    for name in names:
        if not all(part.isidentifier() for part in name.removesuffix(".*").split(".")):
            raise ValueError(f"use module names such as shop.tasks or billing.*, separated by commas; not {name!r}")
    return names
