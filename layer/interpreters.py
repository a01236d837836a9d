"""Find the CPythons of this machine that Lambda also runs, so that the build and the tests use the same ones.

`uv python find` does not serve. It ends at the first name on `PATH` that does not start, as most of pyenv's shims do,
and it does not look below pyenv's own folder. `sam build` also runs the build with a Python that has no packages.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")

# Prints where the interpreter really lies, and nothing for a free-threaded build, whose modules have another ABI.
_PROBE = """
import sys
if sys.implementation.name == "cpython" and "t" not in sys.abiflags:
    print("%d.%d" % sys.version_info[:2])
    print("%d.%d.%d" % sys.version_info[:3])
    print(sys.executable)
"""


def installed(environ: Mapping[str, str]) -> dict[str, Path | None]:
    """Map each version to an interpreter that starts, or to None: from `PATH`, else from pyenv."""
    return {version: _first_that_runs(version, environ) for version in VERSIONS}


def main(versions: Sequence[str], environ: Mapping[str, str]) -> None:
    """Print the first interpreter that is found, in the order of `versions`; nothing where there is none."""
    found = installed(environ)
    print(next((path for version in versions if (path := found[version])), ""))


def release(interpreter: Path) -> str:
    """Return the full version of an interpreter that `installed` found, such as `3.12.1`."""
    return _probe(interpreter)[1]


def _first_that_runs(version: str, environ: Mapping[str, str]) -> Path | None:
    for candidate in _candidates(version, environ):
        answer = _probe(candidate)
        if answer and answer[0] == version:
            return Path(answer[2])
    return None


def _candidates(version: str, environ: Mapping[str, str]) -> Iterator[Path]:
    name = f"python{version}"
    for folder in environ.get("PATH", "").split(":"):
        if folder:
            yield Path(folder, name)
    pyenv = Path(environ.get("PYENV_ROOT") or Path(environ.get("HOME", "/"), ".pyenv"))
    # Names end in a number, 3.12.10 being newer than 3.12.9; 3.14.0rc1 or 3.13.0t are no releases.
    releases = [path for path in pyenv.glob(f"versions/{version}.*") if path.suffix[1:].isdigit()]
    for release_folder in sorted(releases, key=lambda path: int(path.suffix[1:]), reverse=True):
        yield release_folder / "bin" / name


def _probe(interpreter: Path) -> list[str]:
    """Run an interpreter to learn what it is: a pyenv shim is a file that exists and may still not start."""
    if not interpreter.is_file():
        return []
    try:
        process = subprocess.run(
            [interpreter, "-I", "-S", "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=30,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return process.stdout.splitlines() if process.returncode == 0 else []


if __name__ == "__main__":
    main(sys.argv[1:], os.environ)
