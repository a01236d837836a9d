"""Every error of this package: one root, so that a caller can catch all of them at once.

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
    """Say what is wrong, which variable and source it concerns, and what to do about it.

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
        """Return the same error, naming the variable that it concerns."""
        return type(self)(self.problem, variable=variable, source=self.source, remedy=self.remedy)


def combine(errors: Sequence[LambdaTasksError]) -> LambdaTasksError:
    """Return one error of the first one's class that reports all of `errors`, which must not be empty."""
    first = errors[0]
    if len(errors) == 1:
        return first
    numbered = "; ".join(f"{number}) {type(error).__name__}: {error}" for number, error in enumerate(errors, 1))
    return type(first)(f"{len(errors)} problems: {numbered}", errors=errors)


def text_of(error: BaseException) -> str:
    """Return the text of `error`, whatever its own code does."""
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - an application's error may have a __str__ that raises
        return f"(its __str__ raised {type(broken).__name__})"


class ConfigurationError(LambdaTasksError, ValueError):
    """The cause lies in the function's configuration, in a secret, or in the caller's code."""


# Settings and references: raised before the runtime starts.


class InvalidSetting(ConfigurationError):
    """A ``LAMBDA_TASKS_*`` setting has a value that it cannot have."""


class InvalidReference(ConfigurationError):
    """A reference to a secret or a parameter does not follow the grammar."""


class VariableConflict(ConfigurationError):
    """A variable is both referenced and set, so it is not clear which value is meant."""


class ReservedVariable(ConfigurationError):
    """A variable is reserved by Lambda, or changes how the next program loads its code."""


class InvalidSecret(ConfigurationError):
    """A secret's content cannot become environment variables."""


class SecretNotFound(ConfigurationError):
    """The secret, parameter or version does not exist in its region and account."""


class SecretAccessDenied(ConfigurationError):
    """The function's role may not read or decrypt the secret."""


class CredentialsNotFound(ConfigurationError):
    """No usable AWS credentials are at hand."""


class InvalidNextWrapper(ConfigurationError):
    """``LAMBDA_TASKS_NEXT_WRAPPER`` does not name an executable file."""


class CommandNotExecutable(ConfigurationError):
    """The command that the exec wrapper was given cannot be executed."""


class ResolveTimeout(LambdaTasksError):
    """The references were not resolved within ``LAMBDA_TASKS_RESOLVE_TIMEOUT_SECONDS``."""


class ServiceUnavailable(LambdaTasksError):
    """AWS could not be reached, or did not answer as its API documents."""


# Tasks: raised where a task is defined or enqueued.


class InvalidTask(ConfigurationError):
    """A task is defined in a way that could not be dispatched."""


class InvalidHook(ConfigurationError):
    """What was given to ``on_start`` or ``on_outcome`` cannot be called there."""


class EnqueueFailed(LambdaTasksError):
    """SQS did not take a message."""


class MessageTooLarge(LambdaTasksError, ValueError):
    """A message is larger than SQS takes, and there is no bucket for its payload."""


class InvalidContext(LambdaTasksError, ValueError):
    """What was bound to the context cannot travel with a message."""


# Payloads in S3: none of them says that the message is bad.


class PayloadUnavailable(LambdaTasksError):
    """A message's body lies in S3, and S3 did not give it."""


class PayloadTooLarge(LambdaTasksError):
    """A message's body lies in S3, and is larger than the function's memory allows."""


class NoRoomForPayload(LambdaTasksError):
    """A message's body lies in S3, and does not fit into memory beside the other payloads of the invocation."""


# State: raised by the store of leases and records; whoever meets one keeps the message.


class StateUnavailable(LambdaTasksError):
    """The state store did not answer, or refused the call."""


class LeaseLost(LambdaTasksError):
    """A lease expired and another execution environment has taken it: this one's outcome does not count."""


# Messages: raised while a message is dispatched; each makes its outcome `rejected`.


class MessageRejected(LambdaTasksError):
    """A message can never run, however often it is delivered."""


class MalformedMessage(MessageRejected, ValueError):
    """A message's body is not the JSON object of the wire format."""


class UnknownTask(MessageRejected):
    """No task lies at the dotted path that a message names."""


class TaskNotAllowed(MessageRejected):
    """A message names something that must not run: outside ``LAMBDA_TASKS_MODULES``, or not a task."""


class InvalidKwargs(MessageRejected, ValueError):
    """The kwargs do not match the task's annotations. Raised by ``enqueue`` as well."""


class PayloadNotAllowed(MessageRejected):
    """A message's body lies in a bucket that ``LAMBDA_TASKS_PAYLOAD_BUCKET`` does not name."""


class PayloadNotFound(MalformedMessage):
    """A message's body lies in S3, and there is nothing at that place any more."""


class MessageDeferred(LambdaTasksError):
    """A message that is the event itself was not run to its end, and may be invoked again."""


class InvalidEvent(LambdaTasksError, ValueError):
    """The event is neither an SQS event nor one message."""


# Raised inside a task: by the task itself, or by the dispatcher when its time is up.


class Retry(LambdaTasksError):
    """A task raises it to be tried again, whatever its ``retry_on``: after `delay` seconds, else the usual backoff.

    It counts towards ``max_retries``, as any other retry does.
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
    """A task raises it to refuse a message that can never succeed: it goes to the dead-letter queue at once."""

    def __init__(self, reason: str = "the task rejected the message") -> None:
        super().__init__(reason)


class SoftTimeLimitExceeded(LambdaTasksError):
    """The task's soft timeout passed, or the invocation is about to end: clean up, and return or raise."""

    def __init__(self, problem: str = "the soft timeout passed") -> None:
        super().__init__(problem)


class HardTimeLimitExceeded(BaseException):
    """The task's hard timeout passed, or the invocation ends. No `Exception`, so that a task does not swallow it."""

    def __init__(self, problem: str = "the hard timeout passed") -> None:
        super().__init__(problem)
