"""The report of each message, as one log record and as an argument of the hooks.

The log record has the keys that dashboards and alarms filter by. Lambda's text format shows no keys, so the record's
text says the same in words.
"""

from __future__ import annotations

import logging
import sys
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from lambda_tasks.errors import InvalidHook
from lambda_tasks.messages.context import bearer
from lambda_tasks.messages.outcome import Outcome
from lambda_tasks.messages.sqs_event import sent_at_ms
from lambda_tasks.telemetry import told_errors, tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lambda_tasks.messages.context import Context
    from lambda_tasks.messages.outcome import Result
    from lambda_tasks.messages.sqs_event import Record

logger = logging.getLogger("lambda_tasks")


class Report(msgspec.Struct, frozen=True):
    """The report of one delivery of a message. `queue_latency_ms` is the time from its sending to its start.

    A message that `is_unrun` failed because its queue delivers it no more, and was never run. `reason` says why one was
    deferred or skipped. Unless the task `is_found`, `task` is any text that the message's sender chose. Of a task with
    steps `steps_finished` counts those that this delivery finished.
    """

    task: str | None
    message_id: str
    outcome: Outcome
    attempt: int
    receive_count: int
    correlation_id: str
    duration_ms: float
    queue_latency_ms: float | None = None
    error: BaseException | None = None
    is_unrun: bool = False
    reason: str = ""
    is_found: bool = True
    steps_finished: int | None = None

    def __repr__(self) -> str:
        return f"Report({shown_task(self)}: {self.outcome.value}, message {self.message_id}, attempt {self.attempt})"


def shown_task(report: Report) -> str | None:
    """Return the name of the task as it may be shown: of one that was not found on one line, and bounded."""
    if report.is_found or report.task is None:
        return report.task
    return ascii(report.task[:_LONGEST_NAME_SHOWN])[1:-1]


_LONGEST_NAME_SHOWN = 256


def report_of(
    record: Record,
    result: Result,
    context: Context,
    *,
    started_at: float,
    is_unrun: bool = False,
    is_found: bool = True,
    steps_finished: int | None = None,
) -> Report:
    """Return the report of a message that the dispatcher turned to at `started_at` (epoch seconds)."""
    sent_ms = sent_at_ms(record)
    return Report(
        result.task_name,
        context.message_id,
        result.outcome,
        context.attempt,
        context.receive_count,
        context.correlation_id,
        round(result.duration_ms, 3),
        None if sent_ms is None else max(0.0, round(started_at * 1000 - sent_ms, 3)),
        result.error,
        is_unrun,
        result.reason,
        is_found,
        steps_finished,
    )


def is_awaited(level: int) -> bool:
    """Tell whether a hook or a log handler takes the report of a message whose outcome is logged at `level`."""
    return bool(_outcome_hooks) or _is_logged(level)


def has_outcome_hooks() -> bool:
    """Tell whether a hook takes the reports of messages."""
    return bool(_outcome_hooks)


def start_is_awaited() -> bool:
    """Tell whether a hook or a log handler takes the start of a task."""
    return bool(_start_hooks) or _is_logged(logging.DEBUG)


def call_is_observed() -> bool:
    """Tell whether a call's start is to be told, or a span is to be made around it."""
    return tracing.API in sys.modules or start_is_awaited()


def _is_logged(level: int) -> bool:
    """Tell whether a record would be seen: without any handler, the standard library shows warnings alone."""
    return logger.isEnabledFor(level) and (level >= logging.WARNING or logger.hasHandlers())


def announce_start(context: Context, kwargs: Mapping[str, Any]) -> None:
    """Tell that a task is about to run. Its kwargs are logged at DEBUG alone."""
    if logger.isEnabledFor(logging.DEBUG):
        extra = {**_ids(context), "attempt": context.attempt, "kwargs": dict(kwargs)}
        logger.debug("%s starts (message %s) with %r", context.task, context.message_id, kwargs, extra=extra)
    _call(_start_hooks, context)


def tell_outcome(report: Report, context: Context) -> None:
    """Tell what became of a message, in its context."""
    token = bearer.set(context)
    try:
        announce_outcome(report)
    finally:
        bearer.reset(token)


