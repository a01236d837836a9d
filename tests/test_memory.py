"""The memory guard, in processes of their own: a limit is for good."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap

import pytest

from lambda_tasks.limits.memory_guard import MIB, MemoryGuard, limit_bytes
from wrapper import ROOT

SIZE = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE"


def run(program: str, **environ: str) -> str:
    """Run `program` as awslambdaric's process, below a guard for 256 MB, and return what it prints."""
    prelude = textwrap.dedent(f"""
        import os
        from awslambdaric import bootstrap
        from lambda_tasks.limits.memory_guard import MemoryGuard
        MIB = {MIB}
        guard = MemoryGuard.from_environ(os.environ)
    """)
    finished = subprocess.run(
        [sys.executable, "-c", prelude + textwrap.dedent(program)],
        env={SIZE: "256", **environ},  # and no coverage, which needs memory where there is none
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize(
    ("size", "limit"),
    [("128", 96), ("256", 224), ("1769", 1592.1), ("10240", 9216), ("", None), ("x", None), ("64", None)],
)
def test_the_limit_leaves_room_for_what_is_not_data(size: str, limit: float | None) -> None:
    """A tenth of the function's memory, and at least 32 MB, is not for the data of tasks."""
    assert limit_bytes({SIZE: size}) == (None if limit is None else round(limit * MIB))


def test_a_task_that_wants_too_much_gets_a_memory_error() -> None:
    """One large piece and many small ones end in MemoryError, of which the process recovers."""
    printed = run("""
        def hoard(piece):
            hoarded = []
            while True:
                hoarded.append(piece())
        for piece in (lambda: bytearray(200 * MIB), lambda: bytearray(MIB), lambda: [None] * 8):
            try:
                hoard(piece)
            except MemoryError as error:
                guard.make_room()
                guard.relieve(error)
                print(len(bytearray(100 * MIB)) // MIB)
    """)
    assert printed.splitlines() == ["100"] * 3


def test_what_failed_can_be_reported_while_the_memory_stays_used() -> None:
    """Where tasks leave everything used, each outcome has room that tasks do not have."""
    printed = run("""
        left = []
        def leak():
            guard.limit_tasks()
            while True:
                left.append(bytearray(MIB // 16))
        for _ in range(3):
            try:
                leak()
            except MemoryError as error:
                guard.make_room()
                guard.relieve(error)
                print(len(bytes(2 * MIB)) // MIB)
    """)
    assert printed.split() == ["2"] * 3


def test_what_takes_no_memory_does_not_count() -> None:
    """Threads with their reserved addresses, and a mapped file larger than the function's memory, are possible."""
    printed = run("""
        import mmap, tempfile, threading
        done = threading.Event()
        threads = [threading.Thread(target=done.wait) for _ in range(16)]
        for thread in threads:
            thread.start()
        with tempfile.TemporaryFile() as file:
            file.truncate(1024 * MIB)
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        print(len(mapped) // MIB, mapped[-1])
        done.set()
    """)
    assert printed.split() == ["1024", "0"]


def test_without_a_size_there_is_no_limit(caplog: pytest.LogCaptureFixture) -> None:
    """Where Lambda does not say how much memory there is, a warning says that nothing is guarded."""
    assert MemoryGuard.from_environ({}) is None
    assert caplog.record_tuples == [
        (
            "lambda_tasks",
            logging.WARNING,
            "there is no memory guard: AWS_LAMBDA_FUNCTION_MEMORY_SIZE gives no limit that can be set",
        )
    ]


def test_other_errors_keep_what_they_hold() -> None:
    """A traceback keeps its variables, unless the memory ran out: on the way to this error, or beside it."""
    printed = run("""
        def fail(inner):
            held = "held"
            try:
                raise inner
            except BaseException as error:
                raise ValueError from error
        for inner in (KeyError(), MemoryError()):
            try:
                fail(inner)
            except ValueError as error:
                guard.make_room()
                guard.relieve(error)
                print(error.__traceback__.tb_next.tb_frame.f_locals.get("held"))
    """)
    assert printed.split() == ["held", "None"]
