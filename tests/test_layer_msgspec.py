"""The layer with another msgspec beside it: another layer's in the same place, in both orders, or the function's own."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conftest import INTERPRETERS
from copies import ROOT
from layer import wheels
from wrapper import base_environ

pytestmark = pytest.mark.usefixtures("uncovered")

CACHE = ROOT / "layer" / "cache"
LOCKS = {
    "oldest": ROOT / "tests" / "requirements-msgspec-oldest.txt",
    "older": ROOT / "tests" / "requirements-msgspec-older.txt",
    "newest": ROOT / "layer" / "requirements.txt",
}

# As the managed runtime does: the function's folder and the layers' on the path, then import the handler and call it.
RUNTIME = """
import json, os, sys
sys.path[:0] = [os.environ["LAMBDA_TASK_ROOT"], os.environ["LAYER_PYTHON"]]
import lambda_tasks.handler
print(json.dumps(lambda_tasks.handler.handler({"task_name": "shop.tell", "kwargs": {"day": "2026-01-02"}}, None)))
"""
TASKS = """
import datetime
import msgspec
import msgspec.inspect, msgspec.json, msgspec.msgpack, msgspec.structs, msgspec.toml, msgspec.yaml
from lambda_tasks import task

class Basket(msgspec.Struct):
    items: list[int] = []

@task
def tell(*, day: datetime.date, basket: Basket | None = None) -> dict[str, str]:
    assert msgspec.json.decode(b'{"items": [1]}', type=Basket) == Basket([1])
    assert "Basket" in str(msgspec.json.schema(Basket))
    with open(msgspec._core.__file__, "rb") as file:
        cut = not any(file.read(48)[40:])
    return {"version": msgspec.__version__, "file": msgspec.__file__, "ours": str(cut), "day": str(day)}
"""
# What a function does without us.
ALONE = """
import os, sys
sys.path[:0] = [os.environ["LAMBDA_TASK_ROOT"], os.environ["LAYER_PYTHON"]]
import msgspec
print(msgspec.json.decode(b"[1]", type=list[int]), msgspec.__version__)
"""


@dataclass(frozen=True)
class Other:
    """A msgspec as a wheel has it, for one Python."""

    wheel: Path
    version: str

    def unpack(self, folder: Path, *, compiled: bool = True) -> None:
        with zipfile.ZipFile(self.wheel) as wheel:
            names = [name for name in wheel.namelist() if compiled or not name.endswith(".so")]
            wheel.extractall(folder, names)


@pytest.fixture(params=["oldest", "older", "newest"])
def other(request: pytest.FixtureRequest, each_python: Path) -> Other:
    """Each msgspec that others may bring, as far as there is a wheel of it for the Python."""
    (python,) = (version for version, path in INTERPRETERS.items() if path == each_python)
    lock = LOCKS[request.param]
    try:
        wheel = wheels.fetch_one(lock, CACHE, wheels.Target(python, platform.machine()))
    except wheels.WheelError as error:
        pytest.skip(f"there is no such wheel for Python {python}, or no package index: {error}"[:200])
    (version,) = re.findall(r"^msgspec==([0-9.]+)", lock.read_text(), re.MULTILINE)
    return Other(wheel, version)


@pytest.fixture
def opt(tmp_path: Path) -> Path:
    return tmp_path / "opt" / "python"


@pytest.fixture
def function(tmp_path: Path) -> Path:
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "shop.py").write_text(TASKS)
    return folder


def attach(layer: Path, opt: Path) -> None:
    """Unpack our layer onto what is there."""
    shutil.copytree(layer / "python", opt, dirs_exist_ok=True)


def start(python: Path, program: str, opt: Path, function: Path) -> subprocess.CompletedProcess[str]:
    environ = base_environ(
        "http://127.0.0.1:1", LAYER_PYTHON=str(opt), LAMBDA_TASK_ROOT=str(function), LAMBDA_TASKS_MODULES="shop"
    )
    command = [str(python), "-S", "-s", "-B", "-c", program]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)


def told(python: Path, opt: Path, function: Path) -> dict[str, Any]:
    process = start(python, RUNTIME, opt, function)
    assert process.returncode == 0, process.stderr
    return dict(json.loads(process.stdout))


def bundled_version(layer: Path) -> str:
    (path,) = (layer / "python").glob("msgspec-*.dist-info")
    return path.name.removeprefix("msgspec-").removesuffix(".dist-info")


def versions(opt: Path) -> Iterator[str]:
    for path in sorted(opt.glob("msgspec-*.dist-info")):
        yield path.name.removesuffix(".dist-info")


@pytest.mark.parametrize("with_byte_code", [False, True])
def test_later_layer_brings_the_whole_of_its_msgspec(
    other: Other, each_python: Path, layer_folder: Path, opt: Path, function: Path, *, with_byte_code: bool
) -> None:
    """Where the other layer is the later one, its msgspec serves the tasks and the dispatcher, and nothing of ours does."""
    attach(layer_folder, opt)
    if with_byte_code:
        theirs = opt.parent / "theirs"
        other.unpack(theirs)
        subprocess.run([each_python, "-m", "compileall", "-q", theirs / "msgspec"], check=True)
        shutil.copytree(theirs, opt, dirs_exist_ok=True)
    else:
        other.unpack(opt)

    assert told(each_python, opt, function) == {
        "version": other.version,
        "file": str(opt / "msgspec" / "__init__.py"),
        "ours": "False",
        "day": "2026-01-02",
    }
    assert start(each_python, ALONE, opt, function).stdout == f"[1] {other.version}\n"


def test_later_layer_of_ours_serves(
    other: Other, each_python: Path, layer_folder: Path, opt: Path, function: Path
) -> None:
    """Where ours is the later layer, it is our msgspec that serves, and nothing of the other's does."""
    other.unpack(opt)
    attach(layer_folder, opt)

    answer = told(each_python, opt, function)
    assert (answer["version"], answer["ours"]) == (bundled_version(layer_folder), "True")
    assert start(each_python, ALONE, opt, function).stdout == f"[1] {bundled_version(layer_folder)}\n"


