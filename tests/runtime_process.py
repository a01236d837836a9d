"""A function's process as Lambda has it: awslambdaric's own main program, against a Runtime API with a few events."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from wrapper import ROOT


@dataclass(frozen=True)
class Finished:
    """The function's answers, event by event, and its output."""

    answers: list[Any]
    output: str


def run(events: Sequence[Any], environ: Mapping[str, str], *, seconds: float = 60) -> Finished:
    """Have a new process handle `events` with `lambda_tasks.handler.handler`, each within `seconds`, and end it."""
    measuring = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    with contextlib.ExitStack() as stack:
        address, answers, complete = stack.enter_context(_runtime_api(events, seconds))
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "awslambdaric", "lambda_tasks.handler.handler"],
                env={**environ, **measuring, "AWS_LAMBDA_RUNTIME_API": address, "PYTHONPATH": f"{ROOT}/tests"},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        complete.wait(30)
        process.terminate()
        output, _ = process.communicate(timeout=30)
    return Finished(answers, output)


@contextlib.contextmanager
def _runtime_api(events: Sequence[Any], seconds: float) -> Iterator[tuple[str, list[Any], threading.Event]]:
    """Serve the Runtime API: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html."""
    remaining, answers, complete = list(events), list[Any](), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if not remaining:
                complete.set()
                complete_and_gone.wait(60)
                return
            headers = {
                "Content-Type": "application/json",  # awslambdaric's client ends in a segmentation fault without it
                "Lambda-Runtime-Aws-Request-Id": "11111111-2222-3333-4444-555555555555",
                "Lambda-Runtime-Deadline-Ms": str(round((time.time() + seconds) * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:worker",
            }
            self.answer(200, json.dumps(remaining.pop(0)).encode(), headers)

        def do_POST(self) -> None:
            answers.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer(202, b"{}", {})

        def answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    complete_and_gone = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", answers, complete
    finally:
        complete_and_gone.set()
        server.shutdown()
        server.server_close()
        thread.join()
