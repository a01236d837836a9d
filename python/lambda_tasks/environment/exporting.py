"""Resolve what an environment refers to and is not resolved yet, and say what that exports."""

from __future__ import annotations

import contextlib
import time

from lambda_tasks.environment.provenance import PROVENANCE, Provenance
from lambda_tasks.errors import LambdaTasksError
from lambda_tasks.settings import REFERENCES, RESOLVED, VARIABLE_PREFIX, has_references, resolves_again

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambda_tasks.environment.resolver import Held, Resolution
    from lambda_tasks.settings import Settings


def unresolved(environ: Mapping[str, str], settings: Settings) -> dict[str, str] | None:
    """Return `environ` without what was resolved before and the references to it, or None where no others are left.

    ``LAMBDA_TASKS_RESOLVED`` tells: where it is set an exec wrapper has run, and the environment sources are done.
    """
    done: set[str] = set()
    if settings.resolved is not None:
        done.update(REFERENCES, settings.resolved, (VARIABLE_PREFIX + name for name in settings.resolved))
    left = {name: value for name, value in environ.items() if name not in done}
    return left if has_references(left) else None


def resolve(
    environ: Mapping[str, str],
    settings: Settings,
    *,
    problems: Sequence[LambdaTasksError] = (),
    held: Held | None = None,
) -> Resolution:
    """Return what the references in `environ` stand for; see `lambda_tasks.environment.resolver.resolve`.

    Raises:
        LambdaTasksError: one of the resolver's errors.

    """
    # Inside the runtime, where the exec wrapper has resolved, or nothing is to be: 6 ms less of a cold start.
    from lambda_tasks.aws.credentials import CredentialChain  # noqa: PLC0415
    from lambda_tasks.aws.transport import Transport  # noqa: PLC0415
    from lambda_tasks.environment import resolver  # noqa: PLC0415

    transport = Transport(CredentialChain(environ), environ)
    with contextlib.closing(transport):
        return resolver.resolve(environ, settings, transport, problems=problems, held=held)


def exported(resolution: Resolution, environ: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """Return the variables to set in `environ`: the resolved ones, and what tells a later run about them."""
    names = {*(settings.resolved or ()), *resolution.exports}
    exports = {**resolution.exports, RESOLVED: ",".join(sorted(names))}
    if resolves_again({**environ, **exports}):
        replaced = {name: environ[name] for name in resolution.exports if name in environ}
        provenance = Provenance(time.time(), replaced, resolution.origins)
        before = Provenance.from_environ(environ) if settings.resolved is not None else None
        exports[PROVENANCE] = (before.merged(provenance) if before else provenance).to_json()
    return exports


def unexpected(error: Exception) -> LambdaTasksError:
    """Return what may be said of an error that is none of ours: class and place, since its message may hold a value."""
    traceback = error.__traceback__
    while traceback and traceback.tb_next:
        traceback = traceback.tb_next
    place = f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}" if traceback else "an unknown place"
    return LambdaTasksError(f"unexpected {type(error).__name__} at {place}")
