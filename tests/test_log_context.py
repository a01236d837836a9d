"""Log records that are made inside of a task carry its message's ids, under the real runtime and in this process."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest

import runtime_process
from catalogue import tasks
from events import message_body, sqs_event, sqs_record
from lambda_tasks.messages.attributes import ATTRIBUTE
from lambda_tasks.messages.sqs_event import Record
from lambda_tasks.settings import Settings
from lambda_tasks.telemetry import log_context
from workers import Dispatched, worker
from wrapper import base_environ

SYNC, ASYNC = "catalogue.tasks.log_something", "catalogue.tasks.log_something_async"
CONTEXT = {"tenant": "acme", "user": "bob builder", "limits": {"orders": 3}, "correlation_id": "c-1", "plan": "gold"}


def telling(name: str, where: str) -> Record:
    record = sqs_record(message_body(name, where=where))
    record["messageAttributes"] = {ATTRIBUTE: {"dataType": "String", "stringValue": json.dumps(CONTEXT)}}
    return record


RECORDS = [telling(SYNC, "one"), telling(ASYNC, "two"), telling(SYNC, "three"), sqs_record("{")]


def output(log_format: str, **variables: str) -> list[str]:
    """Return the lines that a function writes for the records."""
    environ = base_environ(
        AWS_LAMBDA_LOG_FORMAT=log_format,
        LAMBDA_TASKS_MODULES="catalogue.tasks",
        LAMBDA_TASKS_LOG_CONTEXT="tenant, user,limits,absent",
        **variables,
    )
    if log_format == "JSON":
        environ["AWS_LAMBDA_LOG_LEVEL"] = "INFO"
    return runtime_process.run([sqs_event(*RECORDS)], environ).output.splitlines()


@pytest.fixture(scope="module", params=["1", "3"], ids=["main thread", "threads"])
def in_json(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    lines = output("JSON", LAMBDA_TASKS_CONCURRENCY=request.param)
    return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.fixture(scope="module", params=["1", "3"], ids=["main thread", "threads"])
def in_text(request: pytest.FixtureRequest) -> list[str]:
    return output("Text", LAMBDA_TASKS_CONCURRENCY=request.param)


WHERE = [("one", 0, SYNC), ("two", 1, ASYNC), ("two, a thread of its own", 1, ASYNC), ("three", 2, SYNC)]


@pytest.mark.parametrize(("where", "number", "name"), WHERE)
def test_json_has_the_ids_as_keys(in_json: list[dict[str, Any]], where: str, number: int, name: str) -> None:
    """Each record has message id, task and correlation id, and the chosen values of the context with their types."""
    for message in ("seen", "trouble"):
        (line,) = [one for one in in_json if one["message"] == f"{message} in {where}"]
        ids = {"message_id": RECORDS[number]["messageId"], "task": name, "correlation_id": "c-1"}
        chosen = {"tenant": "acme", "user": "bob builder", "limits": {"orders": 3}}
        assert {**line, **ids, **chosen} == line
        assert not {"plan", "absent"} & {*line}


def test_keys_of_the_tasks_own_stay(in_json: list[dict[str, Any]]) -> None:
    """A logger's ``extra`` may have keys of the same names, which win."""
    (line,) = [one for one in in_json if one["message"] == "own key in one"]
    assert (line["task"], line["outcome"], line["message_id"]) == ("mine", "told", RECORDS[0]["messageId"])


@pytest.mark.parametrize(("where", "number", "name"), WHERE)
def test_text_has_the_ids_at_the_end_of_the_line(in_text: list[str], where: str, number: int, name: str) -> None:
    """The line ends in them, ahead of a traceback."""
    ending = (
        f"\tmessage_id={RECORDS[number]['messageId']}\ttask={name}\tcorrelation_id=c-1"
        '\ttenant=acme\tuser="bob builder"\tlimits={"orders": 3}'
    )
    for message in ("seen", "own key", "trouble"):
        (line,) = [one for one in in_text if f"{message} in {where}\t" in one]
        assert line.endswith(f"{message} in {where}{ending}")
        if message == "trouble":
            assert in_text[in_text.index(line) + 1] == "Traceback (most recent call last):"


def test_outcome_lines_say_it_once(in_text: list[str], in_json: list[dict[str, Any]]) -> None:
    """The package's own line of a message names it in words, and in JSON by its own keys, the context's too."""
    for record in RECORDS:
        (line,) = [one for one in in_text if f"(message {record['messageId']}, " in one]
        assert line.count(record["messageId"]) == 1
        assert "correlation_id=" not in line
    outcomes = [one for one in in_json if one.get("outcome") in ("succeeded", "rejected")]
    assert [one.get("tenant") for one in outcomes].count("acme") == 3


class _Own(logging.LogRecord):
    """A record of the application's own factory."""


@pytest.fixture
def factory() -> Iterator[None]:
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(_Own)
    yield
    logging.setLogRecordFactory(before)


@pytest.mark.usefixtures("factory")
def test_the_applications_own_factory_stays(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever makes the records, they carry the ids; outside of a task they carry nothing."""
    tasks.ran.clear()
    record = telling(SYNC, "here")
    dispatched = Dispatched(worker(Settings(log_context=("tenant", "msg", "args"))), record)
    assert dispatched.outcomes == ["succeeded"]
    seen = next(one for one in caplog.records if one.getMessage() == "seen in here")
    assert isinstance(seen, _Own)
    assert (vars(seen)["message_id"], vars(seen)["tenant"]) == (record["messageId"], "acme")
    logging.getLogger("shop").warning("between")
    assert "message_id" not in vars(caplog.records[-1])


def test_a_malformed_context_is_logged_once_and_carried_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """The line that tells of the context is made while the context is read: it asks for no other."""
    record = telling(SYNC, "here")
    record["messageAttributes"] = {ATTRIBUTE: {"dataType": "String", "stringValue": "no JSON"}}
    Dispatched(worker(), record)
    assert [one.getMessage() for one in caplog.records].count(
        f"the attribute {ATTRIBUTE} of message {record['messageId']} is malformed and ignored"
    ) == 1
    seen = next(one for one in caplog.records if one.getMessage() == "seen in here")
    assert vars(seen)["correlation_id"] == record["messageId"]


def test_records_of_several_processes_carry_the_process() -> None:
    """Where processes share a log, each record has the id of its own, in text at the end of its line."""
    record = logging.LogRecord("shop", logging.INFO, "", 0, "seen", None, None)
    formatter = log_context._TextFormatter(logging.Formatter("%(message)s\n"))
    try:
        log_context.carry((), shows_process=True)
        log_context._carrier.filter(record)
        assert vars(record)["process_id"] == os.getpid()
        assert formatter.format(record) == f"seen\tprocess_id={os.getpid()}\n"
    finally:
        log_context.carry(())
    assert formatter.format(record) == "seen\n"


def test_handlers_carry_it_once() -> None:
    """However many invocations there are, a handler has one filter."""
    handler = logging.NullHandler()
    logging.root.addHandler(handler)
    try:
        log_context.carry(())
        log_context.carry(())
        assert len(handler.filters) == 1
    finally:
        logging.root.removeHandler(handler)
