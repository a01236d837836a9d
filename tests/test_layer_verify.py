"""`make verify-layer` is the last look at the zip: it passes what the build makes, and finds what could go wrong."""

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import INTERPRETERS
from copies import ROOT
from layer import contents, verify
from layer.archive import File, Files, zipped

pytestmark = pytest.mark.usefixtures("uncovered")

# This interpreter, or any other that the layer supports and that is here.
PYTHON = next(path for path in reversed(INTERPRETERS.values()) if path)
TAG = next(version.replace(".", "") for version, path in INTERPRETERS.items() if path == PYTHON)

UNCHECKED = b"\0" * 4 + (0b01).to_bytes(4, "little") + b"\0" * 8


def core(version: str, machine: str) -> str:
    return f"python/msgspec/_core.cpython-{version.replace('.', '')}-{machine}-linux-gnu.so"


@pytest.fixture
def doctored(layer_files: Files, tmp_path: Path) -> Callable[..., Path]:
    """Write the layer as a zip with other or more files in it, or without those that are None."""

    def write(changes: dict[str, File | None]) -> Path:
        changed = {name: file for name, file in {**layer_files, **changes}.items() if file is not None}
        path = tmp_path / "layer.zip"
        path.write_bytes(zipped(changed))
        return path

    return write


@pytest.fixture(scope="session")
def expected(layer_files: Files) -> tuple[Files, Files]:
    """Return the files and the byte code that this checkout gives, which take seconds to make."""
    return verify.expectation(layer_files, os.environ)


@pytest.fixture
def problems(layer_files: Files, expected: tuple[Files, Files]) -> Callable[..., list[str]]:
    """Say what is wrong with the layer with other or more files in it, or without those that are None."""

    def judge(changes: dict[str, File | None]) -> list[str]:
        changed = {name: file for name, file in {**layer_files, **changes}.items() if file is not None}
        return contents.problems(changed, *expected)

    return judge


def repacked(data: bytes) -> bytes:
    """Return the archive with a comment, as another program would pack it."""
    packed = io.BytesIO(data)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.comment = b"packed elsewhere"
    return packed.getvalue()


def test_what_the_build_makes_is_verified(layer_zip: Path) -> None:
    """The program passes the layer, names every interpreter, and says which one it could not try."""
    process = subprocess.run(
        [sys.executable, "-m", "layer.verify", layer_zip],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "tests"},
        capture_output=True,
        text=True,
    )

    assert process.returncode == 0, process.stdout + process.stderr
    for version, interpreter in INTERPRETERS.items():
        line = next(line for line in process.stdout.splitlines() if f"Python {version}" in line)
        assert ("nothing compiled, nothing written" in line) is bool(interpreter)
        assert ("not found here" in line) is not bool(interpreter)


@pytest.mark.parametrize(
    ("name", "file", "problem"),
    [
        ("python/requests/__init__.py", File(b""), "shadows what a function or another layer calls python/requests"),
        ("python/typing_extensions.py", File(b""), "shadows"),
        ("bin/python3", File(b"", 0o755), "shadows what a function or another layer calls bin/python3"),
        ("sitecustomize.py", File(b""), "shadows"),
        ("python/lambda_tasks/local/__init__.py", File(b""), "belongs to nothing that is bundled"),
        ("python/lambda_tasks/settings.orig", File(b""), "belongs to nothing that is bundled"),
        ("python/lambda_tasks/errors.py", File(b"pass\n"), "not the bytes of this commit or of a pinned wheel"),
        ("python/msgspec/json.py", File(b"pass\n"), "not the bytes of this commit or of a pinned wheel"),
        ("python/lambda_tasks/LICENSE", None, "missing"),
        (f"python/lambda_tasks/__pycache__/errors.cpython-{TAG}.pyc", None, "every cold start would compile"),
        (f"python/lambda_tasks/__pycache__/old.cpython-{TAG}.pyc", File(b"\0" * 16), "byte code without a source"),
        (f"python/lambda_tasks/__pycache__/errors.cpython-{TAG}.pyc", File(b"\0" * 16), "or goes by file times"),
        (f"python/msgspec/__pycache__/json.cpython-{TAG}.pyc", File(UNCHECKED), "would outlive its source"),
        (core("3.14", "aarch64"), None, "no compiled module for Python 3.14 on aarch64"),
        (core("3.9", "x86_64"), File(b""), "belongs to nothing that is bundled"),
        ("python/msgspec/_core.so", File(b""), "its name says no Python and processor"),
    ],
)
def test_file_that_should_not_be_so_is_found(
    name: str, file: File | None, problem: str, problems: Callable[..., list[str]]
) -> None:
    """Anything in the zip that is not of this commit or a pinned wheel fails, and so does anything that is not there."""
    found = problems({name: file})
    assert any(one.startswith(f"{name}: ") for one in found) or file is None
    assert any(problem in one for one in found)


