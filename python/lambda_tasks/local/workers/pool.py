"""The pool of processes that run messages on this machine.

Each worker is a fresh interpreter that reads one record a line, so that neither forks nor an unguarded main module of
the application get in the way. What is still waiting when the application ends is run before it does.
"""

from __future__ import annotations

import atexit
import functools
import json
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lambda_tasks.messages.sqs_event import Record

logger = logging.getLogger("lambda_tasks")


def submit(record: Record, delay_seconds: float) -> None:
    """Let a process run the message in `record` after a delay."""
    pool = _pool()
    if delay_seconds:
        pool.run_later(json.dumps(record), delay_seconds)
    else:
        pool.run(json.dumps(record))


def wait() -> None:
    """Wait until everything that is due has run, and end the workers; the next message starts new ones."""
    if _pool.cache_info().currsize:
        _pool().close()
        _pool.cache_clear()


class Pool:
    """A few threads, each of which owns a process from its first message on."""

    def __init__(self, count: int) -> None:
        self._local = threading.local()
        self._processes: list[subprocess.Popen[str]] = []
        self._timers: set[threading.Timer] = set()
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="lambda-tasks-local")

    def run(self, line: str) -> None:
        """Give one record to the next process that is free."""
        self._threads.submit(self._run, line)

    def run_later(self, line: str, delay_seconds: float) -> None:
        """Give one record to a process after a delay, which ends early with the application."""
        timer = threading.Timer(delay_seconds, self.run, [line])
        timer.daemon = True
        self._timers.add(timer)
        timer.start()

    def close(self) -> None:
        """Wait for what is due, and end the processes."""
        waiting = sum(timer.is_alive() for timer in self._timers)
        for timer in self._timers:
            timer.cancel()
        if waiting:
            logger.warning("%d delayed messages are dropped: the application ends before they are due", waiting)
        self._threads.shutdown()
        for process in self._processes:
            with process:  # closes its input, by which it ends
                pass

    def _run(self, line: str) -> None:
        process = self._process()
        assert process.stdin is not None  # noqa: S101 - for mypy: both are pipes
        assert process.stdout is not None  # noqa: S101
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        if not answer:
            logger.error("a local worker ended while it ran a message; the next message starts another one")
            del self._local.process

    def _process(self) -> subprocess.Popen[str]:
        if not hasattr(self._local, "process"):
            environ = {
                **os.environ,
                "LAMBDA_TASKS_MODE": "local",
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            }
            self._local.process = subprocess.Popen(
                [sys.executable, "-m", "lambda_tasks.local.workers.process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environ,
            )
            self._processes.append(self._local.process)
        process: subprocess.Popen[str] = self._local.process
        return process


@functools.cache
def _pool() -> Pool:
    atexit.register(wait)
    return Pool(max(2, os.cpu_count() or 1))
