"""A function's output: blocks of text, whose they are, and the outcomes that it tells, under both log formats."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import message_body, sqs_event, sqs_record
from lambda_tasks.local.events import Event, FunctionFailure, InitReport, LogLine, MessageOutcome
from lambda_tasks.local.runtime.function import Function
from lambda_tasks.local.runtime.function_output import FollowedFunction, followed
from lambda_tasks.local.runtime.process import Invocation
from lambda_tasks.local.runtime.text_blocks import TextBlocks


def blocks(*pieces: str) -> list[str]:
    """Return the blocks of one writer's pieces."""
    writer = TextBlocks()
    return [block for piece in pieces for block in writer.write(piece)] + writer.flush()


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["a", "\n", "b", "\n"], ["a", "b"]),
        (["a\nb", "\n", "\n", "  \n"], ["a", "b"]),
        (["10 %\r20 %\r\n30 %"], ["10 %", "20 %", "30 %"]),
        (["no end"], ["no end"]),
        (["bad pdf", "[ERROR]\t2026\t1\tfailed\nTraceback (most recent call last):\n  File\nE: x", "next\n"], ["bad pdf", "[ERROR]\t2026\t1\tfailed\nTraceback (most recent call last):\n  File\nE: x", "next"]),
        (["[ERROR] E: two\nlines\rTraceback (most recent call last):\r\u00a0\u00a0File\n"], ["[ERROR] E: two\nlines\nTraceback (most recent call last):\n  File"]),
        (["[ERROR] E: x\rTraceback (most recent call last):\n"], ["[ERROR] E: x"]),
        (["half", '{"message": "x"}\n'], ["half", '{"message": "x"}']),
        (["oh no\nTraceback (most recent call last):\n  File\nE: x\n"], ["oh no\nTraceback (most recent call last):\n  File\nE: x"]),
        (["[INFO]", " ", "x", "\n"], ["[INFO] x"]),
    ],
)  # fmt: skip
def test_text_becomes_events(pieces: list[str], expected: list[str]) -> None:
    """A line is an event; a record and a traceback are one each, and are not glued to what came before or after."""
    assert blocks(*pieces) == expected


RAISING = [
    "raise ValueError('two' + chr(10) + 'lines')",
    "try: raise ValueError\nexcept ValueError: raise KeyError('during')",
    "try: raise RuntimeError('cause')\nexcept RuntimeError as error: raise OSError('from') from error",
    "compile('x = (', 'f.py', 'exec')",
    "raise ExceptionGroup('many', [ValueError('a'), ExceptionGroup('more', [KeyError('b')])])",
]


@pytest.mark.parametrize("raising", RAISING)
def test_a_printed_traceback_is_one_block(raising: str) -> None:
    """A traceback that is printed piece by piece, or as lines, is one block with its message, chains included."""
    try:
        exec(raising)  # noqa: S102 - of this module
    except Exception as error:  # noqa: BLE001
        pieces = list(traceback.TracebackException.from_exception(error).format())
    expected = ["before", "".join(pieces).strip("\n"), "after"]
    assert blocks("before\n", *pieces, "after\n") == expected
    if "two\n" not in expected[1]:  # of bare lines nobody knows where such a message ends
        assert blocks("before\n", *"".join(pieces).splitlines(keepends=True), "after\n") == expected


def test_a_traceback_with_its_message_waits_for_nothing() -> None:
    """What may be complete can be asked for; what cannot be is kept."""
    writer = TextBlocks()
    assert writer.write("Traceback (most recent call last):\n") == writer.rest() == []
    assert writer.write("  File\n") == writer.rest() == []
    assert writer.write("E: x\n") == []
    assert writer.rest() == ["Traceback (most recent call last):\n  File\nE: x"]
    assert writer.rest() == writer.flush() == []


@given(st.lists(st.text(alphabet="ab[]{}: \nT", max_size=8)))
def test_no_text_is_lost(pieces: list[str]) -> None:
    """Every character that is not white space comes out, once and in order, however the text was cut."""
    assert "".join("\n".join(blocks(*pieces)).split()) == "".join("".join(pieces).split())