@pytest.mark.parametrize(
    "change",
    [
        lambda file, other: File(file.data[:16] + other.data[16:]),
        lambda file, _: File(file.data + b"\0"),
        lambda file, _: File(file.data, 0o755),
    ],
)
@pytest.mark.parametrize("module", ["lambda_tasks/__pycache__/errors", "msgspec/__pycache__/json"])
def test_changed_byte_code_is_found(
    change: Callable[[File, File], File], module: str, layer_files: Files, problems: Callable[..., list[str]]
) -> None:
    """Byte code with the header of its source and another body, or other permissions, fails."""
    name = f"python/{module}.cpython-{TAG}.pyc"
    other = layer_files[f"python/lambda_tasks/__pycache__/settings.cpython-{TAG}.pyc"]

    assert problems({name: change(layer_files[name], other)}) == [f"{name}: not the byte code of its source"]


def test_byte_code_under_another_spelling_is_found(layer_files: Files, problems: Callable[..., list[str]]) -> None:
    """Byte code that the build would not name so is compared with nothing, and fails."""
    names = [name for name in layer_files if name.endswith(f".cpython-{TAG}.pyc")]
    respelt = {name.replace(f"-{TAG}.", f"-30{TAG[1:]}."): layer_files[name] for name in names}

    assert sum(one.endswith(": not the byte code of its source") for one in problems(respelt)) == len(names)


def test_byte_code_that_cannot_be_compared_fails(layer_files: Files, problems: Callable[..., list[str]]) -> None:
    """Byte code of a Python that is not here to compile the sources again is not vouched for."""
    names = [name for name in layer_files if name.endswith(f".cpython-{TAG}.pyc")]
    foreign = {name.replace(f"-{TAG}.", "-39."): layer_files[name] for name in names}

    assert problems(foreign) == [
        "byte code of Python 3.9, which is not found here to compile the sources again and compare"
    ]


@pytest.mark.parametrize("alter", [lambda data: b"#!/bin/sh\n" + data, lambda data: data + b"\0", repacked])
def test_archive_that_was_not_packed_by_the_build_is_found(
    alter: Callable[[bytes], bytes], layer_zip: Path, tmp_path: Path, expected: tuple[Files, Files]
) -> None:
    """Bytes around the entries fail, and so do the same files packed otherwise: readers of zips differ about these."""
    archive = tmp_path / "layer.zip"
    archive.write_bytes(alter(layer_zip.read_bytes()))
    files, wrong = contents.read(archive)

    assert wrong == []
    assert verify.judged(archive, files, *expected) == [
        "layer.zip: holds something beside its files, or was packed otherwise"
    ]


def test_module_for_another_processor_is_found(layer_files: Files, problems: Callable[..., list[str]]) -> None:
    """A module that is made for x86_64 and named for arm64 fails, although no arm64 is here to try it."""
    found = problems({core("3.14", "aarch64"): layer_files[core("3.14", "x86_64")]})
    assert f"{core('3.14', 'aarch64')}: made for x86_64" in found


def test_executable_that_lost_its_mode_is_found(layer_files: Files, problems: Callable[..., list[str]]) -> None:
    """An exec wrapper that nobody may execute fails."""
    found = problems({"bin/lambda-tasks-exec": File(layer_files["bin/lambda-tasks-exec"].data, 0o644)})
    assert "bin/lambda-tasks-exec: has the permissions 644 in place of 755" in found


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "python/../../escape"])
def test_entry_outside_of_the_layer_is_found(name: str, tmp_path: Path) -> None:
    """An entry that would be unpacked elsewhere fails."""
    archive = tmp_path / "layer.zip"
    archive.write_bytes(zipped({name: File(b"")}))

    assert contents.read(archive)[1] == [f"{name}: not a regular file below the layer's folder"]


def test_links_and_repeated_entries_are_found(tmp_path: Path) -> None:
    """A symbolic link, and a second file of the same name, fail."""
    links = [zipfile.ZipInfo("python/link") for _ in range(2)]
    for link in links:
        link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "layer.zip", "w") as archive:
        archive.writestr(links[0], "/etc")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(links[1], "/etc")

    wrong = contents.read(tmp_path / "layer.zip")[1]
    assert "python/link: not a regular file below the layer's folder" in wrong
    assert "python/link: twice in the archive" in wrong


def test_foreign_code_is_not_executed(
    layer_files: Files, doctored: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A zip with a file that is not ours, or byte code of another source, is refused before any of it runs."""
    source, byte_code = "python/lambda_tasks/__init__.py", f"python/lambda_tasks/__pycache__/errors.cpython-{TAG}.pyc"
    code = f"open({str(tmp_path / 'ran')!r}, 'w')"
    changes = {source: File(code.encode()), byte_code: File(layer_files[byte_code].data + b"\0")}

    assert verify.main([str(doctored(changes))], os.environ) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        f"layer: {source}: not the bytes of this commit or of a pinned wheel",
        f"layer: {byte_code}: not the byte code of its source",
    ]
    assert not (tmp_path / "ran").exists()
    assert "Python" not in captured.out


def test_zip_that_nothing_here_can_start_fails(doctored: Callable[..., Path]) -> None:
    """A run that finds no interpreter has shown nothing, so it is no success."""
    assert verify.main([str(doctored({}))], {"PATH": "", "HOME": "/nonexistent"}) == 1
