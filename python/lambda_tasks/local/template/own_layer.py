"""The layer of this project, served from the installed package: the same modules, with the msgspec that is here."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

from lambda_tasks.local.errors import LocalError

FOLDER = "lambda-tasks-own-layer"
_NAME = "lambda-tasks"
_WRAPPER = "lambda-tasks-exec"
_PACKAGE = Path(__file__).parent.parent.parent
# An installed package has the wrapper in it; a working copy has it beside.
_WRAPPERS = (_PACKAGE / "local" / "runtime" / _WRAPPER, _PACKAGE.parent.parent / "bin" / _WRAPPER)
# As the build of the layer leaves them out: of use on a developer's machine alone.
_LEFT_OUT = ("__main__.py", "__pycache__", "command_line", "local", "pytest_plugin.py", "testing.py")


def is_ours(name: str) -> bool:
    """Tell whether a layer is this project's: an ARN with its name, or the name itself."""
    layer = name.partition(":layer:")[2] if name.startswith("arn:") else name
    return layer.split(":")[0] == _NAME


def make(folder: Path) -> Path:
    """Lay the layer out below `folder`, and return where it lies.

    Raises:
        LocalError: the installation has no exec wrapper, or no msgspec.

    """
    layer = folder / FOLDER
    if layer.exists():
        return layer
    wrapper = next((path for path in _WRAPPERS if path.is_file()), None)
    if wrapper is None:
        raise LocalError(f"the installed package has no {_WRAPPER}", remedy="install lambda-tasks[local] again")
    (layer / "bin").mkdir(parents=True)
    shutil.copy(wrapper, layer / "bin" / _WRAPPER)
    (layer / "bin" / _WRAPPER).chmod(0o755)

    def left_out(inside: str, names: list[str]) -> list[str]:
        is_top = Path(inside) == _PACKAGE
        return [name for name in names if name == "__pycache__" or (is_top and name in _LEFT_OUT)]

    shutil.copytree(_PACKAGE, layer / "python" / _PACKAGE.name, ignore=left_out)
    _copy_msgspec(layer / "python")
    return layer


def _copy_msgspec(folder: Path) -> None:
    try:
        package = metadata.distribution("msgspec")
    except metadata.PackageNotFoundError as error:
        raise LocalError("msgspec is not installed", remedy="install lambda-tasks[local]") from error
    for file in package.files or ():
        if file.parts[0] != ".." and "__pycache__" not in file.parts:
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(package.locate_file(file)), target)
