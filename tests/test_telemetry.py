"""The telemetry of messages: log records, hooks and metrics."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import Any

import pytest

import lambda_tasks
from events import message_body, sqs_record
from lambda_tasks.errors import InvalidHook, MalformedMessage
from lambda_tasks.messages.context import Context
from lambda_tasks.messages.outcome import Outcome, Result
from lambda_tasks.settings import Settings
from lambda_tasks.telemetry import cold_start
from lambda_tasks.telemetry import report as telemetry
from lambda_tasks.telemetry.metrics import MAX_VALUES, NAMES, Metrics
from lambda_tasks.telemetry.report import Report, announce_outcome, announce_start, report_of
from workers import Dispatched, worker
from wrapper import ROOT, measuring

TASK = "shop.tasks.send"


def raised(error: Exception) -> Exception:
    """Return `error` with a traceback."""
    try:
        raise error
    except type(error) as caught:
        return caught


def reported(outcome: Outcome = Outcome.SUCCEEDED, **changes: Any) -> Report:
    values: dict[str, Any] = {
        "task": TASK,
        "message_id": "m-1",
        "attempt": 2,
        "receive_count": 3,
        "correlation_id": "c-1",
    }
    return Report(**{**values, "outcome": outcome, "duration_ms": 12.5, "queue_latency_ms": 250.0, **changes})


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registrations that end with the test."""
    monkeypatch.setattr(telemetry, "_start_hooks", [])
    monkeypatch.setattr(telemetry, "_outcome_hooks", [])


def test_a_report_tells_ids_times_and_outcome() -> None:
    """The latency in the queue ends where the message is turned to, not where its task ends."""
    record = sqs_record("{}", SentTimestamp="1790000000000")
    context = Context("m-1", TASK, 2, 3, "c-1")
    error = ValueError("no")
    result = Result(Outcome.FAILED, TASK, error, duration_ms=12.3456)
    made = report_of(record, result, context, started_at=1_790_000_000.25)
    assert made == reported(Outcome.FAILED, duration_ms=12.346, error=error)
    assert "no" not in repr(made)
    assert report_of(record, result, context, started_at=0).queue_latency_ms == 0


@pytest.mark.parametrize("sent", ["", "x", "-1", "1" * 20, "٣"])
def test_a_strange_time_is_no_latency(sent: str) -> None:
    """A time that is no number of milliseconds, and a message without one, have no latency."""
    result = Result(Outcome.SUCCEEDED, TASK)
    assert report_of(sqs_record("{}", SentTimestamp=sent), result, Context(), started_at=0).queue_latency_ms is None
    assert report_of({"messageId": "m-1"}, result, Context(), started_at=0).queue_latency_ms is None


def test_each_outcome_is_one_log_record(caplog: pytest.LogCaptureFixture) -> None:
    """The record has the keys to filter by, its words say the same, and its level says how bad it is."""
    with caplog.at_level(logging.INFO, "lambda_tasks"):
        announce_outcome(reported())
        announce_outcome(reported(Outcome.RETRYING, error=raised(ConnectionError("down"))))
        announce_outcome(reported(Outcome.FAILED, error=raised(ValueError("no"))))
        announce_outcome(reported(Outcome.REJECTED, task=None, error=MalformedMessage("the body is malformed")))
        announce_outcome(reported(Outcome.DEFERRED, correlation_id="m-1", queue_latency_ms=None))
    assert [(one.levelname, one.message) for one in caplog.records] == [
        ("INFO", f"{TASK} succeeded in 12 ms (message m-1, attempt 2, correlation c-1, queued 250 ms)"),
        ("WARNING", f"{TASK} retrying in 12 ms (message m-1, attempt 2, correlation c-1, queued 250 ms)"),
        ("ERROR", f"{TASK} failed in 12 ms (message m-1, attempt 2, correlation c-1, queued 250 ms)"),
        ("ERROR", "message rejected in 12 ms (message m-1, attempt 2, correlation c-1, queued 250 ms): the body is malformed"),
        ("INFO", f"{TASK} deferred in 12 ms (message m-1, attempt 2)"),
    ]  # fmt: skip
    keys = ("task", "message_id", "outcome", "attempt", "duration_ms", "queue_latency_ms", "correlation_id")
    assert [vars(caplog.records[0])[key] for key in keys] == [TASK, "m-1", "succeeded", 2, 12.5, 250.0, "c-1"]
    assert [one.exc_info is not None for one in caplog.records] == [False, True, True, False, False]


