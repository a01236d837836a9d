"""`make verify-layer` is the last look at the zip: it passes what the build makes, and finds what could go wrong."""

import os
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import INTERPRETERS
from copies import ROOT
from layer import contents, elf, rehearsal, verify
from layer.archive import File, Files, zipped

# This interpreter, or any other that the layer supports and that is here.
PYTHON = next(path for path in reversed(INTERPRETERS.values()) if path)
TAG = next(version.replace(".", "") for version, path in INTERPRETERS.items() if path == PYTHON)


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


@pytest.fixture
def unpacked(layer_folder: Path, tmp_path: Path) -> Path:
    """A copy of the layer to do something to."""
    return Path(shutil.copytree(layer_folder, tmp_path / "opt"))


def start(layer: Path, *, mount: bool = False) -> rehearsal.Rehearsal:
    return rehearsal.rehearse(layer, PYTHON, mount=mount)


def recompile(layer: Path) -> None:
    """Give a doctored layer fresh byte code, so that only what was done to it is found."""
    for path in layer.rglob("*.pyc"):
        path.unlink()
    compiler = [str(PYTHON), "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(layer)]
    subprocess.run(compiler, check=True)


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
        (core("3.14", "aarch64"), None, "no compiled module for Python 3.14 on aarch64"),
        (core("3.9", "x86_64"), File(b""), "belongs to nothing that is bundled"),
        ("python/msgspec/_core.so", File(b""), "its name says no Python and processor"),
    ],
)
def test_file_that_should_not_be_so_is_found(
    name: str,
    file: File | None,
    problem: str,
    doctored: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Anything in the zip that is not of this commit or a pinned wheel fails, and so does anything that is not there."""
    assert verify.main([str(doctored({name: file}))], os.environ) == 1
    assert f"layer: {name}: " in (errors := capsys.readouterr().err) or file is None
    assert problem in errors


def test_module_for_another_processor_is_found(
    layer_files: Files, doctored: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A module that is made for x86_64 and named for arm64 fails, although no arm64 is here to try it."""
    archive = doctored({core("3.14", "aarch64"): layer_files[core("3.14", "x86_64")]})

    assert verify.main([str(archive)], os.environ) == 1
    assert f"layer: {core('3.14', 'aarch64')}: made for x86_64" in capsys.readouterr().err


def test_executable_that_lost_its_mode_is_found(
    layer_files: Files, doctored: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """An exec wrapper that nobody may execute fails."""
    archive = doctored({"bin/lambda-tasks-exec": File(layer_files["bin/lambda-tasks-exec"].data, 0o644)})

    assert verify.main([str(archive)], os.environ) == 1
    assert "bin/lambda-tasks-exec: has the permissions 644 in place of 755" in capsys.readouterr().err


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
    doctored: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A zip with a file that is not ours is refused before any of it runs."""
    code = f"open({str(tmp_path / 'ran')!r}, 'w')"
    verify.main([str(doctored({"python/lambda_tasks/__init__.py": File(code.encode())}))], os.environ)

    assert not (tmp_path / "ran").exists()
    assert "Python" not in capsys.readouterr().out


def test_zip_that_nothing_here_can_start_fails(doctored: Callable[..., Path]) -> None:
    """Where no interpreter is found nothing was shown, so that is no success."""
    assert verify.main([str(doctored({}))], {"PATH": "", "HOME": "/nonexistent"}) == 1


@pytest.mark.parametrize("mount", [True, False])
def test_cold_start_without_fault(unpacked: Path, *, mount: bool) -> None:
    """Mounted at /opt or in a folder, the layer passes."""
    if mount and not rehearsal.can_mount(unpacked, PYTHON):
        pytest.skip("this machine does not let us mount at /opt")
    result = start(unpacked, mount=mount)

    assert result.problems == ()
    assert result.modules == len(list(unpacked.rglob("*.py")))


@pytest.mark.parametrize("mount", [True, False])
def test_write_into_the_layer_is_found(unpacked: Path, *, mount: bool) -> None:
    """A module that writes beside itself fails: on Lambda it could not, and for root here it leaves a trace."""
    if mount and not rehearsal.can_mount(unpacked, PYTHON):
        pytest.skip("this machine does not let us mount at /opt")
    code = "import os\ntry:\n    open(os.path.dirname(__file__) + '/cache', 'w')\nexcept OSError:\n    pass\n"
    (unpacked / "python/lambda_tasks/writes.py").write_text(code)
    recompile(unpacked)

    assert any(
        "/python/lambda_tasks/cache was opened for writing" in each for each in start(unpacked, mount=mount).problems
    )


def test_change_by_another_process_is_found(unpacked: Path) -> None:
    """Whoever wrote below the layer's folder changed the tree."""
    code = "import os, subprocess\nsubprocess.run(['touch', os.path.dirname(__file__) + '/cache'])\n"
    (unpacked / "python/lambda_tasks/writes.py").write_text(code)
    recompile(unpacked)
    problems = start(unpacked).problems
    if os.geteuid() != 0:
        pytest.skip("only root can write into a read-only folder")

    assert "python/lambda_tasks/cache was changed" in problems


def test_compiling_is_found(unpacked: Path) -> None:
    """A module whose byte code is missing is compiled, and that fails."""
    (unpacked / f"python/lambda_tasks/tasks/__pycache__/task.cpython-{TAG}.pyc").unlink()
    problems = " ".join(start(unpacked).problems)

    assert "lambda_tasks/tasks/task.py was compiled" in problems


def test_stale_byte_code_is_found(unpacked: Path) -> None:
    """Byte code of another source is run without a word by Python, and fails here."""
    with (unpacked / "python/lambda_tasks/errors.py").open("a") as file:
        file.write("# changed\n")

    assert start(unpacked).problems == (f"stale byte code, or none: {unpacked}/python/lambda_tasks/errors.py",)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import no_such_module", "cannot be imported: lambda_tasks.added: ModuleNotFoundError"),
        ("import sys; sys.path.append('/somewhere')", "/somewhere was added to sys.path"),
        ("import os; os._exit(7)", "exit status 7"),
    ],
)
def test_module_that_misbehaves_is_found(unpacked: Path, code: str, problem: str) -> None:
    """A module that cannot be imported, changes the import path, or ends the process fails."""
    (unpacked / "python/lambda_tasks/added.py").write_text(code)
    recompile(unpacked)

    assert any(problem in each for each in start(unpacked).problems)