def test_msgspec_that_a_function_bundles_serves(
    other: Other, each_python: Path, layer_folder: Path, opt: Path, function: Path
) -> None:
    """The oldest and the newest that a function may bundle serve its tasks and the dispatcher."""
    attach(layer_folder, opt)
    other.unpack(function)

    answer = told(each_python, opt, function)
    assert (answer["version"], answer["file"]) == (other.version, str(function / "msgspec" / "__init__.py"))


def test_mix_of_two_is_an_init_error_that_names_both(
    other: Other, each_python: Path, layer_folder: Path, opt: Path, function: Path
) -> None:
    """Where a later layer has no compiled module for this Python, its sources and ours do not fit: the error says so."""
    if other.version == bundled_version(layer_folder):
        pytest.skip("they fit")
    attach(layer_folder, opt)
    other.unpack(opt, compiled=False)
    process = start(each_python, RUNTIME, opt, function)

    assert process.returncode == 1
    (said,) = re.findall(r"^lambda_tasks\.errors\.UnusableMsgspec: (.*)$", process.stderr, re.MULTILINE)
    assert said.startswith("msgspec cannot be imported: ")
    assert f"{opt}/msgspec/__init__.py and _core.cpython-" in said
    assert f" of {' and '.join(versions(opt))})" in said
    assert said.endswith(": where two layers bring msgspec, attach this one last, or take the other's away")


def test_msgspec_that_is_too_old_is_an_init_error(
    each_python: Path, layer_folder: Path, opt: Path, function: Path
) -> None:
    """A function that bundles a msgspec before 0.18 does not start, and is told what to bundle."""
    attach(layer_folder, opt)
    shutil.copytree(opt / "msgspec", function / "msgspec", ignore=shutil.ignore_patterns("__pycache__"))
    with (function / "msgspec" / "__init__.py").open("a") as module:
        module.write('\n__version__ = "0.17.3"\n')
    process = start(each_python, RUNTIME, opt, function)

    assert process.returncode == 1
    assert (
        f"UnusableMsgspec: msgspec 0.17.3 is too old ({function}/msgspec/__init__.py and _core.cpython-"
        in process.stderr
    )
    assert "bundle 0.18 or later, or none" in process.stderr


def test_error_reaches_whoever_defines_a_task(each_python: Path, layer_folder: Path, opt: Path, function: Path) -> None:
    """A function with a handler of its own, which only enqueues, is told the same when it imports `task`."""
    attach(layer_folder, opt)
    shutil.copytree(opt / "msgspec", function / "msgspec", ignore=shutil.ignore_patterns("__pycache__", "_core.*"))
    program = RUNTIME.split("import lambda_tasks.handler")[0] + "from lambda_tasks import task"
    process = start(each_python, program, opt, function)

    assert process.returncode == 1
    assert "lambda_tasks.errors.UnusableMsgspec: msgspec cannot be imported: " in process.stderr
    assert f"({function}/msgspec/__init__.py and no _core.cpython-" in process.stderr


def test_without_any_msgspec_python_says_so(each_python: Path, layer_folder: Path, opt: Path, function: Path) -> None:
    """Where there is no msgspec at all, the error is Python's own."""
    attach(layer_folder, opt)
    shutil.rmtree(opt / "msgspec")

    assert "ModuleNotFoundError: No module named 'msgspec'" in start(each_python, RUNTIME, opt, function).stderr
