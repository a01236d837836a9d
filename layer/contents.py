"""The contents of the layer's zip, judged file by file, without running any of them.

Every file is compared with the one that this checkout, the pinned wheels and the interpreters of this machine give.
No library does that: `check-wheel-contents` and `auditwheel` judge wheels, and tools that compare archives, such as
`diffoscope`, know neither what a layer may shadow nor what byte code a cold start needs.
"""

import re
import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from layer import elf
from layer.archive import File, Files
from layer.build import has_byte_code
from layer.wheels import TARGETS

_BYTE_CODE = re.compile(r"(?P<folder>.+)/__pycache__/(?P<module>[^/]+)\.cpython-3(?P<minor>\d+)\.pyc")
# PEP 552: the byte code goes by the hash of its source. Our own is not checked against it; what another layer may bring
# too is.
_UNCHECKED_HASH, _CHECKED_HASH = (0b01).to_bytes(4, "little"), (0b11).to_bytes(4, "little")
_OURS = "python/lambda_tasks/"


def read(archive: Path) -> tuple[Files, list[str]]:
    """Return what an archive holds, and what is wrong with its entries as such."""
    files: dict[str, File] = {}
    problems = []
    with zipfile.ZipFile(archive) as layer:
        for entry in layer.infolist():
            mode = entry.external_attr >> 16
            if entry.filename in files:
                problems.append(f"{entry.filename}: twice in the archive")
            if not stat.S_ISREG(mode) or ".." in PurePosixPath(entry.filename).parts or entry.filename[0] == "/":
                problems.append(f"{entry.filename}: not a regular file below the layer's folder")
            files[entry.filename] = File(layer.read(entry), stat.S_IMODE(mode))
    return files, problems


def problems(files: Files, expected: Files, compiled: Files) -> list[str]:
    """Say what is wrong with a layer.

    `expected` is all of it but the byte code. `compiled` is the byte code of `expected`, by the Pythons found here.
    """
    byte_code = {name: found for name in files if (found := _BYTE_CODE.fullmatch(name))}
    others = {name: file for name, file in files.items() if name not in byte_code}
    return [
        *_unexpected(others, expected),
        *_different(others, expected),
        *_misplaced_byte_code(files, byte_code),
        *_different_byte_code(files, byte_code, compiled),
        *_missing_byte_code(expected, byte_code),
        *_unfit_modules(others),
    ]


def versions(files: Files) -> list[str]:
    """Return the Pythons that the layer has byte code for."""
    minors = {int(found["minor"]) for name in files if (found := _BYTE_CODE.fullmatch(name))}
    return [f"3.{minor}" for minor in sorted(minors)]


def _unexpected(files: Files, expected: Files) -> Iterator[str]:
    importable = {_top(name) for name in expected}
    for name in sorted(files.keys() - expected.keys()):
        if _top(name) in importable:
            yield f"{name}: belongs to nothing that is bundled"
        else:
            yield f"{name}: shadows what a function or another layer calls {_top(name)}"


def _top(name: str) -> str:
    """Return what an import, or a look-up in /opt/bin, would find; folders of other layers lie beside ours."""
    return "/".join(PurePosixPath(name).parts[:2])


def _different(files: Files, expected: Files) -> Iterator[str]:
    for name, file in sorted(expected.items()):
        if name not in files:
            yield f"{name}: missing"
        elif files[name].data != file.data:
            yield f"{name}: not the bytes of this commit or of a pinned wheel"
        elif files[name].mode != file.mode:
            yield f"{name}: has the permissions {files[name].mode:o} in place of {file.mode:o}"


def _misplaced_byte_code(files: Files, byte_code: Mapping[str, re.Match[str]]) -> Iterator[str]:
    for name, found in sorted(byte_code.items()):
        if f"{found['folder']}/{found['module']}.py" not in files:
            yield f"{name}: byte code without a source"
        flags = files[name].data[4:8]
        if name.startswith(_OURS) and flags != _UNCHECKED_HASH:
            yield f"{name}: byte code that is checked against its source, or goes by file times"
        elif not name.startswith(_OURS) and flags != _CHECKED_HASH:
            yield f"{name}: byte code that would outlive its source where another layer replaces that"


def _different_byte_code(files: Files, byte_code: Mapping[str, re.Match[str]], compiled: Files) -> Iterator[str]:
    """Compare byte code with that of the same sources: Python runs it without a look at its source."""
    comparable = set(versions(compiled))
    for version in versions(files):
        if version not in comparable:
            yield f"byte code of Python {version}, which is not found here to compile the sources again and compare"
    for name, found in sorted(byte_code.items()):
        if f"3.{int(found['minor'])}" in comparable and files[name] != compiled.get(name):
            yield f"{name}: not the byte code of its source"


def _missing_byte_code(expected: Files, byte_code: Mapping[str, re.Match[str]]) -> Iterator[str]:
    """Ask for all byte code of a Python, or none."""
    for minor in sorted({found["minor"] for found in byte_code.values()}):
        for source in sorted(name for name in expected if has_byte_code(name)):
            path = PurePosixPath(source)
            name = f"{path.parent}/__pycache__/{path.stem}.cpython-3{minor}.pyc"
            if name not in byte_code:
                yield f"{name}: missing, so that every cold start would compile {source}"


def _unfit_modules(files: Files) -> Iterator[str]:
    compiled = {name: file for name, file in files.items() if ".so" in PurePosixPath(name).suffixes}
    targets = {name: elf.named_target(name) for name in compiled}
    for name, file in sorted(compiled.items()):
        target, machine = targets[name], elf.machine(file.data)
        if target is None:
            yield f"{name}: its name says no Python and processor"
        elif machine != target.machine:
            yield f"{name}: made for {machine or 'no processor of Lambda'}"
    for wanted in TARGETS:
        if (wanted.python, wanted.machine) not in targets.values():
            yield f"no compiled module for Python {wanted.python} on {wanted.machine}"
