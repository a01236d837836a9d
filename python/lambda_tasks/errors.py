"""The errors of this package, which have one root, so that a caller can catch all of them at once.

The resolver imports this module at every cold start, so it imports nothing itself.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

MAX_VISIBILITY_SECONDS = (
    12 * 3600
)  # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html


class LambdaTasksError(Exception):
    """An error that says what is wrong, which variable and source it concerns, and what to do about it.

    The parts are attributes; ``str()`` joins them in that order. No part ever holds a secret's value.
    ``errors`` lists the single problems where one error reports several (see `combine`).
    """

    def __init__(
        self,
        problem: str,
        *,
        variable: str | None = None,
        source: str | None = None,
        remedy: str | None = None,
        errors: Sequence[LambdaTasksError] = (),
    ) -> None:
        which = ", ".join(part for part in (f"variable {variable}" if variable else "", source or "") if part)
        super().__init__(problem + (f" ({which})" if which else "") + (f": {remedy}" if remedy else ""))
        self.problem = problem
        self.variable = variable
        self.source = source
        self.remedy = remedy
        self.errors: tuple[LambdaTasksError, ...] = tuple(errors) or (self,)

    def concerning(self, variable: str) -> LambdaTasksError:
        """Return the same error, naming `variable`, unless it names the one at fault by itself."""
        if self.variable:
            return self
        return type(self)(self.problem, variable=variable, source=self.source, remedy=self.remedy)


def combine(errors: Sequence[LambdaTasksError]) -> LambdaTasksError:
    """Return one error of the first one's class that reports each of `errors` once; there must be one."""
    different: dict[tuple[type, str], LambdaTasksError] = {}
    for error in errors:
        different.setdefault((type(error), str(error)), error)
    first, *others = errors = list(different.values())
    if not others:
        return first
    numbered = "; ".join(f"{number}) {type(error).__name__}: {error}" for number, error in enumerate(errors, 1))
    return type(first)(f"{len(errors)} problems: {numbered}", errors=errors)


def text_of(error: BaseException) -> str:
    """Return the text of `error`, whatever its own code does."""
    try:
        return "".join((str(error),))  # a plain text, where __str__ returns one of a type of its own
    except BaseException as broken:  # noqa: BLE001 - an application's error may have a __str__ that raises
        return f"(its __str__ raised {type(broken).__name__})"


def traceback_of(error: BaseException) -> str:
    """Return the traceback of `error` as text, whatever its own code does."""
    import traceback  # noqa: PLC0415 - for what failed

    try:
        return "".join(traceback.format_exception(error))
    except BaseException as broken:  # noqa: BLE001 - as above
        return f"(formatting it raised {type(broken).__name__})"


def type_name_of(error: BaseException) -> str:
    """Return the name of the type of `error`, or the one that an earlier delivery recorded."""
    return error.error_type if type(error) is EndedEarlier else type(error).__qualname__


class ConfigurationError(LambdaTasksError, ValueError):
    """An error whose cause lies in the function's configuration, in a secret, or in the caller's code."""


# Settings and references: raised before the runtime starts.


class InvalidSetting(ConfigurationError):
    """The error of a ``LAMBDA_TASKS_*`` setting that is needed and missing, or has a value that it cannot have."""


class InvalidReference(ConfigurationError):
    """The error of a reference to a secret or a parameter that does not follow the grammar."""


class VariableConflict(ConfigurationError):
    """The error of a variable that is referenced and also set, so that it is not clear which value is meant."""


class ReservedVariable(ConfigurationError):
    """The error of a variable that Lambda reserves, or by which the next program finds its code or credentials."""


class ExportNotAllowed(ConfigurationError):
    """The error of an environment source that sets a variable which ``LAMBDA_TASKS_EXPORTS`` does not list."""


class InvalidSecret(ConfigurationError):
    """The error of a secret whose content cannot become environment variables."""


class SecretNotFound(ConfigurationError):
    """The error of a secret, parameter or version that does not exist in its region and account."""


class SecretAccessDenied(ConfigurationError):
    """The error of a secret that the function's role may not read or decrypt."""


class CredentialsNotFound(ConfigurationError):
    """The error of a process without usable AWS credentials."""


class UnusableMsgspec(ConfigurationError):
    """The msgspec of a function, or of two layers together, cannot be imported or is too old."""


class ShadowedPackage(ConfigurationError):
    """The error of another distribution that is imported as ``lambda_tasks`` too: one hides the other."""


class InvalidNextWrapper(ConfigurationError):
    """The error of a ``LAMBDA_TASKS_NEXT_WRAPPER`` that is no executable file, or the wrapper itself."""


class PythonNotFound(ConfigurationError):
    """The error of an exec wrapper without a Python to resolve with; its shell half reports it, for want of one."""


class CommandNotExecutable(ConfigurationError):
    """The error of an exec wrapper whose command cannot be executed."""


