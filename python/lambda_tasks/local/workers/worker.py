"""A worker: a fresh interpreter that runs one message after the other, as its owner sees it.

A fresh one, so that neither forks nor an unguarded main module of the application get in the way. The owner writes a
record a line. The worker answers with `TAKEN` when it begins, and with the outcome, one JSON object, when it is done.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

from lambda_tasks import settings
from lambda_tasks.local.workers import handover

if TYPE_CHECKING:
    from lambda_tasks.messages.sqs_event import Record

TAKEN = b"taken"
END = b""  # a line without a record

_GLANCE_MS = 500


class LocalMessage:
    """A message on its way to a worker. One that is delivered again `is_retry`."""

    def __init__(self, record: Record, *, is_retry: bool = False) -> None:
        self.record = record
        self.is_retry = is_retry
        self.was_taken = threading.Event()

    def __str__(self) -> str:
        try:
            name = str(json.loads(str(self.record.get("body")))["task_name"])
        except (ValueError, LookupError, TypeError):
            name = "a message"
        return f"{name} (message {self.record['messageId']})"

    def again(self) -> LocalMessage:
        """Return the message as its queue would deliver it next."""
        record: Any = self.record
        attributes = dict(record["attributes"])
        attributes["ApproximateReceiveCount"] = str(int(attributes["ApproximateReceiveCount"]) + 1)
        return LocalMessage(cast("Record", {**record, "attributes": attributes}), is_retry=True)


class LocalWorker:
    """The owner's side of a worker. Its process is started for the first message, and for the one after its death.

    One thread uses it. `address` is that of the pool, which takes what the worker enqueues.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._process: subprocess.Popen[bytes] | None = None
        self._received = b""
        self.has_ended = threading.Event()

    def run(self, message: LocalMessage) -> dict[str, Any] | None:
        """Return the ``outcome`` of a message, and in how many ``seconds`` its next try is due.

        None comes from a worker that died; the message `was_taken` unless that was before.
        """
        process = self._process = self._process or self._start()
        if self._write(process, json.dumps(message.record).encode() + b"\n"):
            line = self._line(process)
            if line == TAKEN:
                message.was_taken.set()
                line = self._line(process)
                if line is not None:
                    answer: dict[str, Any] = json.loads(line)
                    return answer
        self._bury(process)
        return None

    def end(self) -> None:
        """Have the process end, and wait for it."""
        process = self._process
        if process is not None:
            self._write(process, END + b"\n")  # a copy of the owner may keep the pipe open
            self._bury(process)
        self.has_ended.set()

    def forget(self) -> None:
        """Close a copied owner's ends of the pipes; the process is not its child."""
        process = self._process
        if process is not None:
            _close(process)
            process.returncode = 0

    def _start(self) -> subprocess.Popen[bytes]:
        self._received = b""
        environ = {
            **settings.environ(),
            "LAMBDA_TASKS_MODE": "local",
            handover.VARIABLE: self._address,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "lambda_tasks.local.workers.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=environ,
        )

    def _write(self, process: subprocess.Popen[bytes], line: bytes) -> bool:
        assert process.stdin is not None  # noqa: S101 - for mypy: it is a pipe
        left = memoryview(line)
        try:
            while left:
                left = left[process.stdin.write(left) or 0 :]
        except OSError:
            return False
        return True

    def _line(self, process: subprocess.Popen[bytes]) -> bytes | None:
        """Return the next line of the process, or None where it has died: what it has forked may keep its pipe open."""
        assert process.stdout is not None  # noqa: S101 - for mypy: it is a pipe
        poll, has_ended = select.poll(), False
        poll.register(process.stdout, select.POLLIN)
        while b"\n" not in self._received:
            if poll.poll(0 if has_ended else _GLANCE_MS):
                received = os.read(process.stdout.fileno(), 65536)
                if not received:
                    return None
                self._received += received
            elif has_ended:
                return None
            else:
                has_ended = process.poll() is not None
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _bury(self, process: subprocess.Popen[bytes]) -> None:
        _close(process)
        process.wait()
        self._process = None


def _close(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
