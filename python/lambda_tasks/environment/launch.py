"""The exec wrapper's Python half: resolve what is not resolved yet, report, and become COMMAND."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # all that `signal` adds are enums, which cost a cold start 1 ms
import errno
import os
import sys

from lambda_tasks.environment import content, exporting, shadow
from lambda_tasks.environment.report import Report
from lambda_tasks.errors import CommandNotExecutable, InvalidNextWrapper, InvalidSecret, LambdaTasksError, combine
from lambda_tasks.settings import NEXT_WRAPPER, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

ODD_VARIABLES = "LAMBDA_TASKS_ODD_VARIABLES"

# Whatever the stack may have, Linux takes no more than this for arguments and environment together, and no less.
_MOST_BYTES, _LEAST_BYTES = 6 << 20, 131072  # https://man7.org/linux/man-pages/man2/execve.2.html


def main() -> NoReturn:
    """Become the command in ``sys.argv``, with what its references stand for; or report and exit with status 1.

    ``sys.argv`` holds the wrapper's path, an empty string where ``LC_CTYPE`` was not set before, and the command.
    """
    wrapper, had_lc_ctype, *command = sys.argv[1:]
    if not had_lc_ctype:
        os.environ.pop("LC_CTYPE", None)  # set by this interpreter (PEP 538): COMMAND must not inherit it
    report = Report(os.environ)
    try:
        take_over_odd_variables()
        settings, problems = Settings.parse(os.environ)
        problems += [*check_next_wrapper(settings.next_wrapper, wrapper), *shadow.check(os.environ)]
        os.environ.pop(NEXT_WRAPPER, None)  # it runs once: one that leads back here must not meet it again
        if settings.next_wrapper:
            command = [settings.next_wrapper, *command]
        unresolved = exporting.unresolved(os.environ, settings)
        if unresolved is not None:
            resolved = exporting.resolve(unresolved, settings, problems=problems)
            exported = exporting.exported(resolved, os.environ, settings)
            check_size(command, {**os.environ, **exported})
            os.environ.update(exported)
            report.success(resolved)
        elif problems:
            raise combine(problems)  # noqa: TRY301 - reported as what comes from deeper down
        launch(command)
    except LambdaTasksError as error:
        report.failure(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the invoker must read of it; its message may hold a value
        report.failure(exporting.unexpected(error))
    sys.exit(1)


def take_over_odd_variables() -> None:
    """Restore the variables that a shell cannot hold, which the wrapper's shell half hands over in hexadecimal."""
    for pair in bytes.fromhex(os.environ.pop(ODD_VARIABLES, "")).split(b"\0"):
        name, separator, value = pair.partition(b"=")
        if name and separator:
            os.environb[name] = value


def check_next_wrapper(next_wrapper: str | None, wrapper: str) -> list[LambdaTasksError]:
    """Return an error where the wrapper to run next cannot be executed, or is this one."""
    if not next_wrapper:
        return []
    if not (os.path.isfile(next_wrapper) and os.access(next_wrapper, os.X_OK)):  # noqa: PTH113 - pathlib costs 2 ms
        problem = f"{next_wrapper!r} is not an executable file"
        remedy = "attach the layer that holds it, correct the path, or remove the variable"
    elif os.path.samefile(next_wrapper, wrapper):  # noqa: PTH121
        problem, remedy = "the next wrapper is this one", "name another exec wrapper, or remove the variable"
    else:
        return []
    return [InvalidNextWrapper(problem, variable=NEXT_WRAPPER, remedy=remedy)]


def check_size(command: list[str], environ: Mapping[str, str]) -> None:
    """Check that the operating system takes `command` with `environ`.

    Raises:
        InvalidSecret: naming the largest variables.

    """
    # The path counts once more, and so do 8 bytes for the pointer to each string.
    size = len(os.fsencode(command[0])) + 1 + sum(len(os.fsencode(text)) + 1 + 8 for text in command)
    size += sum(content.variable_bytes(name, value) + 8 for name, value in environ.items())
    limit = _LEAST_BYTES
    if size > limit:
        import resource  # noqa: PLC0415 - for large environments

        stack_bytes = resource.getrlimit(resource.RLIMIT_STACK)[0]
        quarter = _MOST_BYTES if stack_bytes == resource.RLIM_INFINITY else stack_bytes // 4
        limit = max(_LEAST_BYTES, min(_MOST_BYTES, quarter))
    if size > limit:
        raise _too_large(environ, f"{size} bytes with the command, where this system takes {limit}")


def launch(command: list[str]) -> NoReturn:
    """Become `command`, with this process's environment and open file descriptors.

    A file that is executable and names no interpreter is run by ``/bin/sh``, as a shell would run it.

    Raises:
        InvalidSecret: the environment is too large.
        CommandNotExecutable: the operating system refused otherwise.

    """
    sys.stderr.flush()
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)  # Python ignores these, and what is ignored stays so after exec
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming COMMAND is what the exec wrapper is for
    except OSError as error:
        if error.errno == errno.E2BIG:
            raise _too_large(os.environ, "more than this system takes") from error
        script = _script(command[0]) if error.errno == errno.ENOEXEC else None
        if script:
            os.execv("/bin/sh", ["/bin/sh", script, *command[1:]])  # noqa: S606
        raise CommandNotExecutable(
            f"{command[0]!r} cannot be executed: {error.strerror}", remedy="check the exec wrapper's arguments"
        ) from error


def _script(name: str) -> str | None:
    """Return the path of the program `name` where it is text, and no program of another processor."""
    folders = [""] if "/" in name else os.get_exec_path()
    paths = (os.path.join(folder, name) for folder in folders)  # noqa: PTH118 - pathlib costs 2 ms
    path = next(path for path in paths if os.access(path, os.X_OK))
    with open(path, "rb") as file:  # noqa: PTH123
        return None if b"\0" in file.read(256) else path


def _too_large(environ: Mapping[str, str], size: str) -> InvalidSecret:
    sizes = {name: content.variable_bytes(name, value) for name, value in environ.items()}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
    return InvalidSecret(
        f"the environment is too large: {size}",
        variable=", ".join(f"{ascii(name)[1:-1]} with {sizes[name]} bytes" for name in largest),
        remedy="make secrets smaller, or have the function read large ones itself",
    )
