"""Packages of this environment as a layer, with byte code, as the best of the usual builds would make one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from layer.archive import File, write_tree, zipped


def package_layer(names: Sequence[str], folder: Path) -> Path:
    """Write a layer of these packages, and of all that they need, into `folder`; return its path."""
    files: dict[str, File] = {}
    for package in closure(names):
        for file in package.files or ():
            path = Path(str(package.locate_file(file)))
            if file.parts[0] != ".." and file.suffix != ".pyc" and path.is_file():
                files[f"python/{file.as_posix()}"] = File(path.read_bytes())
    tree = folder / "packages"
    write_tree(files, tree)
    compiler = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(tree)]
    subprocess.run(compiler, check=False, capture_output=True)  # templates among the files do not compile
    compiled = {path.relative_to(tree).as_posix(): File(path.read_bytes()) for path in tree.rglob("*.pyc")}
    archive = folder / "packages.zip"
    archive.write_bytes(zipped(files | compiled))
    return archive


def closure(names: Sequence[str]) -> list[metadata.Distribution]:
    """Return the distributions of these names and of all that they require here."""
    pending, found = list(names), dict[str, metadata.Distribution]()
    while pending:
        name = canonicalize_name(pending.pop())
        if name not in found:
            found[name] = metadata.distribution(name)
            requirements = map(Requirement, found[name].requires or ())
            pending += [one.name for one in requirements if not one.marker or one.marker.evaluate({"extra": ""})]
    return list(found.values())
