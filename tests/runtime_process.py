"""A function's process as Lambda has it: awslambdaric's own main program, against a Runtime API with a few events.

On Managed Instances that program forks a process for each of several requests at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from wrapper import ROOT, measuring

_REQUEST_ID = "11111111-2222-3333-4444-{:012d}"


@dataclass(frozen=True)
class Finished:
    """The function's answers, event by event, and its output."""

    answers: list[Any]
    output: str


def run(
    events: Sequence[Any], environ: Mapping[str, str], *, seconds: float = 60, processes: int | None = None
) -> Finished:
    """Have a new function handle `events` with `lambda_tasks.handler.handler`, each within `seconds`, and end it.

    With several `processes` each of them gets an event when all of them wait for one, and then again.
    """
    several = {} if processes is None else {"AWS_LAMBDA_MAX_CONCURRENCY": str(processes)}
    api = _RuntimeApi(events, seconds, processes or 1)
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(api.serving())
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "awslambdaric", "lambda_tasks.handler.handler"],
                env={
                    **environ,
                    **measuring(),
                    **several,
                    "AWS_LAMBDA_RUNTIME_API": address,
                    "PYTHONPATH": f"{ROOT}/tests",
                },
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        api.is_over.wait(30)
        os.killpg(process.pid, signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    return Finished([api.answers[number] for number in sorted(api.answers)], output)


class _RuntimeApi:
    """The Runtime API: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html."""

    def __init__(self, events: Sequence[Any], seconds: float, processes: int) -> None:
        self.answers: dict[int, Any] = {}
        self.is_over = threading.Event()
        self._events = list(events)
        self._seconds = seconds
        self._processes = processes
        self._waiting = self._given = self._allowed = 0
        self._changed = threading.Condition()

    def next(self) -> int | None:
        """Return the number of the next event, when it is its turn; None at the end."""
        with self._changed:
            self._waiting += 1
            if self._waiting >= self._processes:
                self._allowed = self._given + self._processes
                if self._given == len(self._events):
                    self.is_over.set()
                self._changed.notify_all()
            is_due = self._changed.wait_for(lambda: self._given < min(self._allowed, len(self._events)), 60)
            self._waiting -= 1
            self._given += is_due
            return self._given - 1 if is_due else None

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Serve, and give the address."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        server.daemon_threads = True
        server.block_on_close = False  # a poll for an event that never comes
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _handler(api) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - the handler has a self of its own
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                number = api.next()
                if number is None:
                    return
                headers = {
                    "Content-Type": "application/json",  # awslambdaric's client ends in a segmentation fault without it
                    "Lambda-Runtime-Aws-Request-Id": _REQUEST_ID.format(number),
                    "Lambda-Runtime-Deadline-Ms": str(round((time.time() + api._seconds) * 1000)),
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:worker",
                }
                self.answer(200, json.dumps(api._events[number]).encode(), headers)

            def do_POST(self) -> None:
                answer = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                *_, request_id, kind = self.path.split("/")
                number = int(request_id.rpartition("-")[2]) if kind in ("response", "error") else -1
                api.answers.setdefault(number, answer)
                self.answer(202, b"{}", {})

            def answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        return Handler
