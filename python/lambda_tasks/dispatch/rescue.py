"""Answer an invocation that its handler cannot answer any more, and start the runtime anew in this process's place.

A task that is stuck in C code, or memory that stays used, would cost finished messages their outcome: Lambda kills the
function at its timeout, and delivers them again. Instead the messages are settled as far as they are known, the answer
goes to the Runtime API, and ``exec`` makes a new runtime of this process. Lambda sees an answer and then the next poll,
as after any invocation.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, NoReturn

from lambda_tasks.messages.outcome import STUCK, Outcome, Result
from lambda_tasks.settings import MAX_CONCURRENCY, PROCESSES, RESTARTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambda_tasks.dispatch.invocation import Invocation

logger = logging.getLogger("lambda_tasks")

# awslambdaric takes this one out of the environment; its successor needs it again.
_LOG_DESCRIPTOR = "_LAMBDA_TELEMETRY_LOG_FD"
_ANSWER_SECONDS = 3.0
_GLANCE_SECONDS = 0.005


def rescue(invocation: Invocation) -> NoReturn:
    """Answer while a call is stuck in the main thread: that call by its timeout, the rest as deferred."""
    try:
        logger.error("a task is stuck and is ended with the runtime, at\n%s", _stack_of_main_thread())
        for call in invocation.watchdog.overdue() if invocation.watchdog is not None else ():
            call.abandon()
        put_off(invocation, STUCK)
    finally:
        answer_and_restart(invocation)


def put_off(invocation: Invocation, reason: str) -> None:
    """Settle all messages that are not settled yet, as deferred, but for those whose calls are over."""
    for job in invocation.jobs:
        result = job.result  # of a call that is over, and whose messages are on their way to be settled
        if result is None or not result.outcome.deletes_message:
            result = Result(Outcome.DEFERRED, job.task_name, visible_after_seconds=0, reason=reason)
        invocation.settlement.settle(job, result)
    clock = invocation.time
    known_by = clock.known_by if invocation.settlement.has_changes else clock.change_by
    while time.monotonic() < known_by and _is_settling(invocation):
        time.sleep(_GLANCE_SECONDS)  # another thread settles it
    invocation.settlement.finish()


def answer_and_restart(invocation: Invocation) -> NoReturn:
    """Send the answer of an invocation, then become a new runtime. Without an answer Lambda keeps the whole batch."""
    from lambda_tasks.aws import runtime_api  # noqa: PLC0415 - for an invocation that needs it
    from lambda_tasks.aws.http import HttpError  # noqa: PLC0415

    environ = invocation.worker.environ
    answer = json.dumps(invocation.response()).encode()
    deadline = min(time.monotonic() + _ANSWER_SECONDS, invocation.time.answer_by)
    try:
        runtime_api.post_response(environ["AWS_LAMBDA_RUNTIME_API"], invocation.request_id, answer, deadline)
    except (HttpError, ValueError) as error:
        logger.error("the invocation could not be answered: %s", error)  # noqa: TRY400 - the stack says nothing more
    finally:
        _restart(environ)


def _restart(environ: Mapping[str, str]) -> NoReturn:
    """Become a new runtime: the same program with the same arguments, and every thread of this one gone."""
    signal.setitimer(signal.ITIMER_REAL, 0)  # it would outlive the exec, and end the successor
    sys.stdout.flush()
    sys.stderr.flush()
    # A program of this process's own command line, as the system started it.
    os.execve(sys.executable, sys.orig_argv, {**_environ_of_successor(environ), RESTARTED: "1"})  # noqa: S606


def _environ_of_successor(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the new runtime: it takes one request at a time, also in the place of a forked one.

    Otherwise it would fork as many as its parent did. A forked one writes to standard output: it has no descriptor of
    its parent's.
    """
    if MAX_CONCURRENCY not in environ:
        return {**_log_descriptor(), **environ}
    others = {name: value for name, value in environ.items() if name != MAX_CONCURRENCY}
    return {**others, PROCESSES: environ[MAX_CONCURRENCY]}


def _log_descriptor() -> dict[str, str]:
    try:
        with open("/proc/self/environ", encoding="utf-8", errors="surrogateescape") as initial:  # noqa: PTH123
            pairs = (entry.partition("=") for entry in initial.read().split("\0"))
            return {name: value for name, _, value in pairs if name == _LOG_DESCRIPTOR}
    except OSError:
        return {}


def _stack_of_main_thread() -> str:
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    return "".join(traceback.format_stack(frame)) if frame is not None else "an unknown place"


def _is_settling(invocation: Invocation) -> bool:
    return any(job.is_settled and not job.is_concluded for job in invocation.jobs)
