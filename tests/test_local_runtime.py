"""A function under AWS's runtime interface emulator: what reaches it, how it may fail, and that nothing outlives it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.runtime import emulator_log, file_system, runtime_bootstrap
from lambda_tasks.local.runtime.process import Function, Invocation, Runtime, read_answer, running

Start = Callable[..., AbstractContextManager[Runtime]]

HANDLER = """
import importlib, logging, os, subprocess, sys, threading

def handler(event, context):
    logging.getLogger("app").info("invoked", extra={"what": event.get("do")})
    match event:
        case {"do": "echo"}:
            return event
        case {"do": "environ"}:
            return dict(os.environ)
        case {"do": "path"}:
            return sys.path
        case {"do": "import", "name": name}:
            try:
                return importlib.import_module(name).__file__
            except ModuleNotFoundError:
                return None
        case {"do": "raise"}:
            raise ValueError("not today")
        case {"do": "exit"}:
            os._exit(3)
        case {"do": "hang"}:
            threading.Event().wait()
        case {"do": "pids"}:
            return [os.getpid(), os.getppid()]
        case {"do": "leave a process behind"}:
            return subprocess.Popen(["sleep", "600"]).pid
"""

REFUSING_WRAPPER = """#!/bin/sh
"$1" -c '
import http.client, json, os
body = json.dumps({"errorType": "Layer.Refused", "errorMessage": "no such secret", "stackTrace": []})
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
headers = {"Lambda-Runtime-Function-Error-Type": "Layer.Refused"}
connection.request("POST", "/2018-06-01/runtime/init/error", body, headers)
connection.getresponse().read()
'
exit 1
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The function's code: one module, `app`."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "app.py").write_text(HANDLER)
    return folder


@pytest.fixture
def start(emulator_path: Path) -> Start:
    """Start a function under AWS's emulator."""
    return lambda function, **options: running(function, emulator_path, **options)


