"""The demo as a user runs it, and that it does not praise what went wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import demo
from shop.image import Image

pytestmark = pytest.mark.usefixtures("uncovered")

UNRESOLVING_WRAPPER = '#!/bin/sh\nexport LAMBDA_TASKS_RESOLVED=\nexec "$@"\n'


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(demo.ROOT / "examples" / "demo.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_fresh_clone_sets_up_what_the_demo_needs_alone() -> None:
    """Without the development environment `make demo` installs its own packages, and builds the layer by those."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--dry-run", "--always-make", "VENV=.venv-of-nobody", "demo"]
    planned = subprocess.run(command, cwd=demo.ROOT, env=kept, capture_output=True, text=True, check=True).stdout

    assert "--requirement tests/requirements-demo.txt" in planned
    assert ".venv-demo/bin/python -m layer.build" in planned
    assert "tests/requirements.txt" not in planned
    assert ".venv-of-nobody/bin" not in planned


def test_every_outcome_is_the_expected_one() -> None:
    """The demo exits with 0 and shows at least twenty messages, the dead-letter queue and the cold start."""
    result = run_demo()

    assert result.returncode == 0, result.stdout + result.stderr
    row = re.compile(r"^(\S+) +(succeeded|rejected|failed) +(\d) +[0-9.]+ ms", re.MULTILINE)
    outcomes = [found.groups() for found in row.finditer(result.stdout)]
    assert len(outcomes) == len(demo.expectations()) >= 20
    assert outcomes.count(("os.system", "rejected", "1")) == 1
    assert outcomes.count(("shop.tasks.charge_card", "failed", "2")) == 1
    assert "In the dead-letter queue, 6 messages" in result.stdout
    assert re.search(r"^wrong kwargs +InvalidKwargs +the kwargs do not fit", result.stdout, re.MULTILINE)
    assert re.search(r"Cold start: \d+ ms, \d+ ms of it in the resolver \(4 variables, 2 secrets\)", result.stdout)
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_unresolved_secrets_make_it_fail(tmp_path: Path) -> None:
    """With a wrapper that resolves nothing the tasks fail, and the demo names them and exits with 1."""
    layer = tmp_path / "layer.zip"
    with zipfile.ZipFile(demo.LAYER) as built, zipfile.ZipFile(layer, "w") as broken:
        for entry in built.infolist():
            is_wrapper = entry.filename == "bin/lambda-tasks-exec"
            broken.writestr(entry, UNRESOLVING_WRAPPER if is_wrapper else built.read(entry))

    result = run_demo("--layer", str(layer))

    assert result.returncode == 1
    assert "Not as expected:" in result.stdout
    assert "failed after 1, expected succeeded after 1" in result.stdout
    assert "no task had the right SHOP_API_TOKEN" in result.stdout


def test_missing_layer_says_what_to_do(tmp_path: Path) -> None:
    """Without the layer the demo says how to build it."""
    result = run_demo("--layer", str(tmp_path / "none.zip"))

    assert result.returncode == 2
    assert "run `make layer`" in result.stderr


def test_differing_outcome_is_named() -> None:
    """A message that ended otherwise, or nowhere, is a problem; one that ended as expected is none."""
    rejected = demo.Expected("", "{}", "rejected")
    messages = {"1": demo.Expected("", "{}"), "2": rejected, "3": rejected}
    results = {"1": demo.Result("t", "succeeded", 1, 1.0), "2": demo.Result("t", "succeeded", 1, 1.0)}

    problems = demo.unexpected(messages, results)

    assert ["message 2" in problems[0], "message 3" in problems[1], len(problems)] == [True, True, 2]
    assert demo.misplaced(messages, ["1", "2"]) == [
        "message 3 is not in the dead-letter queue",
        "message 1 is in the dead-letter queue",
    ]


@pytest.mark.parametrize("line", ['x pass"word\n', '{"message": "pass\\"word\\n"}'])
def test_logged_secret_is_found(line: str) -> None:
    """A secret's value in the log is a problem, as it is or as JSON spells it."""
    assert demo.leaked(["fine", *line.split("\n")], {"PASSWORD": 'pass"word\n'}) == ["the value of PASSWORD was logged"]


def test_wrong_signature_is_found() -> None:
    """A signature that none of the secrets made means that a task had another value."""
    log = ['{"signed": "text", "signature": "00"}']

    assert demo.unproven(log, {"KEY": "k"}) == ["no task had the right KEY", "signed with none of the secrets: text"]


def test_image_is_resized_in_proportion() -> None:
    """A thumbnail takes the nearest pixels and survives the file format, even where pixels look like white space."""
    image = Image(4, 2, b"   abc   defghi   jkl   ")

    assert image.resized(2) == Image(2, 1, b"      ")
    assert Image.from_ppm(image.to_ppm()) == image


def test_broken_image_is_refused() -> None:
    """Bytes that are no whole PPM are an error."""
    with pytest.raises(ValueError, match="binary PPM"):
        Image.from_ppm(b"P6 2 2 255 abc")
