"""The zip is what people attach to production functions: what is in it, and that nothing else decides its bytes."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from copies import ROOT, copy_tree
from layer import build, wheels
from layer.archive import File
from layer.interpreters import VERSIONS, installed

pytestmark = pytest.mark.usefixtures("uncovered")

INSTALLED = installed(os.environ)
THIS_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

# Hands out every folder's entries in the opposite order, as another file system might.
OTHER_ORDER = """
import os
listdir, scandir = os.listdir, os.scandir

class Reversed:
    def __init__(self, entries):
        self.entries = iter(entries)
    def __iter__(self):
        return self
    def __next__(self):
        return next(self.entries)
    def __enter__(self):
        return self
    def __exit__(self, *exception):
        pass

# Python 3.10's pathlib makes them part of a class, in which a function would be a method.
os.listdir = staticmethod(lambda *path: list(reversed(sorted(listdir(*path)))))
os.scandir = staticmethod(lambda *path: Reversed(sorted(scandir(*path), key=lambda entry: entry.name, reverse=True)))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of all that a build reads, wheels included, so that building needs no network."""
    wheels.fetch(ROOT / "layer" / "requirements.txt", ROOT / "layer" / "cache")
    wheels.fetch_pure(ROOT / "layer" / "requirements-build.txt", ROOT / "layer" / "cache")
    return copy_tree(tmp_path_factory.mktemp("first") / "tree")


@pytest.fixture(scope="module")
def built(tree: Path) -> "subprocess.CompletedProcess[str]":
    process = run_build(tree)
    assert process.returncode == 0, process.stderr
    return process


@pytest.fixture(scope="module")
def archive(tree: Path, built: "subprocess.CompletedProcess[str]") -> Path:
    assert built.returncode == 0
    return tree / "layer" / "dist" / "lambda-tasks-layer.zip"


def run_build(tree: Path, umask: int = 0o022, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Build without a package index: what is not in the cache is not to be had."""
    return subprocess.run(
        [sys.executable, "-m", "layer.build"],
        cwd=tree,
        env={**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "LAMBDA_TASKS_PYC": "", **environ},
        umask=umask,
        capture_output=True,
        text=True,
    )


def build_layer(tree: Path, umask: int = 0o022, **environ: str) -> Path:
    process = run_build(tree, umask, **environ)
    assert process.returncode == 0, process.stderr
    return tree / "layer" / "dist" / "lambda-tasks-layer.zip"


