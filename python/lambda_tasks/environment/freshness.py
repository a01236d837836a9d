"""How old resolved values may get, and who is told when they change."""

from __future__ import annotations

import math
import os
import time

from lambda_tasks import settings
from lambda_tasks.environment.provenance import Provenance
from lambda_tasks.errors import InvalidHook, LambdaTasksError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import TypeVar

    from lambda_tasks.settings import Settings

    Hook = TypeVar("Hook", bound=Callable[[list[str]], object])

# After a failure the next try waits ten times as long as the last one took, so that an outage costs little.
_LONGEST_PAUSE_SECONDS = 30.0
_PART_OF_INVOCATION = 0.25


class Freshness:
    """The age of what was resolved: `is_due` tells when it is to be resolved again, `renew` does so.

    `clock` gives epoch seconds: an execution environment is frozen between invocations, and other clocks may be too.
    """

    def __init__(
        self, current: Settings, environ: Mapping[str, str], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._settings = current
        self._max_age_seconds = current.max_secret_age_seconds or math.inf
        before = Provenance.from_environ(environ)
        self._resolved_at = -math.inf
        if current.max_secret_age_seconds and current.resolved is not None:
            self._resolved_at = before.resolved_at if before else clock()
        self._due_at = self._resolved_at + self._max_age_seconds if self._resolved_at > -math.inf else math.inf

    def is_due(self) -> bool:
        """Tell whether to resolve again; also where the clock was set back, and the age is unknown."""
        return not self._resolved_at <= self._clock() < self._due_at

    def renew(self, use: Callable[[Settings], None], remaining_ms: Callable[[], int] | None = None) -> None:
        """Resolve again; where that changes settings hand them to `use`, and tell who asked to be told what changed.

        It takes a quarter of the invocation's `remaining_ms` at most. If it fails the values serve until they are
        twice as old as they should get, with a warning.

        Raises:
            LambdaTasksError: it failed, and they are older than that.

        """
        from lambda_tasks.environment import exporting, in_process  # noqa: PLC0415 - most invocations need neither
        from lambda_tasks.environment.report import Report  # noqa: PLC0415

        now, started = self._clock(), time.monotonic()
        seconds = remaining_ms() / 1000 * _PART_OF_INVOCATION if remaining_ms else None
        try:
            changed = in_process.resolve_again(at_most_seconds=seconds)
        except Exception as error:  # noqa: BLE001 - whatever it is, there are values to go on with
            failure = error if isinstance(error, LambdaTasksError) else exporting.unexpected(error)
            age_seconds = now - self._resolved_at
            if not 0 <= age_seconds < 2 * self._max_age_seconds:
                raise _too_old(failure, age_seconds) from (error if failure is error else None)
            pause_seconds = min(10 * (time.monotonic() - started), self._max_age_seconds / 10, _LONGEST_PAUSE_SECONDS)
            self._due_at = self._clock() + pause_seconds
            problem = f"values that are {age_seconds:.0f} s old serve on, since they could not be resolved again"
            Report(os.environ).warning(problem, failure)
            return
        self._resolved_at, self._due_at = now, now + self._max_age_seconds
        current = settings.current()
        if current.replace(resolved=None) != self._settings.replace(resolved=None):
            self._settings = current
            use(current)
        tell(changed)


def resolve_after_restore(use: Callable[[Settings], None]) -> None:
    """Under SnapStart, resolve again after every restore, hand the settings to `use`, and tell what changed.

    A snapshot freezes the environment: without this a function would serve secrets as old as its version.
    Source: https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html
    """
    if not settings.is_snap_start():
        return
    import snapshot_restore_py  # noqa: PLC0415 - the managed runtime brings it where there is SnapStart

    from lambda_tasks.environment import in_process  # noqa: PLC0415 - most cold starts need neither

    def restored() -> None:
        changed = in_process.resolve_again()
        use(settings.current())
        tell(changed)

    snapshot_restore_py.register_after_restore(restored)


def on_secrets_changed(function: Hook) -> Hook:
    """Have `function` called with the names of the variables that changed, in order. Returns it: a decorator.

    It is called after they were resolved again, before the batch: under SnapStart after a restore, and with
    ``LAMBDA_TASKS_MAX_SECRET_AGE_SECONDS`` where they had grown old. A variable that is gone counts as changed. An
    error that it raises is logged, without its message, and changes nothing.

    Raises:
        InvalidHook: it is no ordinary function.

    """
    import inspect  # noqa: PLC0415 - the resolver must not pay for it

    if inspect.iscoroutinefunction(function):
        raise InvalidHook(f"{function!r} cannot be called here", remedy="use a function that is not async")
    if function not in _hooks:
        _hooks.append(function)
    return function


def tell(names: Iterable[str]) -> None:
    """Call every hook with `names`, if there are any."""
    changed = list(names)
    for hook in _hooks if changed else ():
        try:
            hook(list(changed))
        except Exception as error:  # noqa: BLE001 - a hook's failure is its own
            _log_failure(hook, error)


_hooks: list[Callable[[list[str]], object]] = []


def _log_failure(hook: Callable[[list[str]], object], error: Exception) -> None:
    import logging  # noqa: PLC0415 - the runtime has it by then

    from lambda_tasks.environment import exporting  # noqa: PLC0415

    name = getattr(hook, "__qualname__", type(hook).__qualname__)
    # Not its message, and no traceback: both may hold what was resolved.
    logging.getLogger("lambda_tasks").error("the hook %s raised: %s", name, exporting.unexpected(error))


def _too_old(failure: LambdaTasksError, age_seconds: float) -> LambdaTasksError:
    setting = "LAMBDA_TASKS_MAX_SECRET_AGE_SECONDS"
    problem = f"the values are {age_seconds:.0f} s old, more than twice {setting}, and could not be resolved again"
    return type(failure)(f"{problem}: {failure}", errors=failure.errors)
