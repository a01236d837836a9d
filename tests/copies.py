"""Copies of the project, so that tests may build in them and break them."""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def copy_tree(folder: Path, *more: str) -> Path:
    """Copy what a build of the layer reads, and `more` of the project, into a new folder."""
    folder.mkdir(parents=True)
    for name in ("LICENSE", "bin", "layer", "pyproject.toml", "python", *more):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "dist"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder
