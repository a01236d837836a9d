"""Answer for a batch in which a task is stuck: in C code that does not return, no limit can be raised.

Lambda would kill the function at its timeout, and deliver finished messages again. Instead the timer's thread settles
what is known, sends the answer to the Runtime API itself, and starts the runtime anew in this process's place (exec),
which ends the stuck code. Lambda sees an answer and then the next poll, as after any invocation. It needs C code that
lets other threads run; where C code keeps the interpreter's lock, nothing of this process runs until Lambda kills it.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

from lambda_tasks.aws.connection import Connector
from lambda_tasks.aws.http import Client, HttpError
from lambda_tasks.aws.url import Url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lambda_tasks.tasks.timer import Alarm, Timer

logger = logging.getLogger("lambda_tasks")

# awslambdaric takes this one out of the environment; its successor needs it again.
_LOG_DESCRIPTOR = "_LAMBDA_TELEMETRY_LOG_FD"


class Watchdog:
    """Watch one invocation: call `rescue` when a task is stuck. Only one of it and the handler answers."""

    def __init__(self, timer: Timer, ends_at: float, rescue: Callable[[], None]) -> None:
        self._timer = timer
        self._ends_at = ends_at
        self._rescue = rescue
        self._due = ends_at
        self._scheduled_at = math.inf
        self._lock = threading.Lock()
        self._is_over = False
        self._alarms: list[Alarm] = []
        self.expect(ends_at)

    def expect(self, due: float) -> None:
        """Expect what runs now to be over when it is `due`, or at the invocation's end."""
        self._due = min(due, self._ends_at)
        if self._due < self._scheduled_at:
            self._scheduled_at = self._due
            self._alarms.append(self._timer.at(self._due, self._check))

    def dismiss(self) -> None:
        """Stop watching: the handler answers. Where the watchdog is about to, wait for the end of the process."""
        with self._lock:
            if not self._is_over:
                self._is_over = True
                for alarm in self._alarms:
                    alarm.cancel()  # a timer that holds them would hold the invocation's messages
                return
        while True:
            signal.pause() if threading.current_thread() is threading.main_thread() else time.sleep(1)

    def _check(self) -> None:
        with self._lock:
            if self._is_over:
                return
            if time.monotonic() < self._due:
                self._scheduled_at = math.inf
                self.expect(self._due)
                return
            self._is_over = True
        self._rescue()


def can_answer(environ: Mapping[str, str]) -> bool:
    """Tell whether this process is a runtime of its own: one of several forked ones cannot be started anew alone."""
    return bool(environ.get("AWS_LAMBDA_RUNTIME_API")) and not environ.get("AWS_LAMBDA_MAX_CONCURRENCY")


def answer_and_restart(request_id: str, answer: bytes, environ: Mapping[str, str], deadline: float) -> NoReturn:
    """Send the answer of an invocation, then become a new runtime. Without an answer Lambda keeps the whole batch."""
    try:
        url = Url.parse(
            f"http://{environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation/{request_id}/response"
        )
        headers = {"Host": url.authority, "Content-Type": "application/json"}
        Client(Connector({})).request("POST", url, headers, answer, deadline=deadline)
    except (HttpError, ValueError) as error:
        logger.error("the invocation could not be answered: %s", error)  # noqa: TRY400 - the stack says nothing more
    finally:
        restart(environ)


def restart(environ: Mapping[str, str]) -> NoReturn:
    """Become a new runtime: the same program with the same arguments, and every thread of this one gone."""
    signal.setitimer(signal.ITIMER_REAL, 0)  # it would outlive the exec, and end the successor
    sys.stdout.flush()
    sys.stderr.flush()
    # A program of this process's own command line, as the system started it.
    os.execve(sys.executable, sys.orig_argv, {**_log_descriptor(), **environ})  # noqa: S606


def _log_descriptor() -> dict[str, str]:
    try:
        with open("/proc/self/environ", encoding="utf-8", errors="surrogateescape") as initial:  # noqa: PTH123
            pairs = (entry.partition("=") for entry in initial.read().split("\0"))
            return {name: value for name, _, value in pairs if name == _LOG_DESCRIPTOR}
    except OSError:
        return {}
