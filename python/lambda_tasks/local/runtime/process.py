"""One function as Lambda runs it: its layers, the exec wrapper, awslambdaric, and AWS's runtime interface emulator."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.events import MessageOutcome
from lambda_tasks.local.runtime.function import Files, Function, Prepared, prepare

__all__ = ["EXITED", "TIMED_OUT", "Function", "Invocation", "Runtime", "read_answer", "running"]

EXITED = "Runtime.ExitError"
TIMED_OUT = "Sandbox.Timedout"

_INVOKE_PATH = "/2015-03-31/functions/function/invocations"
_START_ATTEMPTS = 5
_START_SECONDS = 10
_STOP_SECONDS = 5
# The init phase has 10 seconds, and is tried a second time during the first invocation.
_INIT_SECONDS = 20
_ERROR_KEYS = frozenset({"errorType", "errorMessage", "requestId", "stackTrace"})


@dataclass(frozen=True)
class Invocation:
    """An answer: what the handler returned, or the error object where the function failed.

    `timeout_seconds` is the function's. `duration_ms` is without the init phase; `failed_in_init` tells that there was
    no invoke phase. `told` is the outcome of the event that was a message itself. These are known where the function's
    output is followed.
    """

    payload: Any
    is_error: bool = False
    duration_ms: float | None = field(default=None, compare=False)
    failed_in_init: bool = field(default=False, compare=False)
    timeout_seconds: float = field(default=0, compare=False)
    told: MessageOutcome | None = field(default=None, compare=False)

    @property
    def error_type(self) -> str:
        """The error's type; empty where there is no error."""
        return str(self.payload.get("errorType", "")) if self.is_error and isinstance(self.payload, dict) else ""

    @property
    def reason(self) -> str | None:
        """The error in words, with its type; None where there is no error."""
        if not self.is_error:
            return None
        if not isinstance(self.payload, dict):
            return str(self.payload)
        if self.error_type == TIMED_OUT:
            return f"timed out after {self.timeout_seconds:g} s"
        message = str(self.payload.get("errorMessage", ""))
        return ": ".join(filter(None, [self.error_type, message]))


@dataclass(frozen=True)
class Runtime:
    """A function that can be invoked, one event at a time."""

    function: Function
    port: int
    files: Files
    # Where the function sees its layers: /opt, or a folder where nothing could be mounted there.
    opt: str

    def invoke(self, event: object) -> Invocation:
        """Invoke the function with `event`, waiting for its answer. The first call starts the runtime.

        Raises:
            LocalError: the emulator did not answer, or refused the event.

        """
        timeout = _INIT_SECONDS + self.function.timeout_seconds + _STOP_SECONDS
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("POST", _INVOKE_PATH, json.dumps(event).encode())
            response = connection.getresponse()
            return read_answer(response.status, response.read(), self.function.timeout_seconds)
        except OSError as error:
            raise LocalError(
                f"the emulator did not answer: {error}", remedy=f"see {self.files.emulator_log}"
            ) from error
        finally:
            connection.close()

    def log_lines(self) -> list[str]:
        """Return what the emulator wrote so far, then what the wrapper and the function wrote."""
        paths = (self.files.emulator_log, self.files.output)
        return [line for path in paths for line in path.read_text("utf-8", errors="replace").split("\n")]


def read_answer(status: int, body: bytes, timeout_seconds: float = 0) -> Invocation:
    """Tell a result from an error: the emulator does not send Lambda's ``X-Amz-Function-Error``.

    Raises:
        LocalError: the emulator refused the event.

    """
    if status not in (http.HTTPStatus.OK, http.HTTPStatus.BAD_GATEWAY):
        raise LocalError(f"the emulator answered with status {status}", remedy="invoke one event at a time")
    try:
        payload = json.loads(body)
    except ValueError:
        # Nothing, where the runtime exited in the init phase and gave no reason; a sentence, where the time was up.
        message = body.decode(errors="replace") or "the runtime exited in the init phase: its log says why"
        error = {"errorType": TIMED_OUT if body else EXITED, "errorMessage": message}
        return Invocation(error, is_error=True, timeout_seconds=timeout_seconds)
    raised = isinstance(payload, dict) and payload.keys() == _ERROR_KEYS
    return Invocation(payload, is_error=status != http.HTTPStatus.OK or raised)


@contextmanager
def running(function: Function, emulator: Path, *, mount: bool = True, has_channel: bool = False) -> Iterator[Runtime]:
    """Prepare the function and start the emulator for it; stop every process of it at the end.

    The layers are mounted at /opt where this machine lets us, for these processes alone; with `mount` false never. With
    `has_channel` the function tells on a file of its own what it writes, and what becomes of each message.

    Raises:
        LocalError: the emulator did not start.

    """
    with tempfile.TemporaryDirectory(prefix="lambda-tasks-") as folder:
        prepared = prepare(function, Path(folder), [emulator], mount=mount, has_channel=has_channel)
        process, port = _start(prepared, emulator)
        try:
            yield Runtime(function, port, prepared.files, prepared.opt)
        finally:
            _stop(process)


def _start(prepared: Prepared, emulator: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start the emulator and return the port that it serves invocations on.

    Another process may take one of the free ports before the emulator does; the emulator then exits, and is started
    once more with others.
    """
    for _ in range(_START_ATTEMPTS):
        port, api_port = _free_ports()
        addresses = ["--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
        addresses += ["--runtime-api-address", f"127.0.0.1:{api_port}"]
        with prepared.files.emulator_log.open("wb") as log:
            process = subprocess.Popen(
                [*prepared.sandbox, str(emulator), *addresses, *prepared.runtime],
                cwd=prepared.folder,
                env=prepared.environ,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if _serves(process, port):
            return process, port
        _stop(process)
    last_words = prepared.files.emulator_log.read_text(errors="replace")[-500:]
    raise LocalError("the emulator did not start", remedy=last_words or "run it by hand")


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        return first.getsockname()[1], second.getsockname()[1]


def _serves(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return process.poll() is None
        time.sleep(0.01)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the emulator, which ends the runtime; then whatever the runtime started and left behind."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    for pid in _session(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with process:  # closes its input, and waits
        pass


def _session(session: int) -> list[int]:
    """Return a session's processes. Its id is that of the one that began it, and stays taken while there are any."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(ProcessLookupError, PermissionError):
                if os.getsid(int(entry.name)) == session:
                    found.append(int(entry.name))
    return found