TASKS = """
import logging, os, subprocess, sys, threading, time, traceback
from lambda_tasks import task

together = threading.Barrier(2, timeout=10)
print("imported")

@task
def talk(*, name: str) -> None:
    together.wait()
    print("this is", name)
    sys.stderr.writelines([name, " on stderr", chr(10)])
    together.wait()
    logging.getLogger("shop").warning("logged by %s", name)
    print("half by", name, end="")

@task
def fail(*, reason: str) -> None:
    try:
        raise KeyError("inner")
    except KeyError:
        traceback.print_exc()
    raise ValueError(reason)

@task
def pause() -> None:
    time.sleep(0.2)

@task
def child() -> None:
    subprocess.run(["echo", "from a child"])
    sys.stdout.buffer.write(b"as bytes" + os.linesep.encode())
    sys.stdout.flush()

@task(ignore_errors=(LookupError,))
def ignored() -> None:
    raise LookupError
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The function's code."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "shop.py").write_text(textwrap.dedent(TASKS))
    return folder


@contextmanager
def following(
    function: Function, emulator_path: Path, *, mount: bool = False
) -> Iterator[tuple[FollowedFunction, list[Event]]]:
    heard: list[Event] = []
    with followed(function, emulator_path, heard.append, mount=mount) as running:
        yield running, heard


def worker(code: Path, layer: Path, log_format: str, **environ: str) -> Function:
    return Function(code, "lambda_tasks.handler.handler", (layer,), environ, "Worker", log_format=log_format)


def event(*bodies: str) -> dict[str, Any]:
    return sqs_event(*(sqs_record(body, message_id=f"id-{number}") for number, body in enumerate(bodies)))


def lines(heard: list[Event], message_id: str | None) -> list[str]:
    return [one.text for one in heard if isinstance(one, LogLine) and one.message_id == message_id]


def outcomes(heard: list[Event]) -> dict[str, MessageOutcome]:
    return {one.message_id: one for one in heard if isinstance(one, MessageOutcome)}


FORMATS = pytest.mark.parametrize("log_format", ["Text", "JSON"])


@FORMATS
def test_outcomes_are_told_under_each_log_format(
    code: Path, layer_folder: Path, emulator_path: Path, log_format: str
) -> None:
    """Outcome, duration and error are right, whatever the log format and the log level are."""
    function = worker(code, layer_folder, log_format, AWS_LAMBDA_LOG_LEVEL="FATAL")
    with following(function, emulator_path) as (running, heard):
        running.invoke(event(message_body("shop.pause")))
        running.invoke(event(message_body("shop.fail", reason="no\nmoney")))
        found = outcomes(heard)["id-0"]
        assert (found.outcome, found.task, found.attempt, found.error) == (
            "failed",
            "shop.fail",
            1,
            "ValueError: no\nmoney",
        )
        running.invoke(event(message_body("shop.ignored"), message_body("shop.none"), "{"))
    assert next(one.outcome for one in heard if isinstance(one, MessageOutcome)) == "succeeded"
    assert next(one.duration_ms for one in heard if isinstance(one, MessageOutcome)) >= 200
    last = outcomes(heard)
    assert (last["id-0"].outcome, last["id-0"].error) == ("succeeded", "LookupError")
    assert (last["id-1"].outcome, last["id-2"].outcome) == ("rejected", "rejected")
    assert "shop has no none" in str(last["id-1"].error)


@FORMATS
def test_lines_belong_to_the_task_that_wrote_them(
    code: Path, layer_folder: Path, emulator_path: Path, log_format: str
) -> None:
    """Of messages that run at the same time each has its own lines, a last one without an end included."""
    function = worker(code, layer_folder, log_format, LAMBDA_TASKS_CONCURRENCY="2")
    bodies = [message_body("shop.talk", name=name) for name in ("ann", "bob")]
    with following(function, emulator_path) as (running, heard):
        assert running.invoke(event(*bodies)) == Invocation({"batchItemFailures": []})
    assert "imported" in lines(heard, None)
    for number, name in enumerate(("ann", "bob")):
        own = lines(heard, f"id-{number}")
        assert own[:2] == [f"this is {name}", f"{name} on stderr"]
        assert f"logged by {name}" in own[2]
        assert f"half by {name}" in own
        other = {"ann": "bob", "bob": "ann"}[name]
        assert not any(other in line for line in own)


@FORMATS
def test_a_traceback_is_one_line_with_its_message(
    code: Path, layer_folder: Path, emulator_path: Path, log_format: str
) -> None:
    """The printed one is a block, and the logged one a block or a JSON record; nothing is glued to them."""
    with following(worker(code, layer_folder, log_format), emulator_path) as (running, heard):
        running.invoke(event(message_body("shop.fail", reason="no money"), message_body("shop.pause")))
    own = lines(heard, "id-0")
    assert own[0].startswith("Traceback (most recent call last):\n")
    assert own[0].endswith("\nKeyError: 'inner'")
    if log_format == "JSON":
        assert json.loads(own[-1])["errorMessage"] == "no money"
    else:
        assert own[-1].startswith("[ERROR]\t")
        assert own[-1].endswith("\nValueError: no money")
    assert len(own) == 3  # the other one says that there is no dead-letter queue to be reached


def test_what_a_child_process_writes_is_heard(code: Path, layer_folder: Path, emulator_path: Path) -> None:
    """Output beside Python's own streams belongs to the one message of the batch, or to none."""
    with following(worker(code, layer_folder, "Text"), emulator_path) as (running, heard):
        running.invoke(event(message_body("shop.child")))
        alone = lines(heard, "id-0")
        running.invoke(event(message_body("shop.child"), message_body("shop.child")))
    # The module's own line may be heard first or last, since it comes by another way.
    assert [line for line in alone if line != "imported"][:2] == ["from a child", "as bytes"]
    assert lines(heard, None).count("from a child") == 2