def test_kwargs_are_logged_at_debug_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Kwargs are shown only where DEBUG was asked for."""
    with caplog.at_level(logging.INFO, "lambda_tasks"):
        announce_start(Context("m-1", TASK), {"order": "canary"})
    assert caplog.records == []
    with caplog.at_level(logging.DEBUG, "lambda_tasks"):
        announce_start(Context("m-1", TASK), {"order": "canary"})
    assert caplog.messages == [f"{TASK} starts (message m-1) with {{'order': 'canary'}}"]
    assert vars(caplog.records[0])["kwargs"] == {"order": "canary"}


@pytest.mark.usefixtures("hooks")
def test_hooks_hear_of_every_start_and_outcome() -> None:
    """A hooked function gets the context, or the report, once each; registering returns it, so that it decorates."""
    starts: list[Context] = []
    outcomes: list[Report] = []

    @lambda_tasks.on_start
    def note_start(context: Context) -> None:
        starts.append(context)

    @lambda_tasks.on_outcome
    def note_outcome(report: Report) -> None:
        outcomes.append(report)

    lambda_tasks.on_outcome(note_outcome)
    announce_start(Context("m-1", TASK), {})
    announce_outcome(reported())
    assert (starts, outcomes) == ([Context("m-1", TASK, remaining_time_ms=starts[0].remaining_time_ms)], [reported()])
    assert callable(note_start)


@pytest.mark.usefixtures("hooks")
@pytest.mark.parametrize("number", [1, "bad"])
def test_hooks_are_called_in_the_context_of_the_message(number: object) -> None:
    """Log records and messages of a hook belong to its message, also where that was rejected."""
    seen: list[str] = []
    lambda_tasks.on_outcome(lambda _: seen.append(lambda_tasks.context["tenant"]))
    record = sqs_record(message_body("catalogue.tasks.add", number=number))
    record["messageAttributes"] = {"tenant": {"stringValue": "acme", "dataType": "String"}}
    Dispatched(worker(), record)
    assert seen == ["acme"]


@pytest.mark.usefixtures("hooks")
@pytest.mark.parametrize("error", [ValueError("canary"), SystemExit(3)])
def test_a_hook_that_raises_changes_nothing(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """An error of a hook is logged with its name, and the next one is called."""
    heard: list[Report] = []

    @lambda_tasks.on_outcome
    def broken(_: Report) -> None:
        raise error

    lambda_tasks.on_outcome(heard.append)
    announce_outcome(reported())
    assert heard == [reported()]
    assert caplog.records[-1].message.endswith("broken raised (message m-1)")
    assert caplog.records[-1].exc_info is not None


def test_an_async_hook_is_refused() -> None:
    """A coroutine that nobody would await is an error where it is registered."""

    async def hook(_: object) -> None: ...

    with pytest.raises(InvalidHook, match="use a function that is not async"):
        lambda_tasks.on_start(hook)
    with pytest.raises(InvalidHook):
        lambda_tasks.on_outcome(hook)


def documents(*reports: Report) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Metrics("Shop", "worker", clock=lambda: 1_790_000_000.0).lines(reports, "r-1")]


def test_metrics_are_one_document_a_task() -> None:
    """A document has the namespace, the dimensions with their values, each outcome's count, and every duration."""
    other = reported(Outcome.FAILED, task=None, queue_latency_ms=None)
    first, second = documents(reported(), reported(Outcome.RETRYING, duration_ms=7.0), reported(), other)
    assert first == {
        "_aws": {
            "Timestamp": 1_790_000_000_000,
            "CloudWatchMetrics": [
                {
                    "Namespace": "Shop",
                    "Dimensions": [["FunctionName", "Task"], ["FunctionName"]],
                    "Metrics": [
                        {"Name": "Succeeded", "Unit": "Count"},
                        {"Name": "Retrying", "Unit": "Count"},
                        {"Name": "Duration", "Unit": "Milliseconds"},
                        {"Name": "QueueLatency", "Unit": "Milliseconds"},
                    ],
                }
            ],
        },
        "FunctionName": "worker",
        "Task": TASK,
        "request_id": "r-1",
        "process_id": os.getpid(),
        "Succeeded": 2,
        "Retrying": 1,
        "Duration": [12.5, 7.0, 12.5],
        "QueueLatency": [250.0, 250.0, 250.0],
    }
    assert (second["Task"], second["Failed"], second["Duration"]) == ("(unknown)", 1, [12.5])
    assert "QueueLatency" not in second


