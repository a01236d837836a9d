"""The Python that a function's runtime names, looked for on this machine: on ``PATH``, else below pyenv's folder."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_PROBE = "import sys; print('%d.%d' % sys.version_info[:2]); print(sys.executable); print(sys.implementation.name)"
_ANSWER_SECONDS = 30


def interpreter_for(runtime: str, *, is_bound: bool = False) -> tuple[Path, str | None]:
    """Return the interpreter to run a function with, and a warning where that is not the one that `runtime` names.

    With `is_bound` a layer of the function has what is compiled for the Python that runs this package.
    """
    here = Path(sys.executable)
    version = runtime.removeprefix("python")
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if version in ("", own):
        return here, None
    if is_bound:
        return here, f"its runtime is {runtime}: with the layer of the installed package it runs with Python {own}"
    found = _find(version)
    if found is not None:
        return found, None
    return here, f"its runtime is {runtime}, which is not installed here: it runs with Python {own}"


@functools.cache
def _find(version: str) -> Path | None:
    for candidate in _candidates(version):
        if not candidate.is_file():
            continue
        try:  # one of pyenv's shims is a file, and may still not start
            process = subprocess.run(
                [candidate, "-I", "-S", "-c", _PROBE],
                capture_output=True,
                text=True,
                timeout=_ANSWER_SECONDS,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        answer = process.stdout.splitlines()
        if process.returncode == 0 and answer[0] == version and answer[2] == "cpython":
            return Path(answer[1])
    return None


def _candidates(version: str) -> Iterator[Path]:
    for entry in filter(None, os.environ.get("PATH", "").split(":")):
        yield Path(entry, f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    releases = [path for path in pyenv.glob(f"versions/{version}.*") if path.suffix[1:].isdigit()]
    for folder in sorted(releases, key=lambda path: int(path.suffix[1:]), reverse=True):
        yield folder / "bin" / f"python{version}"
