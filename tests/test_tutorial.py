"""The pages that make a folder and run it: each of their files is written, and each of their commands is run in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import documents
from copies import ROOT
from documents import Block

LONGEST_SESSION_SECONDS = 120
# Each run has its own ids, times and ports; columns are as wide as what stands in them.
PASSING = [
    (r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID"),
    (r"\d{4}-\d\d-\d\dT\S+", "TIME"),
    (r"\d+(\.\d+)? (ms|s)\b", "DURATION"),
    (r"http://127\.0\.0\.1:\d+", "ENDPOINT"),
    (r"\s+", " "),
]


def lasting(text: str) -> str:
    """Return a text without what is different in each run."""
    for pattern, stand_in in PASSING:
        text = re.sub(pattern, stand_in, text)
    return text.strip()


def write(block: Block, folder: Path) -> None:
    path = folder / block.title
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A user's environment: our command on the path, AWS's emulator in the cache, nothing of AWS or of the tests."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "lambda-tasks").symlink_to(ROOT / "build")
    ours = ("AWS_", "LAMBDA_TASKS_", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **kept,
        "COLUMNS": "200",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The user's folder: an empty one."""
    path = tmp_path / "project"
    path.mkdir()
    return path


def run(command: str, folder: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", "-c", command],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=LONGEST_SESSION_SECONDS,
    )


class Terminal:
    """The first terminal: `lambda-tasks local`, and the lines that it prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def until(self, wanted: str) -> None:
        assert self.process.stdout is not None
        seen = []
        for line in self.process.stdout:
            seen.append(line)
            if wanted in line:
                return
        raise AssertionError(f"the session ended before {wanted!r}: {seen}")


@contextmanager
def session(command: str, folder: Path, environ: dict[str, str]) -> Iterator[Terminal]:
    with subprocess.Popen(
        [*command.split(), "--port", "0"],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        end = threading.Timer(LONGEST_SESSION_SECONDS, process.kill)  # a line that never comes ends the wait for it
        end.start()
        try:
            yield Terminal(process)
            process.terminate()  # ends it as Ctrl-C does, which a background job of a shell ignores
            output, _ = process.communicate()
            assert "succeeded" in output  # the summary
        finally:
            end.cancel()
            process.kill()


def test_tutorial_goes_as_it_says(folder: Path, environ: dict[str, str]) -> None:
    """Each command of the tutorial prints what stands below it, up to the redriven message's success."""
    page = documents.blocks_of(ROOT / "docs" / "tutorial.md")
    files = [block for block in page if block.title]
    mended = files.pop()
    # What the first terminal shows after a command; the next one would come too early without it.
    follows = {"send": "shop.tasks.charge failed", "--yes": "shop.tasks.charge succeeded"}
    for block in files:
        write(block, folder)
    compared = 0
    with session("lambda-tasks local", folder, environ) as terminal:
        terminal.until("Worker takes messages")
        steps = page[page.index(files[-1]) + 1 :]
        for block, below in zip(steps, [*steps[1:], None], strict=True):
            if block is mended:
                write(block, folder)
                terminal.until("tasks.py changed")
            if block.language != "sh" or block.text == "lambda-tasks local\n":
                continue
            (command,) = documents.commands_of(block.text)
            process = run(command, folder, environ)
            assert process.returncode == 0, process.stdout + process.stderr
            if below is not None and below.language == "text":
                assert lasting(below.text) in lasting(process.stdout)
                compared += 1
            for word, line in follows.items():
                if word in command.split():
                    terminal.until(line)
    assert compared == 4


def test_readme_is_the_tutorials_beginning() -> None:
    """The README's five minutes are the tutorial's: one command, the same template but for permissions, one task less."""
    readme, tutorial = (documents.blocks_of(ROOT / name) for name in ("README.md", "docs/tutorial.md"))
    written = {block.title: block.text for block in readme if block.title}
    (template, *_) = (block.text for block in tutorial if block.title == "template.yaml")
    (tasks, *_) = (block.text for block in tutorial if block.title == "shop/tasks.py")

    policies = re.compile(r"^ +Policies:\n(?: +- .*\n)+", re.MULTILINE)
    assert re.sub(r" +# .*", "", policies.sub("", written["template.yaml"])) == template
    task = written["shop/tasks.py"].split("\n\n\n")[1]
    assert task.strip() in tasks
    (command,) = (block.text for block in readme if "lambda-tasks invoke" in block.text)
    assert command in [block.text for block in tutorial]


def test_a_plain_handler_runs(folder: Path, environ: dict[str, str]) -> None:
    """A handler that knows nothing of this project runs as its page says, and exits by the outcome."""
    page = documents.blocks_of(ROOT / "docs" / "how-to" / "local.md")
    files = [block for block in page if block.title]
    for block in files:
        write(block, folder)
    command, summary = page[page.index(files[-1]) + 1 :][:2]

    process = run(command.text.strip() + " --port 0", folder, environ)

    assert process.returncode == 1, process.stdout + process.stderr
    assert "lambda_tasks" not in files[0].text
    assert lasting(summary.text) in lasting(process.stdout)
    assert "resized cat.png" in process.stdout
