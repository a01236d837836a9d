"""The function of a step: an ordinary one, or a task, which has a record of its own, as a part of the message's."""

from __future__ import annotations

import inspect
import logging
import math
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from lambda_tasks import settings
from lambda_tasks.definition.definition import Definition
from lambda_tasks.definition.lookup import find_task
from lambda_tasks.errors import HardTimeLimitExceeded, LambdaTasksError, StateUnavailable
from lambda_tasks.limits import interrupting
from lambda_tasks.limits.timeouts import Limits
from lambda_tasks.messages.outcome import NO_STATE
from lambda_tasks.state.protocol import AlreadySucceeded, Attempt
from lambda_tasks.state.record import Ending, Status
from lambda_tasks.workflow.errors import InvalidStep, StepTimeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_tasks.workflow.run import Run

logger = logging.getLogger("lambda_tasks")

_GRACE_SECONDS = 1.0
_A_MOMENT = 0.01
_OF_THE_DELIVERY = ("queue", "request_id", "function_version", "log_stream", "python")


class StepFunction:
    """The function of a step: what to call, the task that it is or None, and whether that is to be awaited."""

    def __init__(self, name: str, function: object) -> None:
        current = settings.current()
        found = find_task(function, current) if isinstance(function, str) else getattr(function, "definition", None)
        self.task: Definition | None = found if isinstance(found, Definition) else None
        self.call: Callable[..., Any]
        if self.task is not None:
            self.call = self.task.function
        elif callable(function):
            self.call = function
        else:
            remedy = "use step(name, function, *args, **kwargs), with a function, a task, or a task's dotted path"
            raise InvalidStep(f"{type(function).__name__} cannot be called", source=f"step {name!r}", remedy=remedy)
        self.is_async = _is_async(self.call)


def _is_async(function: Any) -> bool:  # noqa: ANN401
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def seconds_of(name: str, timeout: object) -> float | None:
    """Return the seconds that a step's timeout means.

    Raises:
        InvalidStep: it means none.

    """
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        remedy = "use seconds above 0, as a number or a timedelta; for a parameter of that name use functools.partial"
        raise InvalidStep(f"its timeout is {timeout!r:.100}", source=f"step {name!r}", remedy=remedy)
    return float(seconds)


def within(name: str, seconds: float | None, run: Run, call: Callable[[], Any]) -> Any:  # noqa: ANN401
    """Return what `call` returns, within a step's own time.

    Raises:
        StepTimeout: it did not end in time.

    """
    if seconds is None:
        return call()
    until = time.monotonic() + seconds - _A_MOMENT
    try:
        with interrupting.of_this_thread(lambda: run.worker.timer, _GRACE_SECONDS) as interrupter:
            # By a function of Python's own: a signal is taken to interrupt whatever frame is there.
            return interrupter.run(Limits(hard=seconds), lambda: call())
    except HardTimeLimitExceeded as error:
        if time.monotonic() < until:
            raise  # the task's own limit came first
        raise timed_out(name, seconds) from error


def timed_out(name: str, seconds: float) -> StepTimeout:
    """Return the error of a step that took longer than it may."""
    return StepTimeout(f"it did not end within {seconds:g} s", source=f"step {name!r}")


class Part:
    """The record of a task that a step calls, as a part of the message's: running, then succeeded or failed.

    The lease is the message's: that of the part holds nobody back.
    """

    def __init__(self, run: Run, name: str, task: Definition) -> None:
        self._run = run
        assert run.attempt is not None  # noqa: S101 - for mypy: in memory there are no records
        details = {key: text for key, text in run.attempt.details.items() if key in _OF_THE_DELIVERY}
        details["part_of"] = run.message_id
        self._attempt = Attempt(f"{run.message_id}/{name}", task.name, 0.0, details=details)
        self._history: tuple[str, ...] = ()
        self._is_begun = False

    def begin(self) -> bytes | None:
        """Begin the record; or return the result, as JSON, where the task succeeded and its step was not kept."""
        store, deadline = self._run.store, self._run.deadline()
        try:
            started = store.start(self._attempt, deadline=deadline)
            if isinstance(started, AlreadySucceeded):
                record = store.record(self._attempt.message_id, deadline=deadline)
                return None if record is None or record.result is None else record.result.encode()
        except StateUnavailable as error:
            raise self._run.put_off(NO_STATE, error) from error
        self._history = getattr(started, "history", ())
        self._is_begun = hasattr(started, "attempts")
        return None

    def returned(self, value: object) -> None:
        """Note that the task returned."""
        self._end(Ending.of(Status.SUCCEEDED, value=value, history=self._history), is_final=True)

    def raised(self, error: BaseException) -> None:
        """Note that the task raised. Its step is run again, so that is not the end."""
        self._end(Ending.of(Status.FAILED, error=error, history=self._history), is_final=False)

    def _end(self, ending: Ending, *, is_final: bool) -> None:
        if not self._is_begun:
            return
        store, deadline = self._run.store, self._run.deadline()
        try:
            if is_final:
                store.finish(self._attempt, ending, deadline=deadline)
            else:
                store.release(self._attempt, ending, deadline=deadline)
        except LambdaTasksError as error:
            logger.warning("the record of a step's task was not written (%s): %s", self._attempt.message_id, error)
