"""The exec wrapper's Python half: resolve, report, and become COMMAND; and the same resolution inside the runtime."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from lambda_tasks.environment.report import Report
from lambda_tasks.errors import CommandNotExecutable, InvalidNextWrapper, LambdaTasksError
from lambda_tasks.settings import Settings, has_references, is_snap_start

TYPE_CHECKING = False  # that of typing, which costs a cold start 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

    from lambda_tasks.environment.resolver import Resolution


def main() -> NoReturn:
    """Become the command in ``sys.argv``, with what its references stand for; or report and exit with status 1.

    ``sys.argv`` holds the wrapper's path, an empty string where ``LC_CTYPE`` was not set before, and the command.
    """
    wrapper, had_lc_ctype, *command = sys.argv[1:]
    if not had_lc_ctype:
        os.environ.pop("LC_CTYPE", None)  # set by this interpreter (PEP 538): COMMAND must not inherit it
    report = Report(os.environ)
    try:
        settings = Settings.from_environ(os.environ)
        check_next_wrapper(settings.next_wrapper, wrapper)
        if has_references(os.environ):
            export(_resolve(os.environ, settings), report)
        launch([settings.next_wrapper, *command] if settings.next_wrapper else command)
    except LambdaTasksError as error:
        report.failure(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the invoker must read of it; its message may hold a value
        report.failure(LambdaTasksError(f"unexpected {type(error).__name__} at {_place(error)}"))
    sys.exit(1)


def resolve_in_process() -> Settings:
    """Export what the references of this process stand for, unless the exec wrapper did so; return the settings then.

    Raises:
        LambdaTasksError: one of the resolver's errors.

    """
    settings = Settings.from_environ(os.environ)
    if settings.resolved is None:
        export(_resolve(os.environ, settings), Report(os.environ))
    return Settings.from_environ(os.environ)  # secrets may hold settings too


def resolve_after_restore(use: Callable[[Settings], None]) -> None:
    """Under SnapStart, resolve again after every restore, and hand the settings to `use`.

    A snapshot freezes the environment: without this a function would serve secrets as old as its version.
    Source: https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html
    """
    if not is_snap_start():
        return
    import snapshot_restore_py  # noqa: PLC0415 - the managed runtime brings it where there is SnapStart

    snapshot_restore_py.register_after_restore(lambda: use(resolve_again()))


def resolve_again() -> Settings:
    """Resolve as at the start: what was exported then is forgotten first, and what is no longer there goes.

    Raises:
        LambdaTasksError: one of the resolver's errors; the environment is as it was.

    """
    exported = Settings.from_environ(os.environ).resolved or ()
    environ = {name: value for name, value in os.environ.items() if name not in exported}
    resolution = _resolve(environ, Settings.from_environ(environ))
    for name in exported:
        os.environ.pop(name, None)
    export(resolution, Report(environ))
    return Settings.from_environ(os.environ)


def export(resolution: Resolution, report: Report) -> None:
    """Put the resolved variables into this process's environment, and their names into ``LAMBDA_TASKS_RESOLVED``."""
    os.environ.update(resolution.exports)
    os.environ["LAMBDA_TASKS_RESOLVED"] = ",".join(resolution.names)
    report.success(resolution)


def check_next_wrapper(next_wrapper: str | None, wrapper: str) -> None:
    """Check that the wrapper to run next can be executed, and is not this one.

    Raises:
        InvalidNextWrapper: it cannot, or is.

    """
    if not next_wrapper:
        return
    setting = "LAMBDA_TASKS_NEXT_WRAPPER"
    if not (os.path.isfile(next_wrapper) and os.access(next_wrapper, os.X_OK)):  # noqa: PTH113 - pathlib costs 2 ms
        remedy = "attach the layer that holds it, correct the path, or remove the variable"
        raise InvalidNextWrapper(f"{next_wrapper!r} is not an executable file", variable=setting, remedy=remedy)
    if os.path.samefile(next_wrapper, wrapper):  # noqa: PTH121
        remedy = "name another exec wrapper, or remove the variable"
        raise InvalidNextWrapper("the next wrapper is this one", variable=setting, remedy=remedy)


def launch(command: list[str]) -> NoReturn:
    """Become `command`, with this process's environment and open file descriptors.

    Raises:
        CommandNotExecutable: the operating system refused.

    """
    sys.stderr.flush()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores these, and what is ignored stays so after exec
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming COMMAND is what the exec wrapper is for
    except OSError as error:
        raise CommandNotExecutable(
            f"{command[0]!r} cannot be executed: {error.strerror}", remedy="check the exec wrapper's arguments"
        ) from error


def _resolve(environ: Mapping[str, str], settings: Settings) -> Resolution:
    # Inside the runtime, where the exec wrapper has resolved, or nothing is to be: 6 ms less of a cold start.
    from lambda_tasks.aws.credentials import CredentialChain  # noqa: PLC0415
    from lambda_tasks.aws.transport import Transport  # noqa: PLC0415
    from lambda_tasks.environment.resolver import resolve  # noqa: PLC0415

    environ = dict(environ)
    transport = Transport(CredentialChain(environ), environ)
    with contextlib.closing(transport):
        return resolve(environ, settings, transport)


def _place(error: BaseException) -> str:
    traceback = error.__traceback__
    while traceback and traceback.tb_next:
        traceback = traceback.tb_next
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}" if traceback else "an unknown place"