def test_wrong_outcome_is_found(unpacked: Path) -> None:
    """A handler that answers otherwise than it should fails, and so does a task that did not run."""
    with (unpacked / "python/lambda_tasks/handler.py").open("a") as file:
        file.write("\nhandler = lambda event, context: {'batchItemFailures': []}\n")
    recompile(unpacked)

    assert start(unpacked).problems == (
        "the messages were answered with {'batchItemFailures': []}",
        "the task did not see its secrets: ''",
    )


@pytest.mark.parametrize(("number", "machine"), [(62, "x86_64"), (183, "aarch64"), (40, None)])
def test_elf_header_names_the_processor(number: int, machine: str | None) -> None:
    """The processor is read from the header of a 64-bit little-endian shared object."""
    assert elf.machine(struct.pack("<16sHH", b"\x7fELF\x02\x01\x01", 3, number)) == machine


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF\x02\x01\x01",
        struct.pack("<16sHH", b"\x7fELF\x01\x01\x01", 3, 62),  # 32 bits
        struct.pack(">16sHH", b"\x7fELF\x02\x02\x01", 3, 62),  # big-endian
        struct.pack("<16sHH", b"\x7fELF\x02\x01\x01", 2, 62),  # a program
        struct.pack("<16sHH", b"MZ", 3, 62),
    ],
)
def test_what_is_no_module_has_no_processor(data: bytes) -> None:
    """Truncated files, other word sizes, byte orders and kinds are for no processor of Lambda."""
    assert elf.machine(data) is None


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("_core.cpython-314-aarch64-linux-gnu.so", ("3.14", "aarch64")),
        ("python/m/_core.cpython-310-x86_64-linux-gnu.so", ("3.10", "x86_64")),
        ("_core.cpython-313t-x86_64-linux-gnu.so", None),
        ("_core.abi3.so", None),
        ("_core.so", None),
    ],
)
def test_file_name_names_the_target(name: str, target: tuple[str, str] | None) -> None:
    """Python version and processor are read from the tag in a compiled module's name; free-threaded ones have none."""
    assert elf.named_target(name) == target
