"""A rehearsal starts the layer cold and read-only, and finds whatever would go wrong on Lambda."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import INTERPRETERS
from layer import rehearsal

pytestmark = pytest.mark.usefixtures("uncovered")

# This interpreter, or any other that the layer supports and that is here.
PYTHON = next(path for path in reversed(INTERPRETERS.values()) if path)
TAG = next(version.replace(".", "") for version, path in INTERPRETERS.items() if path == PYTHON)


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
    """A write of another process below the layer's folder is a change of the tree."""
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