def make_layer(path: Path, files: Mapping[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o755 if name.startswith("bin/") else 0o644) << 16
            archive.writestr(entry, content)
    return path


def wrapped_function(code: Path, wrapper: str) -> Function:
    layer = make_layer(code.parent / "layer.zip", {"bin/wrapper": wrapper, "python/in_layer.py": ""})
    return Function(code, "app.handler", (layer,), {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/bin/wrapper"})


def do(runtime: Runtime, what: str, **event: object) -> Any:
    invocation = runtime.invoke({"do": what, **event})
    assert not invocation.is_error, invocation
    return invocation.payload


def await_exit(pid: int) -> None:
    """Block until a process is gone, whoever its parent is."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 10)[0], f"process {pid} still runs"
    finally:
        os.close(descriptor)


def test_result_is_returned(code: Path, start: Start) -> None:
    """What the handler returns is the answer."""
    with start(Function(code, "app.handler")) as runtime:
        assert runtime.invoke({"do": "echo", "text": "hé"}) == Invocation({"do": "echo", "text": "hé"})


@pytest.mark.parametrize("mount", [True, False])
def test_wrapper_and_layer_are_where_lambda_has_them(code: Path, start: Start, *, mount: bool) -> None:
    """The layer's wrapper starts the runtime and its modules can be imported, with or without a mount at /opt."""
    if mount and not file_system.can_mount(code, []):
        pytest.skip("this machine does not let us mount at /opt")
    function = wrapped_function(code, '#!/bin/sh\nexport WRAPPED="$2 $0"\nexec "$@"\n')

    with start(function, mount=mount) as runtime:
        environ, path = do(runtime, "environ"), do(runtime, "path")
        in_layer = do(runtime, "import", name="in_layer")

    assert (runtime.opt == "/opt") is mount
    assert environ["WRAPPED"] == f"-S {runtime.opt}/bin/wrapper"
    assert in_layer == f"{runtime.opt}/python/in_layer.py"
    assert path[0] == environ["LAMBDA_TASK_ROOT"] == str(code)
    assert path[1:4] == runtime_bootstrap.search_path("", runtime.opt, environ["LAMBDA_RUNTIME_DIR"])[1:]


def test_environment_is_lambdas_alone(code: Path, start: Start) -> None:
    """The function sees its own variables and Lambda's; none of this process's own, and no PYTHONPATH."""
    with start(Function(code, "app.handler", environ={"OWN": "1"})) as runtime:
        environ = do(runtime, "environ")

    assert environ["OWN"] == "1"
    assert environ["_HANDLER"] == "app.handler"
    assert environ["AWS_LAMBDA_LOG_LEVEL"] == "INFO"
    lambdas = ("AWS_", "LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT", "_HANDLER", "LANG", "LC_CTYPE", "PATH", "PWD", "TZ")
    assert [name for name in environ if not name.startswith((*lambdas, "OWN"))] == []


def test_only_the_runtimes_packages_can_be_imported(code: Path, start: Start) -> None:
    """Of this environment the function sees what the managed runtime brings, and not the source tree."""
    with start(Function(code, "app.handler")) as runtime:
        found = {
            name: do(runtime, "import", name=name) is not None
            for name in ("awslambdaric", "boto3", "lambda_tasks", "msgspec", "moto", "pytest")
        }

    assert [name for name, is_there in found.items() if is_there] == ["awslambdaric", "boto3"]


def test_function_error_is_told_from_a_result(code: Path, start: Start) -> None:
    """An exception is an error with its type and message, and the function goes on after it."""
    with start(Function(code, "app.handler")) as runtime:
        invocation = runtime.invoke({"do": "raise"})
        assert do(runtime, "echo") == {"do": "echo"}

    assert invocation.is_error
    assert (invocation.payload["errorType"], invocation.payload["errorMessage"]) == ("ValueError", "not today")


def test_init_error_reaches_the_invoker(code: Path, start: Start) -> None:
    """What a wrapper posts as init error is what every invocation gets."""
    with start(wrapped_function(code, REFUSING_WRAPPER)) as runtime:
        invocations = [runtime.invoke({}), runtime.invoke({})]

    error = {"errorType": "Layer.Refused", "errorMessage": "no such secret", "stackTrace": []}
    assert invocations == [Invocation(error, is_error=True)] * 2


def test_silent_exit_in_the_init_phase_is_an_error(code: Path, start: Start) -> None:
    """A wrapper that exits without a reason is an error too, and its last words are in the log."""
    with start(wrapped_function(code, "#!/bin/sh\necho last words >&2\nexit 1\n")) as runtime:
        invocation = runtime.invoke({})
        lines = runtime.log_lines()

    assert invocation.is_error
    assert invocation.payload["errorType"] == "Runtime.ExitError"
    assert "last words" in lines


def test_runtime_starts_again_after_it_died(code: Path, start: Start) -> None:
    """A runtime that exits fails its invocation; the next one has an init phase of its own."""
    with start(Function(code, "app.handler")) as runtime:
        invocation = runtime.invoke({"do": "exit"})
        assert do(runtime, "echo") == {"do": "echo"}
        lines = runtime.log_lines()

    assert invocation.is_error
    assert invocation.payload["errorType"] == "Runtime.ExitError"
    assert len(emulator_log.init_durations_ms(lines)) == 2


def test_invocation_ends_at_the_functions_timeout(code: Path, start: Start) -> None:
    """A handler that does not return is stopped, and the invoker reads that the time was up."""
    with start(Function(code, "app.handler", timeout_seconds=1)) as runtime:
        invocation = runtime.invoke({"do": "hang"})

    assert invocation.is_error
    assert invocation.payload == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "Task timed out after 1.00 seconds",
    }


def test_log_holds_durations_and_records(code: Path, start: Start) -> None:
    """The log tells how long init phase and invocations took, and what the function logged."""
    with start(Function(code, "app.handler")) as runtime:
        do(runtime, "echo")
        do(runtime, "path")
        lines = runtime.log_lines()

    reports = emulator_log.reports(lines)
    records = emulator_log.json_records(lines)
    assert len(emulator_log.init_durations_ms(lines)) == 1
    assert [(record["message"], record["what"]) for record in records] == [("invoked", "echo"), ("invoked", "path")]
    assert [report.request_id for report in reports] == [record["requestId"] for record in records]


def test_log_lines_that_only_look_like_records_are_left_out() -> None:
    """A broken line neither counts nor raises; the init duration is not mistaken for the invocation's."""
    lines = ["{", "{'a': 1}", '{"a": 1}', "REPORT RequestId: x\tInit Duration: 9.00 ms\tDuration: 1.50 ms\tBilled"]

    assert emulator_log.json_records(lines) == [{"a": 1}]
    assert emulator_log.reports(lines) == [emulator_log.Report("x", 1.5)]


def test_nothing_outlives_the_with_block(code: Path, start: Start) -> None:
    """The emulator, the runtime and what the function left behind are gone."""
    with start(Function(code, "app.handler")) as runtime:
        pids = {*do(runtime, "pids"), do(runtime, "leave a process behind")} - {os.getpid()}

    for pid in pids:
        await_exit(pid)


def test_nothing_outlives_a_killed_parent(code: Path, emulator_path: Path) -> None:
    """Where the process that started them is killed, embedded AWS, emulator and runtime end by themselves."""
    program = """
        import json, os, sys
        from pathlib import Path
        from lambda_tasks.local.embedded_aws import embedded_aws
        from lambda_tasks.local.runtime.process import Function, running

        function = Function(Path(sys.argv[1]), "app.handler")
        with embedded_aws(), running(function, Path(sys.argv[2])) as runtime:
            pids = runtime.invoke({"do": "pids"}).payload
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            print(json.dumps(pids + [int(pid) for pid in children]), flush=True)
            sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(code), str(emulator_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        pids = json.loads(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)

    assert len(set(pids)) == 3
    for pid in pids:
        await_exit(pid)


def test_emulator_that_does_not_start_is_reported(code: Path) -> None:
    """Where the binary cannot run, the error comes at once."""
    with (
        pytest.raises(LocalError, match="the emulator did not start"),
        running(Function(code, "app.handler"), Path("/bin/false")),
    ):
        pytest.fail("it started")


def test_runtime_that_was_stopped_is_reported(code: Path, emulator_path: Path) -> None:
    """Invoking a function that no longer runs is an error of this machine, not of the function."""
    with running(Function(code, "app.handler"), emulator_path) as runtime:
        pass

    with pytest.raises(LocalError, match="the emulator did not answer"):
        runtime.invoke({})


def test_later_layers_lie_over_earlier_ones(tmp_path: Path) -> None:
    """Layers are unpacked in order, with the permissions of their files."""
    first = make_layer(tmp_path / "1.zip", {"bin/run": "1", "python/a.py": "1"})
    second = make_layer(tmp_path / "2.zip", {"python/a.py": "2"})

    file_system.unpack_layers([first, second], tmp_path / "opt")

    assert (tmp_path / "opt/python/a.py").read_text() == "2"
    assert (tmp_path / "opt/bin/run").stat().st_mode & 0o777 == 0o755


def test_missing_runtime_package_says_what_to_install(tmp_path: Path) -> None:
    """Where the runtime itself is not installed the error names the extra that brings it."""
    with pytest.raises(LocalError, match=r"no-such-runtime is not installed: install lambda-tasks\[local\]"):
        file_system.make_runtime(tmp_path / "runtime", ["no-such-runtime"])


def test_nothing_is_mounted_over_what_is_needed(tmp_path: Path) -> None:
    """An interpreter or a file below /opt rules out a mount there."""
    assert not file_system.can_mount(tmp_path, [Path("/opt/python3/bin/python")])


def test_result_that_looks_like_an_error_is_none() -> None:
    """A handler may return an object with an errorType of its own."""
    body = b'{"errorType": "a", "errorMessage": "b"}'

    assert not read_answer(200, body).is_error
    assert read_answer(502, body).is_error


def test_refused_event_raises() -> None:
    """The emulator takes one event at a time and answers others with status 400."""
    with pytest.raises(LocalError, match="status 400"):
        read_answer(400, b"")