def announce_outcome(report: Report) -> None:
    """Log a report, with the traceback of a failed task, and call the hooks."""
    if logger.isEnabledFor(report.outcome.log_level):
        try:
            _log(report, report.error)
        except Exception as broken:  # noqa: BLE001 - an error's own code may keep its traceback from being shown
            problem = f"{type(report.error).__name__}, which cannot be shown: {told_errors.text(broken)}"
            _log(report, LogFailed(problem))
    if _outcome_hooks:
        copy_context().run(_call, _outcome_hooks, report)  # what a hook sets is not seen by the next message


def show_outcomes(environ: Mapping[str, str]) -> None:
    """Let the log records of outcomes through, unless a level was set for the function or for this logger.

    With the log format text Lambda sets none, and the standard library's own (WARNING) shows no success.
    """
    if logger.level == logging.NOTSET and not environ.get("AWS_LAMBDA_LOG_LEVEL"):
        logger.setLevel(logging.INFO)


StartHook = TypeVar("StartHook", bound="Callable[[Context], object]")
OutcomeHook = TypeVar("OutcomeHook", bound="Callable[[Report], object]")


def on_start(function: StartHook) -> StartHook:
    """Have `function` called with the `Context` of each message whose task is about to run. Returns it: a decorator.

    It is called in the task's thread, with `lambda_tasks.context` set, outside of the task's timeouts. An error of its
    own is logged, and changes nothing.

    Raises:
        InvalidHook: it is no ordinary function.

    """
    return _registered(function, _start_hooks)


def on_outcome(function: OutcomeHook) -> OutcomeHook:
    """Have `function` called with the `Report` of each message. Returns it: a decorator.

    It is called with `lambda_tasks.context` set, outside of the task's timeouts. An error of its own is logged, and
    changes nothing.

    Raises:
        InvalidHook: it is no ordinary function.

    """
    return _registered(function, _outcome_hooks)


_start_hooks: list[Callable[[Any], object]] = []
_outcome_hooks: list[Callable[[Any], object]] = []

Hook = TypeVar("Hook", bound="Callable[[Any], object]")


def _registered(function: Hook, hooks: list[Callable[[Any], object]]) -> Hook:
    import inspect  # noqa: PLC0415 - 5 ms, for functions with hooks

    if inspect.iscoroutinefunction(function):
        raise InvalidHook(f"{function!r} cannot be called here", remedy="use a function that is not async")
    if function not in hooks:
        hooks.append(function)
    return function


def _call(hooks: list[Callable[[Any], object]], argument: Context | Report) -> None:
    for hook in hooks:
        try:
            hook(argument)
        except KeyboardInterrupt:
            raise
        except BaseException:
            name = getattr(hook, "__qualname__", type(hook).__qualname__)
            logger.exception("the hook %s raised (message %s)", name, argument.message_id, extra=_ids(argument))


def _ids(about: Context | Report) -> dict[str, Any]:
    return {"task": about.task, "message_id": about.message_id, "correlation_id": about.correlation_id}


class LogFailed(Exception):
    """Stand in the log for an error whose own code raises where it is to be shown."""


def _log(report: Report, error: BaseException | None) -> None:
    task = shown_task(report)
    details = {
        **_ids(report),
        "task": task,
        "outcome": report.outcome.value,
        "attempt": report.attempt,
        "duration_ms": report.duration_ms,
        "queue_latency_ms": report.queue_latency_ms,
    }
    related = "" if report.correlation_id == report.message_id else f", correlation {report.correlation_id}"
    queued = "" if report.queue_latency_ms is None else f", queued {report.queue_latency_ms:.0f} ms"
    shows_traceback = report.outcome is not Outcome.REJECTED and report.outcome is not Outcome.DEFERRED
    why = report.reason if shows_traceback or error is None else told_errors.text(error)
    logger.log(
        report.outcome.log_level,
        "%s %s in %.0f ms (message %s, attempt %d%s%s)%s",
        task or "message",
        report.outcome.value,
        report.duration_ms,
        report.message_id,
        report.attempt,
        related,
        queued,
        f": {why}" if why else "",
        exc_info=error if shows_traceback else None,
        extra=details,
    )