class ResolveTimeout(LambdaTasksError):
    """The error of references that were not resolved within ``LAMBDA_TASKS_RESOLVE_TIMEOUT_SECONDS``."""


class ServiceUnavailable(LambdaTasksError):
    """The error of a service that could not be reached, or did not answer as its API documents."""


# Tasks: raised where a task is defined or enqueued.


class InvalidTask(ConfigurationError):
    """The error of a task, or of its options, that could not be enqueued or dispatched."""


class InvalidHook(ConfigurationError):
    """The error of a hook that ``on_start`` or ``on_outcome`` could not call."""


class EnqueueFailed(LambdaTasksError):
    """The error of a message that AWS did not take."""


class MessageTooLarge(LambdaTasksError, ValueError):
    """The error of a message that is larger than SQS takes, without a bucket for its payload, or than SNS takes."""


class InvalidContext(LambdaTasksError, ValueError):
    """The error of a context that cannot travel with a message."""


# Payloads in S3: none of them says that the message is bad.


class PayloadUnavailable(LambdaTasksError):
    """The error of a message whose body lies in S3, where S3 did not give it."""


class PayloadTooLarge(LambdaTasksError):
    """The error of a message whose body lies in S3, and is larger than the function's memory allows."""


class NoRoomForPayload(LambdaTasksError):
    """The error of a message whose body lies in S3, with no room in memory beside the invocation's other payloads."""


# State: raised by the store of leases and records. The message stays in the queue.


class StateUnavailable(LambdaTasksError):
    """The error of a state store that did not answer, or refused the call."""


class LeaseLost(LambdaTasksError):
    """The error of an attempt whose lease expired and was taken by another one: its outcome does not count."""


# Messages: raised while a message is dispatched; each makes its outcome `rejected`.


class MessageRejected(LambdaTasksError):
    """The error of a message that can never run, however often it is delivered."""


class MalformedMessage(MessageRejected, ValueError):
    """The error of a message whose body is not the JSON object of the wire format."""


class UnknownTask(MessageRejected):
    """The error of a message that names a dotted path without a task."""


class TaskNotAllowed(MessageRejected):
    """The error of a message whose task must not run: it is outside ``LAMBDA_TASKS_MODULES``, or no task."""


class InvalidKwargs(MessageRejected, ValueError):
    """The error of kwargs that do not match the task's annotations. ``enqueue`` raises it as well."""


class PayloadNotAllowed(MessageRejected):
    """The error of a message whose body lies in a bucket that ``LAMBDA_TASKS_PAYLOAD_BUCKET`` does not name."""


class PayloadNotFound(MalformedMessage):
    """The error of a message whose body lay in S3, at a place where there is nothing any more."""


class EndedEarlier(LambdaTasksError):
    """An earlier delivery of the message failed or was rejected for good: its error, as it was recorded."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


class KeyMismatch(LambdaTasksError):
    """The error of a message whose key another one succeeded with that differs in what ``idempotency_check`` names."""


class DeliveriesExhausted(LambdaTasksError):
    """The last delivery that the queue's ``maxReceiveCount`` allows did not finish the message."""


class MessageDeferred(LambdaTasksError):
    """The error of a message that is the event itself and did not run to its end. It may be invoked again."""


class InvalidEvent(LambdaTasksError, ValueError):
    """The error of an event that is neither an SQS event nor one message."""


# Raised inside a task: by the task itself, or by the dispatcher when its time is up.


class Retry(LambdaTasksError):
    """The error that a task raises to be tried again, after `delay` seconds or else the usual backoff.

    The task's ``retry_on`` need not name it. It counts towards ``max_retries``, as any other retry does.
    """

    def __init__(
        self, reason: str = "the task asked for another try", *, delay: float | timedelta | None = None
    ) -> None:
        super().__init__(reason)
        seconds = delay if delay is None or isinstance(delay, (int, float)) else delay.total_seconds()
        if seconds is not None and not 0 <= seconds <= MAX_VISIBILITY_SECONDS:
            raise ValueError(f"delay is {delay!r}: use from 0 to {MAX_VISIBILITY_SECONDS} seconds, or a timedelta")
        self.delay_seconds = seconds


class Reject(LambdaTasksError):
    """The error that a task raises to refuse a message for good: it goes to the dead-letter queue at once."""

    def __init__(self, reason: str = "the task rejected the message") -> None:
        super().__init__(reason)


class SoftTimeLimitExceeded(LambdaTasksError):
    """The error in a task that is to clean up and return: its soft timeout passed, or the invocation ends soon."""

    def __init__(self, problem: str = "the soft timeout passed") -> None:
        super().__init__(problem)


class HardTimeLimitExceeded(BaseException):
    """The error in a task that is stopped: its hard timeout passed, or the invocation ends.

    It is no `Exception`, so that a task does not swallow it.
    """

    def __init__(self, problem: str = "the hard timeout passed") -> None:
        super().__init__(problem)
