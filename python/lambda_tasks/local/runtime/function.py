"""A function, and what it takes to run it: its layers unpacked, its runtime put together, its whole environment."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lambda_tasks.local.runtime import file_system

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Function:
    """A function's configuration. `code` is the folder that would be /var/task, `layers` are zips, or folders.

    `interpreter` is the Python that runs it.
    """

    code: Path
    handler: str
    layers: tuple[Path, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    name: str = "function"
    memory_mb: int = 512
    timeout_seconds: int = 30
    log_format: str = "JSON"
    interpreter: Path = Path(sys.executable)
    runtime: str = f"python{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Files:
    """The files that a running function writes to.

    `output` has what its processes print, `emulator_log` has the emulator's own lines. `channel`, where there is one,
    has what the runtime script tells.
    """

    output: Path
    emulator_log: Path
    channel: Path | None


@dataclass(frozen=True)
class Prepared:
    """The command that starts a function: `sandbox` is its head, `runtime` the part after the emulator's addresses."""

    sandbox: Sequence[str]
    runtime: Sequence[str]
    environ: Mapping[str, str] = field(repr=False)
    folder: Path
    files: Files
    opt: str


def prepare(
    function: Function, folder: Path, needed: Sequence[Path], *, mount: bool, has_channel: bool = False
) -> Prepared:
    """Unpack the layers and put the runtime together below `folder`; the paths `needed` must stay reachable.

    Raises:
        LocalError: the runtime is not installed.

    """
    layers = folder / "opt"
    file_system.unpack_layers(function.layers, layers)
    bootstrap = file_system.make_runtime(folder / "runtime")
    if is_other := function.interpreter != Path(sys.executable):
        file_system.replace_compiled(bootstrap.parent)
    interpreter = [function.interpreter] if is_other else []
    needed = [*needed, *interpreter, function.code, folder, _HERE]
    needed += [*file_system.interpreter_paths(), *bootstrap.parent.iterdir()]
    mounts = mount and file_system.can_mount(layers, needed)
    opt = file_system.OPT if mounts else str(layers)
    unshare = file_system.unshare_command() if mounts else []
    files = Files(folder / "output", folder / "emulator.log", folder / "channel" if has_channel else None)
    for path in (files.output, files.emulator_log, files.channel):
        if path is not None:
            path.touch(mode=0o600)
    script = [str(function.interpreter), "-S", str(bootstrap), opt, function.handler]
    if files.channel is not None:
        script.append(str(files.channel))
    return Prepared(
        sandbox=[*unshare, str(_HERE / "sandbox"), str(layers) if mounts else ""],
        runtime=[str(_HERE / "bootstrap"), str(files.output), *script],
        environ=environment(function, opt, bootstrap.parent),
        folder=function.code,
        files=files,
        opt=opt,
    )


def environment(function: Function, opt: str, runtime: Path) -> dict[str, str]:
    """Return a function's whole environment; nothing of this process's own gets there.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """
    lambdas = {
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.runtime}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(function.timeout_seconds),  # read by the emulator alone
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_FORMAT": function.log_format,
        "LAMBDA_RUNTIME_DIR": str(runtime),
        "LAMBDA_TASK_ROOT": str(function.code.resolve()),
        "LANG": "C.UTF-8",
        "PATH": f"/usr/local/bin:/usr/bin:/bin:{opt}/bin",
        "TZ": ":UTC",
        "_HANDLER": function.handler,
    }
    if function.log_format == "JSON":
        lambdas["AWS_LAMBDA_LOG_LEVEL"] = "INFO"  # Lambda's default for this format
    environ = {**lambdas, **function.environ}
    wrapper = environ.get("AWS_LAMBDA_EXEC_WRAPPER", "")
    if wrapper.startswith(f"{file_system.OPT}/"):
        environ["AWS_LAMBDA_EXEC_WRAPPER"] = opt + wrapper.removeprefix(file_system.OPT)
    return environ
