"""The package's types in an application's code: what they take, and what they refuse, by each type checker."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "tests/typed_sample.py"
BIN = Path(sys.executable).parent

Found = dict[int, set[str]]


def expected(checker: int) -> Found:
    """Return the errors that the sample says one checker has, by line."""
    found = {}
    for number, line in enumerate(SAMPLE.read_text().splitlines(), 1):
        if "  # wrong: " in line:
            found[number] = set(line.partition("# wrong: ")[2].split(" | ")[checker].split())
    return found


def by_line(errors: Iterator[tuple[int, str]]) -> Found:
    found = defaultdict(set)
    for line, code in errors:
        found[line].add(code)
    return dict(found)


def of_mypy(_: Path) -> Found:
    # The cache is that of `make lint`, so that little is left to do.
    command = [sys.executable, "-m", "mypy", "--hide-error-context", "--no-pretty", str(SAMPLE)]
    output = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False).stdout
    errors = re.findall(r"typed_sample\.py:(\d+): error: .* \[([a-z-]+)\]$", output, re.MULTILINE)
    assert errors, output
    return by_line((int(line), code) for line, code in errors)


def of_pyright(folder: Path) -> Found:
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", "")])
    command = shutil.which("basedpyright", path=path) or shutil.which("pyright", path=path)
    if command is None:
        pytest.skip("neither basedpyright nor pyright is installed")
    options = {"include": [str(SAMPLE)], "extraPaths": [str(ROOT / "python")], "typeCheckingMode": "standard"}
    project = folder / "pyrightconfig.json"
    project.write_text(json.dumps(options))
    checked = [command, "--project", str(project), "--pythonpath", sys.executable, "--outputjson"]
    output = subprocess.run(checked, capture_output=True, text=True, timeout=300, check=False).stdout
    diagnostics = json.loads(output)["generalDiagnostics"]
    errors = [one for one in diagnostics if one["severity"] == "error" and one["file"].endswith(SAMPLE.name)]
    return by_line((one["range"]["start"]["line"] + 1, one.get("rule", "")) for one in errors)


@pytest.mark.parametrize(("checker", "run"), [(0, of_mypy), (1, of_pyright)], ids=["mypy", "pyright"])
def test_types_take_what_runs_and_refuse_the_rest(checker: int, run: Callable[[Path], Found], tmp_path: Path) -> None:
    """An application's sample has the errors that it names, under `mypy --strict` and pyright, and no other ones."""
    assert run(tmp_path) == expected(checker)
