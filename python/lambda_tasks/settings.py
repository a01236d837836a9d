"""The settings of a function. No other module reads ``LAMBDA_TASKS_*`` variables other than references.

The text below each setting is the reference of the documents: ``make docs`` makes the page of it.
"""

from __future__ import annotations

import os
import sys

from lambda_tasks import setting_values as values
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
"""A secret that holds a flat JSON object of strings: each pair becomes a variable. `<arn>`,
`<arn>:<version-stage>`, `<arn>:<version-id>` or `<arn>:<version-stage>:<version-id>`."""
SSM_ENVIRONMENT = "LAMBDA_TASKS_SSM_ENVIRONMENT"
"""The same from a parameter, by name or ARN; or a path ending in `/`, below which every parameter becomes a
variable (`/app/prod/DB/HOST` below `/app/prod/` is `DB_HOST`). The environment secret overrides it."""
VARIABLE_PREFIX = "LAMBDA_TASKS_SECRET_"
"""The variable `<NAME>` alone: `<arn>` for a whole secret, `<arn>:<json-key>:<version-stage>:<version-id>` for one
key of its JSON as in Amazon ECS (any of the three may be empty; a number or a boolean arrives as it is spelt
there), or a parameter's ARN with an optional `:<version or label>`. Environment secrets may hold such references
too."""
REFERENCES = frozenset({ENVIRONMENT_SECRET, SSM_ENVIRONMENT})
RESOLVED = "LAMBDA_TASKS_RESOLVED"
NEXT_WRAPPER = "LAMBDA_TASKS_NEXT_WRAPPER"
PROCESSES = "LAMBDA_TASKS_PROCESSES"
RESTARTED = "LAMBDA_TASKS_RESTARTED"  # of a runtime that is started anew in the middle of an environment's life
MESSAGE = "LAMBDA_TASKS_MESSAGE"
"""The message that `lambda-tasks run` runs, where it gets no argument. Jobs that `enqueue` submits have it."""

MAX_CONCURRENCY = "AWS_LAMBDA_MAX_CONCURRENCY"
_QUEUE_URL = "LAMBDA_TASKS_QUEUE_URL"
# Its only task does nothing, so that a list of modules need not name it.
SMOKE_MODULE = "lambda_tasks.tasks.smoke"


