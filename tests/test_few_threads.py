"""A machine on which threads cannot be started: in processes of their own, below a real limit of memory."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from wrapper import ROOT, base_environ

PROGRAM = """
import asyncio, resource, sys, threading
from catalogue import raising, tasks
from events import message_body, sqs_record
from lambda_tasks.dispatch import event_loop, threads
from lambda_tasks.settings import Settings
from memory_state import MemoryState
from workers import Dispatched, worker

few, concurrency, state, watched, names = sys.argv[1:]
STACK = 256 * 1024 * 1024

def of(number, name):
    return sqs_record(message_body(f"catalogue.{name}", **({"number": number} if "note" in name else {})))

made = worker(Settings(concurrency=int(concurrency)), state=MemoryState() if state else None)
if watched:
    made.environ["AWS_LAMBDA_RUNTIME_API"] = "127.0.0.1:9"
records = [of(number, name) for number, name in enumerate(names.split(","))]
warm = worker()
Dispatched(warm, *records)
threading.stack_size(STACK)
with open("/proc/self/statm", encoding="ascii") as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(few) * (STACK + STACK // 2) + STACK // 2, resource.RLIM_INFINITY))
try:
    threading.Thread(target=print, args=("a thread",)).start() if few == "0" else None
except RuntimeError:
    few = ""
assert few != "0"
print(Dispatched(made, *records).outcomes)
print(Dispatched(made, *[of(number + 100, name) for number, name in enumerate(names.split(","))]).outcomes)
"""


def outcomes(few: int, concurrency: int, *names: str, state: bool = False, watched: bool = False) -> list[list[str]]:
    """Run tasks twice where only so `few` threads can be started."""
    arguments = [str(few), str(concurrency), "state" if state else "", "watched" if watched else "", ",".join(names)]
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**base_environ("http://127.0.0.1:9"), "PYTHONPATH": f"{ROOT / 'python'}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return [ast.literal_eval(line) for line in finished.stdout.splitlines()]


@pytest.mark.parametrize("few", [0, 1, 2])
@pytest.mark.parametrize("watched", [False, True])
def test_fewer_threads_run_all_messages(few: int, *, watched: bool) -> None:
    """Where not all threads can be started, those that there are run the batch; without any the main thread does."""
    names = ["raising.note"] * 5
    assert outcomes(few, 4, *names, watched=watched) == [["succeeded"] * 5] * 2


@pytest.mark.parametrize("few", [0, 1])
@pytest.mark.parametrize("watched", [False, True])
def test_async_tasks_need_no_thread(few: int, *, watched: bool) -> None:
    """What is asked of the table is asked in the loop's own thread where there is no other, and once."""
    names = ["raising.note_async"] * 5
    assert outcomes(few, 1, *names, state=True, watched=watched) == [["succeeded"] * 5] * 2


@pytest.mark.parametrize("concurrency", [1, 4])
def test_limits_hold_without_a_thread(concurrency: int) -> None:
    """In the main thread limits are kept by signal, whatever became of the threads."""
    names = ["tasks.overrun", "raising.note", "tasks.overrun_async"]
    assert outcomes(0, concurrency, *names, watched=True) == [["failed", "succeeded", "failed"]] * 2


def test_the_main_thread_takes_the_place_of_a_stuck_one() -> None:
    """Where no thread can be started in place of one that is stuck, the main thread runs what is left."""
    names = ["tasks.sleep_on", "raising.note", "raising.note"]
    assert outcomes(2, 2, *names)[0] == ["failed", "succeeded", "succeeded"]
