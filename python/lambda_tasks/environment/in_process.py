"""The resolution inside the runtime: where no exec wrapper did it, and again where its values have grown old."""

from __future__ import annotations

import os

from lambda_tasks.environment import exporting
from lambda_tasks.environment.provenance import PROVENANCE, Provenance, own_environ
from lambda_tasks.environment.report import Report
from lambda_tasks.settings import RESOLVED, Settings


def resolve_in_process() -> Settings:
    """Export what the references of this process stand for, unless the exec wrapper did so; return the settings then.

    Raises:
        LambdaTasksError: one of the resolver's errors.

    """
    settings = Settings.from_environ(os.environ)
    if settings.resolved is None:
        resolution = exporting.resolve(dict(os.environ), settings)
        os.environ.update(exporting.exported(resolution, os.environ, settings))
        Report(os.environ).success(resolution)
    return Settings.from_environ(os.environ)  # secrets may hold settings too


def resolve_again(*, at_most_seconds: float | None = None) -> list[str]:
    """Resolve as at the start, and return the names of the variables whose values changed.

    The function's own variables are first as they were. Only what comes from another version than before is set, what
    is no longer there goes, and what it had replaced comes back. Pinned versions are not asked for again.

    Raises:
        LambdaTasksError: one of the resolver's errors; the environment is as it was.

    """
    names = Settings.from_environ(os.environ).resolved or ()
    before = Provenance.from_environ(os.environ)
    own = own_environ(os.environ, names)
    settings = Settings.from_environ(own)
    if at_most_seconds is not None:
        budget_seconds = min(at_most_seconds, settings.resolve_timeout_seconds)
        settings = settings.replace(resolve_timeout_seconds=budget_seconds)
    from lambda_tasks.environment.resolver import Held  # noqa: PLC0415 - 6 ms that most cold starts do not need

    resolution = exporting.resolve(own, settings, held=Held(os.environ, before))
    kept = {
        name: os.environ[name]
        for name, origin in resolution.origins.items()
        if before and origin.version and before.origins.get(name) == origin and name in os.environ
    }
    after = {**own, **exporting.exported(resolution, own, settings), **kept}
    Settings.from_environ(after)  # secrets may hold settings too: what cannot be used changes nothing
    changed = [name for name in {*names, *resolution.exports} if os.environ.get(name) != after.get(name)]
    for name in {*names, *resolution.exports, RESOLVED, PROVENANCE}:
        if name not in after:
            os.environ.pop(name, None)
        elif os.environ.get(name) != after[name]:
            os.environ[name] = after[name]
    if changed:
        Report(os.environ).success(resolution)
    return sorted(changed)