PLAIN = """
import json, os, time

print("init")

def handler(event, context):
    do = event["Records"][0]["body"]
    print("working", end="")
    if do == "raise":
        raise ValueError("two" + chr(10) + "lines")
    if do == "hang":
        time.sleep(600)
    if do == "exit":
        os._exit(3)
    if do == "name":
        print("about", event["Records"][1]["messageId"])
        print(json.dumps({"message_id": "id-1", "message": "a record"}))
        print(json.dumps({"message": "of nobody"}), "{broken")
"""


def plain(code: Path, text: str = PLAIN) -> Function:
    (code / "plain.py").write_text(textwrap.dedent(text))
    return Function(code, "plain.handler", name="Plain", timeout_seconds=1, log_format="Text")


def test_a_failed_invocation_is_told(code: Path, emulator_path: Path) -> None:
    """An error of the handler, a time-out and an exit are told with their messages; what was written before is heard."""
    with following(plain(code), emulator_path) as (running, heard):
        answers = [running.invoke(event(do)) for do in ("raise", "hang", "exit", "fine")]

    assert [one.reason for one in answers][:2] == ["ValueError: two\nlines", "timed out after 1 s"]
    assert answers[3].reason is None
    assert [(one.error_type, one.message_ids, one.in_init) for one in heard if isinstance(one, FunctionFailure)] == [
        ("ValueError", ("id-0",), False),
        ("Sandbox.Timedout", ("id-0",), False),
        ("Runtime.ExitError", ("id-0",), False),
    ]
    assert answers[1].duration_ms == 1000
    assert all(one.duration_ms is not None for one in (answers[0], answers[3]))
    own = lines(heard, "id-0")
    assert own.count("working") == 4
    assert next(line for line in own if "ValueError" in line).startswith("[ERROR] ValueError: two\nlines\nTraceback")
    assert sum(isinstance(one, InitReport) for one in heard) == 3


