"""Records that tell what ran: where, in which context, with which kwargs; and messages that came too late."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

import lambda_tasks
from catalogue import tasks
from events import message_body, sqs_record
from lambda_tasks.definition import recorded
from lambda_tasks.errors import InvalidTask, LambdaTasksError
from lambda_tasks.messages.sqs_event import Record
from lambda_tasks.settings import Settings
from lambda_tasks.state.record import StoredRecord
from lambda_tasks.tasks.task import task
from lambda_tasks.testing import TaskQueue
from memory_state import MemoryState
from workers import Dispatched, worker

RECORDING = Settings(record_kwargs=True)


@pytest.fixture(autouse=True)
def _nothing_ran() -> Iterator[None]:
    tasks.ran.clear()
    yield
    recorded._redactors.clear()  # hooks are for the life of a function


def record_of(name: str, /, *, attributes: dict[str, str] | None = None, **kwargs: Any) -> Record:
    record = sqs_record(message_body(f"catalogue.tasks.{name}", **kwargs))
    own = {key: {"stringValue": value, "dataType": "String"} for key, value in (attributes or {}).items()}
    return {**record, "messageAttributes": own}  # type: ignore[typeddict-item]


def run(record: Record, settings: Settings = RECORDING, **environ: str) -> StoredRecord:
    """Dispatch `record`, and return the record that is kept of it."""
    state = MemoryState()
    made = worker(settings, state=state)
    made.environ = {**made.environ, **environ}
    Dispatched(made, record)
    kept = state.record(record["messageId"], deadline=math.inf)
    assert kept is not None
    return kept


def test_a_record_says_where_its_message_ran_and_with_what() -> None:
    """Queue, request, function version, log stream, Python, context and, where that is wanted, kwargs."""
    context = {"lambda_tasks_context": '{"tenant": "acme", "correlation_id": "c-1"}', "plain": "too"}
    one = record_of("add", number=1, attributes=context)
    kept = run(one, AWS_LAMBDA_FUNCTION_VERSION="7", AWS_LAMBDA_LOG_STREAM_NAME="2026/11/21/[7]abc")
    assert (kept.queue, kept.function_version, kept.log_stream) == ("queue", "7", "2026/11/21/[7]abc")
    assert kept.request_id == "11111111-2222-3333-4444-555555555555"
    assert kept.python == ".".join(map(str, sys.version_info[:3]))
    assert json.loads(str(kept.context)) == {"plain": "too", "tenant": "acme", "correlation_id": "c-1"}
    assert (kept.kwargs, kept.kwargs_note) == ('{"number":1}', None)
    (attempt,) = kept.history
    assert (attempt.outcome, attempt.request_id) == ("succeeded", kept.request_id)
    assert attempt.ended_at is not None


def test_kwargs_are_recorded_where_that_is_wanted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is for all tasks; a task's own option counts more: all, none, or those that it names."""
    one = record_of("everything", number=1, text="é", day="2026-01-31", price="9.90", names=[])
    assert run(one, Settings()).kwargs is None
    options = tasks.everything.definition
    for value, expected in (
        (True, {"number": 1, "text": "é", "day": "2026-01-31", "price": "9.90", "names": []}),
        (("day", "price"), {"day": "2026-01-31", "price": "9.90"}),
        (False, None),
    ):
        monkeypatch.setattr(tasks.everything, "definition", options.with_options({"record_kwargs": value}))
        kept = run(one, Settings(record_kwargs=value is False))
        assert (json.loads(kept.kwargs) if kept.kwargs else None) == expected
        assert kept.kwargs_note == ("chosen" if isinstance(value, tuple) else None)


@pytest.mark.parametrize("value", ["kwargs", (), ("nothing",), 1])
def test_an_option_that_names_no_kwargs_is_refused(value: Any) -> None:
    """What cannot be recorded is an error where the task is defined."""
    with pytest.raises(InvalidTask, match="record_kwargs"):
        task(record_kwargs=value)(tasks.add.function)


