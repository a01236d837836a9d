"""The Runtime API by a server of our own, for machines on which AWS's emulator does not run.

It starts the runtime, hands it one event at a time, and ends it where it takes longer than the function may. What it
writes to the log is in the emulator's form.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.preparation import Function, Prepared, prepare
from lambda_tasks.local.runtime import Invocation, stop

_PREFIX = "/2018-06-01/runtime/"
_INIT_SECONDS = 20  # as the emulator: 10, and once more during the first invocation
_POLL_SECONDS = 0.05


@dataclass
class _Exchange:
    """One event on its way to the runtime, and its answer."""

    event: bytes
    deadline_ms: int
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    answer: queue.SimpleQueue[Invocation] = field(default_factory=queue.SimpleQueue)


class ServedFunction:
    """A function whose runtime asks this process for its events."""

    def __init__(self, function: Function, prepared: Prepared) -> None:
        self.function = function
        self.opt = prepared.opt
        self.log_path = prepared.log_path
        self._prepared = prepared
        self._events: queue.SimpleQueue[_Exchange] = queue.SimpleQueue()
        self._current: _Exchange | None = None
        self._is_ready = threading.Event()
        self._init_error: Invocation | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False
        self._log_lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def invoke(self, event: object) -> Invocation:
        """Invoke the function with `event`, waiting for its answer. The first call starts the runtime.

        Raises:
            LocalError: it was closed meanwhile.

        """
        started = time.monotonic()
        if self._process is None or self._process.poll() is not None:
            self._start()
        init_ms = (time.monotonic() - started) * 1000
        deadline = time.monotonic() + self.function.timeout_seconds
        exchange = _Exchange(json.dumps(event).encode(), round((time.time() + self.function.timeout_seconds) * 1000))
        self._events.put(exchange)
        invocation = self._answer(exchange, deadline)
        self._log(f"END RequestId: {exchange.request_id}")
        duration = f"Duration: {(time.monotonic() - started) * 1000 - init_ms:.2f} ms"
        self._log(f"REPORT RequestId: {exchange.request_id}\t{duration}\tMemory Size: {self.function.memory_mb} MB\t")
        return invocation

    def close(self) -> None:
        """End the runtime, and whatever it left behind; an invocation that still waits raises."""
        with self._log_lock:
            self._is_closed = True
        self._server.shutdown()
        self._server.server_close()
        self._end()

    def _start(self) -> None:
        started = time.monotonic()
        self._is_ready.clear()
        self._init_error = None
        self._events = queue.SimpleQueue()
        environ = {**self._prepared.environ, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}"}
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._prepared.sandbox, *self._prepared.runtime],
                cwd=self._prepared.folder,
                env=environ,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while not self._is_ready.wait(_POLL_SECONDS):
            if self._process.poll() is not None or time.monotonic() - started > _INIT_SECONDS:
                break
        self._log(f"(rapid) INIT REPORT(durationMs: {(time.monotonic() - started) * 1000:.3f})")

    def _answer(self, exchange: _Exchange, deadline: float) -> Invocation:
        process = self._process
        assert process is not None  # noqa: S101 - for mypy: `invoke` starts it
        while True:
            with contextlib.suppress(queue.Empty):
                return exchange.answer.get(timeout=_POLL_SECONDS)
            if self._is_closed:
                raise LocalError("the function was stopped", source=self.function.name)
            if process.poll() is not None:
                with contextlib.suppress(queue.Empty):  # it answered, and then exited
                    return exchange.answer.get_nowait()
                self._end()
                return self._init_error or _error(
                    "Runtime.ExitError", f"RequestId: {exchange.request_id} Error: Runtime exited"
                )
            if time.monotonic() > deadline:
                self._end()
                seconds = f"{self.function.timeout_seconds:.2f}"
                return _error("Sandbox.Timedout", f"Task timed out after {seconds} seconds")

    def _end(self) -> None:
        if self._process is not None:
            stop(self._process)
        self._process = None

    def _log(self, line: str) -> None:
        with self._log_lock:
            if not self._is_closed:  # else the folder is about to go
                with self.log_path.open("a", encoding="utf-8") as log:
                    log.write(line + "\n")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                served._is_ready.set()
                exchange = served._next()
                if exchange is None:
                    return
                self.send_response(200)
                self.send_header("Lambda-Runtime-Aws-Request-Id", exchange.request_id)
                self.send_header("Lambda-Runtime-Deadline-Ms", str(exchange.deadline_ms))
                arn = f"arn:aws:lambda:eu-west-1:123456789012:function:{served.function.name}"
                self.send_header("Lambda-Runtime-Invoked-Function-Arn", arn)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(exchange.event)))
                self.end_headers()
                self.wfile.write(exchange.event)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                served._take(self.path.removeprefix(_PREFIX), body)
                answer = b'{"status": "OK"}'
                self.send_response(202)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        return Handler

    def _next(self) -> _Exchange | None:
        """Wait for an event, for as long as the runtime that asks is there."""
        events, process = self._events, self._process
        while self._process is process and events is self._events:
            with contextlib.suppress(queue.Empty):
                self._current = events.get(timeout=_POLL_SECONDS)
                self._log(f"START RequestId: {self._current.request_id} Version: $LATEST")
                return self._current
        return None

    def _take(self, path: str, body: bytes) -> None:
        """Take what the runtime posts: the answer of an invocation, its error, or an init error."""
        try:
            payload: Any = json.loads(body) if body else None
        except ValueError:
            payload = body.decode("utf-8", "replace")
        if path == "init/error":
            self._init_error = Invocation(payload, is_error=True)
            return
        _, request_id, kind = path.split("/", 2)
        if self._current is not None and self._current.request_id == request_id:
            self._current.answer.put(Invocation(payload, is_error=kind != "response"))


@contextlib.contextmanager
def serving(function: Function, *, mount: bool = True) -> Iterator[ServedFunction]:
    """Prepare the function and serve its runtime; stop every process of it at the end.

    Raises:
        LocalError: the runtime is not installed.

    """
    with tempfile.TemporaryDirectory(prefix="lambda-tasks-") as folder:
        prepared = prepare(function, Path(folder), [], mount=mount)
        prepared.log_path.touch()
        served = ServedFunction(function, prepared)
        try:
            yield served
        finally:
            served.close()


def _error(kind: str, message: str) -> Invocation:
    return Invocation({"errorType": kind, "errorMessage": message}, is_error=True)
