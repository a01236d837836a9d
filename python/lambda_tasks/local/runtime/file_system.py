"""The folders that a function sees on Lambda: its layers at /opt, and the runtime with the packages that AWS brings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from lambda_tasks.local.errors import LocalError

OPT = "/opt"

# https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html: the managed runtimes bring boto3.
RUNTIME_PACKAGES = ("awslambdaric", "boto3")
_BOOTSTRAP = Path(__file__).with_name("runtime_bootstrap.py")
_RUNTIME_CLIENT = Path(__file__).with_name("runtime_client.py")


def unpack_layers(layers: Sequence[Path], folder: Path) -> None:
    """Unpack the layers' zips into `folder` as Lambda does into /opt: in order, with their permissions.

    A layer may also be a folder, as a build leaves it.
    """
    folder.mkdir()
    for layer in layers:
        if layer.is_dir():
            shutil.copytree(layer, folder, dirs_exist_ok=True)
            continue
        with zipfile.ZipFile(layer) as archive:
            for entry in archive.infolist():
                path = Path(archive.extract(entry, folder))
                if mode := entry.external_attr >> 16 & 0o777:
                    path.chmod(mode)


def make_runtime(folder: Path, packages: Sequence[str] = RUNTIME_PACKAGES) -> Path:
    """Make what /var/runtime is on Lambda, and return the script in it that starts the runtime.

    Of this environment's packages it has those that the managed runtime brings, so that a function which needs another
    one, or a layer that lacks one, fails here as it would there.

    Raises:
        LocalError: they are not installed.

    """
    folder.mkdir()
    pending = list(packages)
    done: set[str] = set()
    while pending:
        name = pending.pop()
        if name in done:
            continue
        done.add(name)
        try:
            pending += _link_package(metadata.distribution(name), folder)
        except metadata.PackageNotFoundError as error:
            # Others may be required for another platform or Python only.
            if name in packages:
                raise LocalError(f"{name} is not installed", remedy="install lambda-tasks[local]") from error
    # A copy: Python would resolve a link, and put this package's folder on the function's sys.path.
    return Path(shutil.copy(_BOOTSTRAP, folder / "bootstrap.py"))


def replace_compiled(runtime: Path) -> None:
    """Take the module that is compiled for this Python out of `runtime`, which another Python is to use."""
    for compiled in runtime.glob("runtime_client*.so"):
        compiled.unlink()
    shutil.copy(_RUNTIME_CLIENT, runtime)


def can_mount(folder: Path, needed: Sequence[Path]) -> bool:
    """Tell whether `folder` can be mounted at /opt in a mount namespace of its own.

    It takes root, or a kernel that lets users make namespaces; and nothing that is `needed` may lie below /opt.
    """
    if any(Path(path).is_relative_to(OPT) for each in needed for path in (each.absolute(), each.resolve())):
        return False
    command = [*unshare_command(), "sh", "-c", 'mount --bind "$0" /opt && mount -o remount,bind,ro /opt', str(folder)]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


def unshare_command() -> list[str]:
    """Return the head of a command that is to run in a mount namespace of its own."""
    return ["unshare", "--mount"] + ([] if os.geteuid() == 0 else ["--map-root-user"])


def interpreter_paths() -> list[Path]:
    """Return where this interpreter lies, and its packages."""
    return [Path(path) for path in (sys.executable, sys.prefix, sys.base_prefix)]


def _link_package(package: metadata.Distribution, folder: Path) -> list[str]:
    """Link a package's files into `folder`, and return the names of the packages that it requires."""
    tops = {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}
    for top in tops:
        if not (folder / top).exists():
            (folder / top).symlink_to(Path(str(package.locate_file(top))).resolve())
    requirements = [text for text in package.requires or () if "extra ==" not in text]
    return [re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0].lower() for text in requirements]
