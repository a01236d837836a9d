"""The code of a function as a folder: its own, an unpacked zip, or the one file of what is written in the template."""

from __future__ import annotations

import zipfile
from pathlib import Path

from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.template.functions import FunctionResource


def as_folder(function: FunctionResource, into: Path) -> Path:
    """Return the folder with the function's code, made below `into` where it is not one already.

    Raises:
        LocalError: it is not there, or not a zip.

    """
    if function.inline is not None:
        folder = into / function.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.py").write_text(function.inline, encoding="utf-8")  # as CloudFormation names it
        return folder
    source = f"function {function.name}"
    if function.code is None:
        raise LocalError(f"{function.name} has no folder of code", source=source, remedy=str(function.no_code))
    if function.code.is_dir():
        return function.code
    if not function.code.exists():
        raise LocalError(f"there is no folder {function.code}", source=source, remedy="correct its CodeUri")
    try:
        with zipfile.ZipFile(function.code) as archive:
            archive.extractall(into / function.name)
    except (OSError, zipfile.BadZipFile) as error:
        remedy = "name a folder, or a zip"
        raise LocalError(f"{function.code} is neither a folder nor a zip", source=source, remedy=remedy) from error
    return into / function.name