def test_values_are_taken_out_by_a_hook(caplog: pytest.LogCaptureFixture) -> None:
    """A hook decides what of kwargs and context is recorded; one that fails leaves nothing, and tells no value."""

    @lambda_tasks.redact_record
    def without_text(task: str, values: dict[str, Any]) -> dict[str, Any]:
        assert task == "catalogue.tasks.note"
        return {name: "***" if name in ("text", "user") else value for name, value in values.items()}

    one = record_of("note", text="canary", attributes={"lambda_tasks_context": '{"user": "canary", "tenant": "acme"}'})
    kept = run(one)
    assert (kept.kwargs, kept.kwargs_note) == ('{"text":"***"}', "context redacted, redacted")
    assert kept.context == '{"user":"***","tenant":"acme"}'
    assert kept.result == '"canary"'

    @lambda_tasks.redact_record
    def broken(task: str, values: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001
        raise ValueError(str(values))

    kept = run(one)
    assert (kept.kwargs, kept.kwargs_note, kept.context, kept.status) == (None, "redaction failed", None, "succeeded")
    assert "broken raised ValueError" in caplog.text
    assert "canary" not in caplog.text


def test_a_hook_may_change_what_it_gets() -> None:
    """What a hook takes out of the values themselves is noticed, and the task has it all the same."""

    @lambda_tasks.redact_record
    def without_text(task: str, values: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001
        values.pop("text", None)
        return values

    kept = run(record_of("note", text="canary", attributes={"lambda_tasks_context": '{"tenant": "acme"}'}))
    assert (kept.kwargs, kept.kwargs_note, kept.context) == ("{}", "redacted", '{"tenant":"acme"}')
    assert kept.result == '"canary"'


def test_kwargs_that_are_too_long_are_cut_with_a_mark() -> None:
    """At most 16 KiB are kept, to a whole character, and the mark says how many there were."""
    kept = run(record_of("note", text="é" * 20_000))
    assert len(str(kept.kwargs).encode()) <= recorded.MAX_KWARGS_BYTES
    assert str(kept.kwargs).endswith("é... (cut: 40011 bytes)")
    assert kept.kwargs_note == "cut"


def test_why_a_message_did_not_run_is_recorded() -> None:
    """A message that waits has the reason, and no execution in its history."""
    state = MemoryState()
    made = worker(state=state)
    first, second = (sqs_record(message_body("catalogue.tasks.fail"), MessageGroupId="g") for _ in range(2))
    kept = run(record_of("nothing"))
    assert (kept.status, kept.history, kept.attempts) == ("rejected", (), 0)
    Dispatched(made, first, second)
    kept_of_first = state.record(first["messageId"], deadline=math.inf)
    assert kept_of_first is not None
    assert [attempt.outcome for attempt in kept_of_first.history] == ["failed"]


def expiring(seconds: float, name: str = "add", **system: Any) -> Record:
    record = record_of(name, number=1, attributes={"lambda_tasks_expires_at": f"{time.time() + seconds:.3f}"})
    return {**record, "attributes": {**record["attributes"], **system}}


def test_a_message_that_comes_too_late_is_skipped(caplog: pytest.LogCaptureFixture) -> None:
    """With a table and without, an expired message does not run and is deleted; record and log say so."""
    late, in_time = expiring(-1), expiring(60)
    state = MemoryState()
    caplog.set_level("INFO", "lambda_tasks")
    for made in (worker(state=state), worker()):
        done = Dispatched(made, late, in_time)
        assert (done.outcomes, done.kept, tasks.ran) == (["skipped", "succeeded"], [], [1])
        assert "skipped in 0 ms" in caplog.text
        assert "it expired at 20" in caplog.text
        caplog.clear()
        tasks.ran.clear()
    kept = state.record(late["messageId"], deadline=math.inf)
    assert kept is not None
    assert (kept.status, kept.attempts, kept.history) == ("skipped", 0, ())
    assert str(kept.reason).startswith("it expired at 20")


@pytest.mark.parametrize("text", ["soon", "-1", "", "1e9", "nan"])
def test_an_expiry_that_is_none_is_ignored(text: str) -> None:
    """A malformed attribute never fails a message."""
    done = Dispatched(worker(), record_of("add", number=1, attributes={"lambda_tasks_expires_at": text}))
    assert done.outcomes == ["succeeded"]


@pytest.mark.parametrize(
    ("expires", "expected"),
    [
        (timedelta(hours=1), "succeeded"),
        (3600, "succeeded"),
        (datetime.now(timezone.utc) + timedelta(days=1), "succeeded"),
        (datetime(2020, 1, 1, tzinfo=timezone.utc), "skipped"),
        (0, "skipped"),
        (None, "succeeded"),
    ],
)
def test_a_producer_says_until_when_a_message_counts(expires: Any, expected: str) -> None:
    """`expires` is a time, or the time from sending: the worker compares it with its clock."""
    with TaskQueue() as queue:
        tasks.add.options(expires=expires).enqueue(number=1)
        (done,) = queue.run()
    assert done.outcome == expected


@pytest.mark.parametrize("value", [-1, timedelta(days=-1), math.inf, math.nan, "1h", True, datetime(2026, 1, 1)])
def test_an_expiry_has_to_be_a_time(value: Any) -> None:
    """A value that is none is an error of the producer."""
    with pytest.raises((InvalidTask, LambdaTasksError), match="expires is"):
        tasks.add.options(expires=value)