def metrics_of(output: str) -> list[dict[str, Any]]:
    """Return the documents of metrics among the lines of an output, as Lambda finds them."""
    return [json.loads(line) for line in output.splitlines() if line.startswith('{"_aws"')]


def test_a_name_is_a_dimension_once_its_task_is_found(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Names that messages make up count as one unknown task, and are shown on one line, bounded; wrong kwargs do not."""
    made = worker(Settings(metrics_namespace="Shop", modules=("catalogue.*",)))
    names = ["catalogue.tasks.no_such", "os.system", "no path", "catalogue.none.add", "catalogue.tasks.__name__"]
    names += ["catalogue.broken.anything", "x\n{}" + "y" * 2000]
    bad = message_body("catalogue.tasks.add", number="x")
    with caplog.at_level(logging.INFO, "lambda_tasks"):
        Dispatched(made, *[sqs_record(one) for one in (*map(message_body, names), "{}", bad)])
    counts = {
        one["Task"]: one.get("Rejected", 0) + one.get("Retrying", 0) for one in metrics_of(capsys.readouterr().out)
    }
    assert counts == {"(unknown)": len(names) + 1, "catalogue.tasks.add": 1}
    outcomes = [one for one in caplog.records if hasattr(one, "outcome")]
    assert all("\n" not in one.getMessage() and len(one.getMessage()) < 1000 for one in outcomes)
    assert [vars(one)["task"] for one in outcomes[:2]] == names[:2]
    assert len(vars(outcomes[6])["task"]) < 300


def test_metrics_start_on_a_line_of_their_own(capfd: pytest.CaptureFixture[str]) -> None:
    """What a task leaves on the last line, by whichever way, does not hide the metrics."""
    made = worker(Settings(metrics_namespace="Shop"))
    for way in ("print", "descriptor"):
        Dispatched(made, sqs_record(message_body("catalogue.tasks.print_without_end", way=way)))
    written = capfd.readouterr().out
    assert [one["Succeeded"] for one in metrics_of(written)] == [1, 1]


def test_metrics_keep_to_the_limits_of_their_format() -> None:
    """No array has more than 100 values and no dimension more than 1,024 characters; what is more is another document."""
    made = documents(*[reported(task="t" * 2000)] * (2 * MAX_VALUES + 1))
    assert [one["Succeeded"] for one in made] == [len(one["Duration"]) for one in made] == [100, 100, 1]
    assert {len(one["Task"]) for one in made} == {1024}


def test_a_cold_start_is_a_metric_of_the_function_once() -> None:
    """Its milliseconds come first, without a task, and never again."""
    made = Metrics("Shop", "worker")
    made.init_ms = 321.5
    first, *_ = (json.loads(line) for line in made.lines([reported()], "r-1"))

    directive = first["_aws"]["CloudWatchMetrics"][0]
    assert directive["Dimensions"] == [["FunctionName"]]
    assert directive["Metrics"] == [{"Name": "InitDuration", "Unit": "Milliseconds"}]
    assert (first["InitDuration"], "Task" in first) == (321.5, False)
    assert ["InitDuration" in json.loads(line) for line in made.lines([reported()], "r-2")] == [False]


def test_a_cold_start_lasts_from_the_start_of_the_process() -> None:
    """A process that was replaced by exec began with its first program; a restart and a snapshot are no cold starts."""
    program = "import sys; from lambda_tasks.telemetry import cold_start; print(cold_start.init_ms({}))"
    waiting = f"sleep 0.3; exec {sys.executable} -c '{program}'"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.run(
        ["/bin/sh", "-c", waiting], env=environ, capture_output=True, text=True, timeout=60, check=True
    )

    assert float(printed.stdout) >= 290
    assert cold_start.init_ms({"LAMBDA_TASKS_RESTARTED": "1"}) is None
    assert cold_start.init_ms({"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}) is None


def test_every_metric_has_a_name_of_the_list() -> None:
    """The names that dashboards are held to are all that is written."""
    reports = [reported(outcome=one) for one in Outcome] + [reported(outcome=Outcome.FAILED, is_unrun=True)]
    made = Metrics("Shop", "worker")
    made.init_ms = 1.0
    lines = [json.loads(line) for line in made.lines(reports, "r-1")]
    written = {one["Name"] for line in lines for one in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert written == NAMES


def test_metrics_that_cannot_be_written_change_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A broken standard output is logged, and nothing is raised."""
    monkeypatch.setattr(sys, "stdout", None)
    Metrics("Shop", "worker").publish([reported()], "r-1")
    assert caplog.messages == ["the metrics of the invocation could not be written"]


# As awslambdaric starts: its own wrappers around standard output, its own handler and formatters.
PROCESS = """
import logging, os, sys
from awslambdaric import bootstrap
sys.stdout = bootstrap.Unbuffered(sys.stdout)
with bootstrap.create_log_sink() as sink:
    bootstrap._setup_logging(bootstrap._AWS_LAMBDA_LOG_FORMAT, bootstrap._AWS_LAMBDA_LOG_LEVEL, sink)
    bootstrap._GLOBAL_AWS_REQUEST_ID = "r-1"
    from test_telemetry import *
    telemetry.show_outcomes(os.environ)
    announce_start(Context("m-1", TASK, correlation_id="c-1"), {"order": {1, 1}})
    announce_outcome(reported())
    Metrics("Shop", "worker").publish([reported()], "r-1")
    announce_outcome(reported(Outcome.FAILED, error=raised(ValueError("no"))))
    logging.getLogger("other").info("another one's")
"""


def runtime_output(**environ: str) -> str:
    """Return what a process with awslambdaric's logging prints."""
    return subprocess.run(
        [sys.executable, "-c", PROCESS],
        env={**environ, **measuring(), "PYTHONPATH": f"{ROOT}/tests"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


def test_json_logs_have_the_keys_as_keys() -> None:
    """Under Lambda's JSON log format each line is one object, with our keys, and the metrics' own line among them."""
    output = runtime_output(AWS_LAMBDA_LOG_FORMAT="JSON", AWS_LAMBDA_LOG_LEVEL="INFO")
    succeeded, metrics, failed, other = [json.loads(line) for line in output.splitlines() if line]
    expected = {"task": TASK, "message_id": "m-1", "outcome": "succeeded", "attempt": 2, "correlation_id": "c-1"}
    expected |= {"duration_ms": 12.5, "queue_latency_ms": 250.0, "level": "INFO", "requestId": "r-1"}
    assert {key: succeeded[key] for key in expected} == expected
    assert metrics["Succeeded"] == 1
    assert (failed["errorType"], failed["errorMessage"], failed["level"]) == ("ValueError", "no", "ERROR")
    assert other["message"] == "another one's"


def test_json_logs_at_debug_show_kwargs() -> None:
    """At DEBUG the kwargs are there, as far as they have a form in JSON."""
    output = runtime_output(AWS_LAMBDA_LOG_FORMAT="JSON", AWS_LAMBDA_LOG_LEVEL="DEBUG")
    assert json.loads(output.splitlines()[0])["kwargs"] == {"order": "{1}"}


def test_text_logs_say_the_same_in_words() -> None:
    """Under the text log format successes are shown too, though the level is the standard library's own."""
    lines = runtime_output().replace("\n\n", "\n").splitlines()
    words = f"{TASK} succeeded in 12 ms (message m-1, attempt 2, correlation c-1, queued 250 ms)"
    assert lines[0].startswith("[INFO]\t")
    assert lines[0].endswith(f"\tr-1\t{words}")
    assert json.loads(lines[1])["Succeeded"] == 1
    assert lines[2].startswith("[ERROR]\t")
    assert "ValueError: no" in lines[-1]
    assert "another one's" not in "".join(lines)


@pytest.mark.parametrize("level", ["WARN", "ERROR"])
def test_a_level_that_was_set_is_kept(level: str) -> None:
    """A log level of warnings or errors shows no successes."""
    lines = runtime_output(AWS_LAMBDA_LOG_LEVEL=level).strip().splitlines()
    assert lines[0].startswith('{"_aws"')
    assert lines[1].startswith("[ERROR]\t")