def byte_code_tags(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as layer:
        return {name.split(".")[-2] for name in layer.namelist() if name.endswith(".pyc")}


def make_wheel(path: Path, contents: Mapping[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in contents.items():
            wheel.writestr(name, text)
    return path


def test_two_builds_give_the_same_bytes(tree: Path, archive: Path, tmp_path: Path) -> None:
    """The folder, umask, time zone, locale, hash seed, file times and file system of a build leave no trace."""
    (tmp_path / "sitecustomize.py").write_text(OTHER_ORDER)
    other = tmp_path / "a folder with spaces" / "and another name"
    shutil.copytree(tree, other, ignore=shutil.ignore_patterns("__pycache__", "dist"))
    for path in other.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    listed = "import os; print(os.listdir() == sorted(os.listdir(), reverse=True))"
    lists = subprocess.run(
        [sys.executable, "-c", listed], cwd=other, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    environ = {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "7", "PYTHONPATH": str(tmp_path)}
    rebuilt = build_layer(other, umask=0o077, **environ)

    assert lists.stdout == "True\n", lists.stderr
    assert rebuilt.read_bytes() == archive.read_bytes()


def test_nothing_names_the_builder(tree: Path, archive: Path) -> None:
    """No file of the layer, byte code included, holds the path of the folder it was built in."""
    with zipfile.ZipFile(archive) as layer:
        assert [name for name in layer.namelist() if str(tree).encode() in layer.read(name)] == []


def test_modules_and_packages_can_be_left_out() -> None:
    """A module or a whole package, at any depth, can be left out."""
    everything, some = (build.own_files(ROOT, frozenset(left_out)) for left_out in ((), ("tasks/task.py", "aws")))
    missing = {name.removeprefix("python/lambda_tasks/") for name in everything.keys() - some.keys()}

    assert "tasks/task.py" in missing
    assert missing - {"tasks/task.py"} == {name for name in missing if name.startswith("aws/")} != set()


def test_build_prints_what_it_made(built: "subprocess.CompletedProcess[str]", archive: Path) -> None:
    """The build prints the size and hash of the zip and the release of each interpreter that it used."""
    printed = built.stdout

    assert f"{archive.stat().st_size:,} bytes" in printed
    assert hashlib.sha256(archive.read_bytes()).hexdigest() in printed
    assert ".".join(map(str, sys.version_info[:3])) in printed or THIS_VERSION not in VERSIONS


def test_interpreters_can_be_narrowed(tmp_path: Path) -> None:
    """`LAMBDA_TASKS_PYC` names the versions that get byte code."""
    version = next(version for version, path in INSTALLED.items() if path)
    narrowed = build_layer(copy_tree(tmp_path / "tree"), LAMBDA_TASKS_PYC=version)

    assert byte_code_tags(narrowed) == {f"cpython-{version.replace('.', '')}"}


def test_unknown_interpreter_is_refused(tree: Path) -> None:
    """A version in `LAMBDA_TASKS_PYC` that is not there fails the build and is named."""
    process = run_build(tree, LAMBDA_TASKS_PYC="2.7")

    assert process.returncode == 1
    assert process.stderr.startswith("layer: LAMBDA_TASKS_PYC names Python 2.7; found here: 3.")


def test_tampered_wheel_is_refused(tmp_path: Path) -> None:
    """A cached wheel whose hash is not pinned is never bundled: the build fails where no other is to be had."""
    tampered = copy_tree(tmp_path / "tree")
    ours = [path for path in (tampered / "layer" / "cache").glob("*.whl") if wheels.TARGETS[0].runs(path)]
    assert ours
    for wheel in ours:
        wheel.write_bytes(wheel.read_bytes() + b"\0")
    process = run_build(tampered)

    assert process.returncode == 1
    assert process.stderr.startswith("layer: pip found no wheel for Python 3.10 on x86_64")


def test_wheels_that_disagree_are_refused(tmp_path: Path) -> None:
    """Wheels are merged only where the files that they share are the same."""
    first = make_wheel(tmp_path / "first.whl", {"package/__init__.py": "VALUE = 1"})
    second = make_wheel(tmp_path / "second.whl", {"package/__init__.py": "VALUE = 2"})

    with pytest.raises(build.BuildError, match=r"package/__init__\.py in second\.whl differs"):
        build.bundled_files([first, second])


@pytest.mark.parametrize(
    ("archive_bytes", "file_bytes", "what"),
    [(build.MAX_ZIPPED_BYTES + 1, 1, "the zip"), (1, build.MAX_UNPACKED_BYTES + 1, "the unpacked layer")],
)
def test_layer_that_grew_too_large_is_refused(archive_bytes: int, file_bytes: int, what: str) -> None:
    """The build fails where the zip or what is in it exceeds its limit."""
    with pytest.raises(build.BuildError, match=what):
        build.check_size(bytes(archive_bytes), {"python/large.py": File(bytes(file_bytes))})


def test_source_that_does_not_compile_is_refused(tmp_path: Path) -> None:
    """A source that one of the interpreters cannot compile fails the build, with that interpreter's words."""
    broken = copy_tree(tmp_path / "tree")
    (broken / "python" / "lambda_tasks" / "broken.py").write_text("def:")
    process = run_build(broken, LAMBDA_TASKS_PYC=next(version for version, path in INSTALLED.items() if path))

    assert process.returncode == 1
    assert "cannot compile the layer" in process.stderr
    assert "SyntaxError" in process.stderr


def test_interpreter_that_does_not_start_is_passed_over(tmp_path: Path) -> None:
    """A dead shim on `PATH` does not hide the interpreter that pyenv has."""
    shim = tmp_path / "shims" / f"python{THIS_VERSION}"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    real = tmp_path / "pyenv" / "versions" / f"{THIS_VERSION}.10" / "bin" / f"python{THIS_VERSION}"
    real.parent.mkdir(parents=True)
    real.symlink_to(sys.executable)

    found = installed({"PATH": str(shim.parent), "PYENV_ROOT": str(tmp_path / "pyenv")})

    assert {version for version, path in found.items() if path} == {THIS_VERSION}
    assert found[THIS_VERSION] != shim
