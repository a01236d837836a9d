"""Copies of the worker's process that a task makes: in processes of their own, since they fork."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wrapper import ROOT, base_environ

PROGRAM = """
import sys
from catalogue import raising
from events import message_body, sqs_record
from lambda_tasks.settings import Settings
from workers import Dispatched, worker

path, concurrency, task, how, fifo = sys.argv[1:]
attributes = {"MessageGroupId": "g", "SequenceNumber": "1"} if fifo else {}

def of(name, **kwargs):
    return sqs_record(message_body(f"catalogue.raising.{name}", path=path, **kwargs), **attributes)

made = worker(Settings(concurrency=int(concurrency)))
append = "append_async" if task == "fork_behind" else "append"
middle = of(task, how=how) if how else of(task)
print("started")
print(Dispatched(made, of(append, text="before"), middle, of(append, text="after")).outcomes)
made.close()
"""


def dispatched(
    tmp_path: Path, concurrency: int, task: str, how: str = "", fifo: str = ""
) -> tuple[list[str], str, str]:
    """Return the lines that were written by all processes, and what they printed."""
    path = tmp_path / "lines"
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(concurrency), task, how, fifo],
        env={**base_environ("http://127.0.0.1:9"), "PYTHONPATH": f"{ROOT / 'python'}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return sorted(path.read_text().split()), finished.stdout, finished.stderr


@pytest.mark.parametrize("fifo", ["", "fifo"])
@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("task", ["fork", "fork_async"])
@pytest.mark.parametrize("how", ["return", "raise", "exit"])
def test_a_copy_of_the_process_ends_with_its_task(
    tmp_path: Path, how: str, task: str, concurrency: int, fifo: str
) -> None:
    """A child of `os.fork` that returns from the task, or raises, runs nothing else, and answers nothing."""
    lines, output, errors = dispatched(tmp_path, concurrency, task, how, fifo)
    assert lines == ["after", "before", "copy"]
    assert output.splitlines()[-1] == "['succeeded', 'succeeded', 'succeeded']"
    assert output.count("['succeeded'") == 1
    assert ("in the copy" in errors) is (how == "raise")


def test_a_copy_that_awaits_ends(tmp_path: Path) -> None:
    """In a child of `os.fork` the event loop is that of another process: it ends where it would go on."""
    lines, output, _ = dispatched(tmp_path, 1, "fork_async", "await")
    assert lines == ["after", "before"]
    assert output.count("succeeded") == 3


@pytest.mark.parametrize("fifo", ["", "fifo"])
def test_a_copy_that_a_task_in_the_background_makes_ends(tmp_path: Path, fifo: str) -> None:
    """In a copy that goes back to the event loop, no task of this process goes on or begins."""
    lines, output, _ = dispatched(tmp_path, 1, "fork_behind", "return", fifo)
    assert lines == ["after", "before", "copy"]
    assert output.count("succeeded") == 3


@pytest.mark.parametrize("concurrency", [1, 2])
def test_processes_of_multiprocessing_are_left_alone(tmp_path: Path, concurrency: int) -> None:
    """Processes that a task starts and joins run to their own end."""
    lines, output, _ = dispatched(tmp_path, concurrency, "start_processes")
    assert lines == ["after", "before", "process", "process"]
    assert output.count("succeeded") == 3


@pytest.mark.parametrize(
    ("ending", "status", "said"),
    [
        ("end()", 0, ""),
        ("end(SystemExit())", 0, ""),
        ("end(SystemExit(3))", 3, ""),
        ("end(SystemExit('no'))", 1, "no"),
        ("end(ValueError('broken'))", 1, "broken"),
    ],
)
def test_a_copy_ends_as_a_program_would(ending: str, status: int, said: str) -> None:
    """Its status is what Python's would be, what it printed is written, and nothing is done at exit."""
    program = f"import atexit; from lambda_tasks.limits.forks import end; atexit.register(print, 'exit'); print('x', end=''); {ending}"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (finished.returncode, finished.stdout) == (status, "x")
    assert said in finished.stderr