def test_what_a_line_says_itself_tells_whose_it_is(code: Path, emulator_path: Path) -> None:
    """Of a handler that is not ours a line belongs to the message that it names, else to none of several."""
    with following(plain(code), emulator_path) as (running, heard):
        running.invoke(event("name", "other"))
    assert lines(heard, "id-1") == ["workingabout id-1", '{"message_id": "id-1", "message": "a record"}']
    assert lines(heard, None) == ["init", '{"message": "of nobody"} {broken']


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nothere", "Runtime.ImportModuleError: Unable to import module 'plain': No module named 'nothere'"),
        ("def handler(", "Runtime.UserCodeSyntaxError: "),
        ("raise SystemExit(3)", "Runtime.ExitError: "),
        ("import time; time.sleep(600)", "timed out after 1 s"),
    ],
)
def test_a_failed_init_phase_is_told_from_a_failed_invocation(
    code: Path, emulator_path: Path, text: str, reason: str
) -> None:
    """There was no invoke phase, the reason is known, and no start is reported."""
    with following(plain(code, text), emulator_path) as (running, heard):
        answers = [running.invoke(event("x")), running.invoke(event("x"))]
    assert [one.failed_in_init for one in answers] == [True, True]
    assert str(answers[0].reason).startswith(reason)
    assert [one.in_init for one in heard if isinstance(one, FunctionFailure)] == [True, True]
    assert not any(isinstance(one, InitReport) for one in heard)


def environ_of(answer: Invocation) -> Mapping[str, str]:
    found: Mapping[str, str] = answer.payload
    return found


def test_a_function_that_is_heard_is_as_lambda_has_it(code: Path, emulator_path: Path) -> None:
    """The channel leaves no trace in the environment, and the streams are still files."""
    text = "import os, sys\ndef handler(event, context):\n    return {**os.environ, 'ENCODING': sys.stdout.encoding, 'NUMBER': str(sys.stderr.fileno())}"
    function = plain(code, text)
    with followed(function, emulator_path, lambda _: None) as running:
        environ = environ_of(running.invoke(event("x")))
    assert (environ["ENCODING"].lower(), environ["NUMBER"]) == ("utf-8", "2")
    assert not [name for name in environ if "CHANNEL" in name or "TELEMETRY" in name]


CHANNEL = """
import asyncio, sys
from lambda_tasks.local.runtime import runtime_bootstrap
from lambda_tasks.testing import message_body, sqs_event, sqs_record

runtime_bootstrap.open_channel(sys.argv[1])
print("before", file=sys.stderr)
from lambda_tasks import handler, task

@task
def tell(*, fails: bool) -> None:
    sys.stdout.writelines(["a", "", "b"])
    if fails:
        raise ValueError

try:
    sys.stdout.write(b"bytes")
except TypeError as error:
    print(error)
handler.handler(sqs_event(*(sqs_record(message_body("__main__.tell", fails=fails), message_id=str(fails)) for fails in (False, True))), None)
"""


def test_the_channel_tells_writes_and_outcomes(tmp_path: Path) -> None:
    """Each write is one event with the message whose task made it, and each outcome is one with its error."""
    path = tmp_path / "channel"
    subprocess.run([sys.executable, "-c", textwrap.dedent(CHANNEL), str(path)], check=True, capture_output=True)
    events = [json.loads(line) for line in path.read_text().splitlines()]
    texts = [(one["message_id"], one["text"]) for one in events if one["kind"] == "text" and one["text"] != "\n"]
    assert texts[:2] == [(None, "before"), (None, "write() argument must be str, not bytes")]
    assert [one for one in texts if one[1] in "ab"] == [("False", "a"), ("False", "b"), ("True", "a"), ("True", "b")]
    told = [one for one in events if one["kind"] == "outcome"]
    assert [(one["message_id"], one["outcome"], one["error"]) for one in told] == [
        ("False", "succeeded", None),
        ("True", "failed", "ValueError"),
    ]


def test_an_invocation_may_end_after_the_function(code: Path, emulator_path: Path) -> None:
    """What is read after the end is nothing: an invocation that is under way when a session ends is no error."""
    with following(plain(code), emulator_path) as (running, heard):
        running.invoke(event("fine"))
    count = len(heard)
    running.read(is_end=True)
    assert len(heard) == count
