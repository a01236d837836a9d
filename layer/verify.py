"""Verify the layer before it leaves the machine: `python -m layer.verify [ZIP]`, as `make verify-layer` calls it.

First each file: those of this commit and of the pinned wheels, and nothing else. Byte code is compiled again and
compared, so a zip passes only where each Python that it has byte code for is found, in the release that built it.
Then a cold start with each of these. For the other Pythons, and for the other processor, names and ELF headers have to
do.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from layer import build, contents, rehearsal
from layer.archive import Files, write_tree, zipped
from layer.interpreters import installed, release
from layer.trust import TrustError
from layer.wheels import WheelError


def main(arguments: list[str], environ: Mapping[str, str]) -> int:
    """Verify an archive, print what was found, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m layer.verify", description="Verify the Lambda layer.")
    parser.add_argument("zip", type=Path, nargs="?", default=build.ZIP, help="default: what `make layer` built")
    archive = parser.parse_args(arguments).zip

    files, problems = contents.read(archive)
    problems += judged(archive, files, *expectation(files, environ))
    print(f"{archive}\n  {'files':<14} {_verdict(problems, f'{len(files)}, each of this commit or of a pinned wheel')}")
    if not problems:  # what is not ours is not executed
        problems = cold_starts(files, environ)
    for problem in problems:
        print(f"layer: {problem}", file=sys.stderr)
    return 1 if problems else 0


def judged(archive: Path, files: Files, expected: Files, compiled: Files) -> list[str]:
    """Say what is wrong with the files of an archive, as `contents.problems` does, and with what is around them."""
    problems = contents.problems(files, expected, compiled)
    if not problems and zipped(files) != archive.read_bytes():
        problems.append(f"{archive.name}: holds something beside its files, or was packed otherwise")
    return problems


def expectation(files: Files, environ: Mapping[str, str]) -> tuple[Files, Files]:
    """Return all files but the byte code, and the byte code of the layer's Pythons that are found here."""
    sources = build.sources(build.ROOT)
    found = installed(environ)
    interpreters = {version: path for version in contents.versions(files) if (path := found.get(version))}
    return sources, build.byte_code(sources, interpreters)


def cold_starts(files: Files, environ: Mapping[str, str]) -> list[str]:
    """Unpack the layer and start it with each interpreter; return the problems."""
    problems = []
    started = 0
    compiled = contents.versions(files)
    with tempfile.TemporaryDirectory(prefix="lambda-tasks-") as folder:
        layer = Path(folder, "opt")
        write_tree(files, layer)
        for version, interpreter in installed(environ).items():
            if interpreter is None or version not in compiled:
                why = "not found here" if interpreter is None else "no byte code for it in this zip"
                print(f"  {f'Python {version}':<14} {why}: names and ELF headers alone")
                continue
            started += 1
            mount = rehearsal.can_mount(layer, interpreter)
            result = rehearsal.rehearse(layer, interpreter, mount=mount)
            success = f"{result.modules} modules, 2 secrets, 2 messages; nothing compiled, nothing written"
            how = "mounted read-only at /opt" if mount else "files made read-only"
            print(f"  {f'Python {release(interpreter)}':<14} {_verdict(result.problems, success)} ({how})")
            problems += [f"Python {version}: {problem}" for problem in result.problems]
    return problems if started else ["no interpreter started it: install a Python that Lambda has, and build with it"]


def _verdict(problems: Sequence[str], success: str) -> str:
    return f"{len(problems)} problems" if problems else success


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:], os.environ))
    except (build.BuildError, WheelError, TrustError, OSError) as error:
        sys.exit(f"layer: {error}")
