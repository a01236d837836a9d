"""What a local session prints of each event, for people and for programs."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from lambda_tasks.command_line.local_report import LocalReport, log_text, print_reports
from lambda_tasks.command_line.output import Output
from lambda_tasks.local.events import Event, FunctionFailure, InitReport, LogLine, MessageOutcome, Waiting
from lambda_tasks.local.ledger import MessageReport


def printed(*events: Event, width: int = 200, names_functions: bool = False) -> str:
    """Return what a report prints of `events` into a file."""
    stream = io.StringIO()
    report = LocalReport(Output(console=Console(file=stream, width=width)), names_functions=names_functions)
    for event in events:
        report.hear(event)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"message": "hello", "level": "INFO"}, "hello"),
        ({"message": "bad", "stackTrace": ["  File a\n", "  File b"], "errorType": "E", "errorMessage": "x"}, "bad\n  File a\n  File b\nE: x"),
        ({"errorType": "E", "errorMessage": "x", "stackTrace": []}, "E: x"),
        ({"errorType": "E", "errorMessage": "x", "stackTrace": ["  File a\n"]}, "  File a\nE: x"),
        ({"other": 1}, "the line"),
        (None, "the line"),
    ],
)  # fmt: skip
def test_a_record_is_shown_as_a_person_reads_it(record: dict[str, object] | None, expected: str) -> None:
    """Of a JSON record the message, its traceback and its error are shown; a record of another shape as it is."""
    assert str(log_text(LogLine("Worker", "the line", None, record))) == expected


def test_a_failure_is_said_where_the_runtime_does_not() -> None:
    """A timeout, an exit and a failed init phase are lines; of what a handler raised the runtime logs the traceback."""
    text = printed(
        FunctionFailure("Worker", "Sandbox.Timedout", "timed out after 2 s", ("a", "b")),
        FunctionFailure("Worker", "Runtime.ExitError", "Runtime.ExitError: exit status 3", ("a",)),
        FunctionFailure("Worker", "E", "E: x", ("a",), in_init=True),
        FunctionFailure("Worker", "E", "E: raised", ("a",)),
        MessageOutcome("a", "succeeded", 1),
        names_functions=True,
    )
    assert [line[9:] for line in text.splitlines()] == [
        "-        Worker timed out after 2 s (2 messages)",
        "a        Worker failed: Runtime.ExitError: exit status 3",
        "a        Worker failed in its init phase: E: x",
    ]


def test_a_start_and_a_wait_are_lines() -> None:
    """How long an init phase took, and until when messages wait."""
    text = printed(InitReport("Worker", 12.5, "/opt"), Waiting("jobs", 1, 30.4), Waiting("jobs", 2, 5.0))
    start, one, two = text.splitlines()
    assert start == "Worker started in 12 ms"
    assert one.startswith("1 message of jobs waits, until ")
    assert one.endswith(" (30 s)")
    assert two.startswith("2 messages of jobs wait, until ")


@pytest.mark.parametrize("width", [80, 200])
def test_each_message_has_its_reason(width: int) -> None:
    """The reason is in the message's line, or below the table where that is too narrow; it is one line."""
    stream = io.StringIO()
    reports = [
        MessageReport("a" * 36, "failed", 2, "shop.fail", 3.0, "ValueError: no\nmoney"),
        MessageReport("b", "succeeded", 1),
    ]
    print_reports(Output(console=Console(file=stream, width=width)), reports)
    lines = [line.rstrip() for line in stream.getvalue().splitlines() if line.strip()]
    assert lines[1].split()[:6] == ["a" * 36, "shop.fail", "failed", "2", "3.0", "ms"]
    assert ("ValueError: no money" in lines[1]) is (width == 200)
    assert lines[-1].endswith("ValueError: no money") is (width == 80)


def test_every_event_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    """A program hears what happened by its name, texts of several lines included."""
    report = LocalReport(Output(as_json=True))
    for event in (
        LogLine("W", "a\nb", "m"),
        InitReport("W", 1.0, "/opt"),
        MessageOutcome("m", "failed", 1, "t", 2.0, "E"),
        FunctionFailure("W", "E", "E: x"),
        Waiting("q", 1, 3.0),
    ):
        report.hear(event)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["event"] for one in found] == ["log", "init", "outcome", "failure", "waiting"]
    assert (found[0]["line"], found[2]["error"], found[3]["reason"]) == ("a\nb", "E", "E: x")