class Settings(Value):
    """The function's configuration, checked."""

    strict_references: bool = False
    """`1`: every reference must pin all that it can."""
    resolve_timeout_seconds: float = 8.0
    """The time for resolving, in seconds, retries included. Lambda's init phase has 10."""
    next_wrapper: str | None = None
    """Another exec wrapper to run next, such as `/opt/otel-instrument`: a function has only one
    `AWS_LAMBDA_EXEC_WRAPPER`. It does not see this variable."""
    resolved: tuple[str, ...] | None = None
    """The names that the exec wrapper exported, which sets it itself. They are not resolved again, so that wrapping
    twice is wrapping once."""
    exports: tuple[str, ...] | None = None
    """The variables that environment sources may set, by name or beginning: `DB_*,API_KEY`. Any other one in them
    is an error that lists the names. Unset, all but reserved ones may be set."""
    max_secret_age_seconds: float | None = None
    """The age that resolved values may reach, in seconds, before an invocation resolves them again. Unset, they
    live as long as the execution environment."""
    modules: tuple[str, ...] | None = None
    """The modules whose tasks may run: `shop.tasks,billing.*`. Those named in full are imported in the init phase.
    Unset, any module may."""
    queue_urls: Mapping[str, str] = {}
    """The queues that `enqueue` sends to: `LAMBDA_TASKS_QUEUE_URL` is the queue `default`, and
    `LAMBDA_TASKS_QUEUE_URL_<NAME>` the queue of that name. `batch:<job queue>/<job definition>` and
    `ecs:<cluster>/<task definition>` make each message a job."""
    table: str | None = None
    """The DynamoDB table, by name or ARN, that keeps leases and records; `django` or `django:<alias>` is a database
    of Django's. Unset, a duplicate of a message runs again."""
    record_ttl_seconds: float = DEFAULT_RECORD_TTL_SECONDS
    """The time for which a record is kept, in seconds: by default 14 days, the longest that SQS keeps a message."""
    record_kwargs: bool = False
    """`1`: records hold the kwargs of every task that does not decide for itself."""
    record_enqueued: bool = True
    """`0`: a producer that has the table does not record what it sends."""
    metrics_namespace: str | None = None
    """The CloudWatch namespace of the metrics that are then written to standard output."""
    memory_guard: bool = False
    """`1`: a task that wants more memory than the function has, or its process's part of it, gets `MemoryError`."""
    mode: str = "sqs"
    """The destination of `enqueue`: `sqs`; `eager` (the task runs now, and its error is raised); `local` (it runs
    in a few processes of this machine); `off` (messages are dropped with a warning)."""
    payload_buckets: tuple[str, ...] = ()
    """The S3 bucket for messages of more than 1 MiB; or several, separated by commas: `enqueue` puts into the
    first, and messages may point into each."""
    scheduler_role_arn: str | None = None
    """The role with which EventBridge Scheduler sends messages that are due in more than 15 minutes."""
    dead_letter_queue_url: str | None = None
    """The queue for failed and rejected messages, with the reason. Unset, it is the one that the source queue's
    redrive policy names. Of a producer, it is the queue for what EventBridge Scheduler cannot send."""
    failure_topic_arn: str | None = None
    """The SNS topic that hears of each message that failed or was rejected for good; or an EventBridge event bus, by
    its ARN."""
    soft_timeout_seconds: float | None = None
    """The soft timeout of tasks without their own, in seconds."""
    hard_timeout_seconds: float | None = None
    """The hard timeout of tasks without their own, in seconds. Unset, the invocation's end is the only limit."""
    reporting_margin_seconds: float = 2.0
    """The last seconds of an invocation, in which no task runs and outcomes are reported. It is never more than a
    fifth of the function's timeout."""
    concurrency: int = 1
    """The number of ordinary tasks of a batch that run at a time, in threads. `1` runs one after the other, in the
    main thread."""
    log_context: tuple[str, ...] = ()
    """The names of context values that log records of a task carry beside its ids: `tenant,user`."""
    django: bool = True
    """`0`: Django is not set up, though `DJANGO_SETTINGS_MODULE` is set."""
    atomic: str | None = None
    """`1`, or the alias of a database: ordinary tasks run in a transaction of Django's."""
    log_errors: str = "full"
    """`type`: log records and spans tell of a task's error its type and place, without its text and traceback."""

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
            strict_references=read("STRICT_REFERENCES", values.boolean, False),  # noqa: FBT003
            resolve_timeout_seconds=read("RESOLVE_TIMEOUT_SECONDS", values.positive_seconds, 8.0),
            next_wrapper=read("NEXT_WRAPPER", values.optional, None),
            resolved=read("RESOLVED", values.exact_names, None),
            exports=read("EXPORTS", values.name_patterns, None),
            max_secret_age_seconds=read("MAX_SECRET_AGE_SECONDS", values.max_age_seconds, None),
            modules=read("MODULES", values.modules, None),
            queue_urls=_queue_urls(environ),
            table=read("TABLE", values.optional, None),
            record_ttl_seconds=read("RECORD_TTL_SECONDS", values.record_ttl_seconds, DEFAULT_RECORD_TTL_SECONDS),
            record_kwargs=read("RECORD_KWARGS", values.boolean, False),  # noqa: FBT003
            record_enqueued=read("RECORD_ENQUEUED", values.boolean, True),  # noqa: FBT003
            metrics_namespace=read("METRICS_NAMESPACE", values.metrics_namespace, None),
            memory_guard=read("MEMORY_GUARD", values.boolean, False),  # noqa: FBT003
            mode=read("MODE", values.mode, "sqs"),
            payload_buckets=read("PAYLOAD_BUCKET", values.names, ()),
            scheduler_role_arn=read("SCHEDULER_ROLE_ARN", values.optional, None),
            dead_letter_queue_url=read("DEAD_LETTER_QUEUE_URL", values.optional, None),
            failure_topic_arn=read("FAILURE_TOPIC_ARN", values.topic_or_event_bus, None),
            soft_timeout_seconds=read("SOFT_TIMEOUT_SECONDS", values.optional_seconds, None),
            hard_timeout_seconds=read("HARD_TIMEOUT_SECONDS", values.optional_seconds, None),
            reporting_margin_seconds=read("REPORTING_MARGIN_SECONDS", values.positive_seconds, 2.0),
            concurrency=read("CONCURRENCY", values.threads, 1),
            log_context=read("LOG_CONTEXT", values.names, ()),
            django=read("DJANGO", values.boolean, True),  # noqa: FBT003
            atomic=read("ATOMIC", values.database, None),
            log_errors=read("LOG_ERRORS", values.log_errors, "full"),
        )
        soft, hard = settings.soft_timeout_seconds, settings.hard_timeout_seconds
        if soft is not None and hard is not None and soft >= hard:
            problem, variable = "the soft timeout is not below the hard one", "LAMBDA_TASKS_SOFT_TIMEOUT_SECONDS"
            errors.append(InvalidSetting(problem, variable=variable, remedy="make it shorter than the hard one"))
        return settings, errors

    @property
    def record_database(self) -> str | None:
        """The alias of the database of Django's that keeps the records, or None where no such database does."""
        if self.table is None:
            return None
        store, _, alias = self.table.partition(":")
        return (alias or "default") if store == "django" else None

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
        if self.modules is None or module == SMOKE_MODULE:
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


def processes(environ: Mapping[str, str]) -> int:
    """Return how many processes share an execution environment: on Managed Instances one for each request at a time.

    A process that was started anew is told by `PROCESSES`. As a runtime of its own it must not fork others.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances-python-runtime.html
    """
    count = environ.get(MAX_CONCURRENCY) or environ.get(PROCESSES, "")
    return max(1, int(count)) if count.isascii() and count.isdigit() and len(count) < 6 else 1


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


def names_jobs(queue_url: str) -> bool:
    """Tell whether the URL of a queue names what runs jobs in its place: AWS Batch, or Amazon ECS."""
    return queue_url.startswith(("batch:", "ecs:"))


def _queue_urls(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(_QUEUE_URL) and value}
