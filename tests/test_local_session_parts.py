"""The parts of a local session: execution environments, log lines and whose they are, and watching code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lambda_tasks.local.code_watch import CodeWatch, snapshot
from lambda_tasks.local.environments import Environments
from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.event_source_mapping import Batch
from lambda_tasks.local.ledger import Ledger, MessageReport
from lambda_tasks.local.log_lines import InitReport, LogFollower, LogLine, OutcomeLine, outcome_of
from lambda_tasks.local.preparation import Function
from lambda_tasks.local.runtime import Invocation

FUNCTION = Function(Path(), "app.handler")


@dataclass
class Fake:
    """A function that runs nowhere."""

    log_path: Path
    answer: Callable[[Any], Invocation] = Invocation
    opt: str = "/opt"

    def invoke(self, event: object) -> Invocation:
        return self.answer(event)


class Started:
    """Starts fakes, and counts how many there were and are."""

    def __init__(self, folder: Path, answer: Callable[[Any], Invocation] = Invocation) -> None:
        self.folder = folder
        self.answer = answer
        self.count = 0
        self.running = 0

    def __call__(self, function: Function) -> AbstractContextManager[Fake]:
        @contextmanager
        def start() -> Iterator[Fake]:
            assert function is FUNCTION
            self.count += 1
            self.running += 1
            log = self.folder / str(self.count)
            log.touch()
            yield Fake(log, self.answer)
            self.running -= 1

        return start()


def environments(started: Started, limit: int = 2) -> Environments:
    return Environments(FUNCTION, started, limit, lambda function, one: LogFollower(function.name, one, lambda _: None))


def test_an_environment_is_used_again(tmp_path: Path) -> None:
    """One after the other, invocations have one environment; it ends when all of it does."""
    started = Started(tmp_path)
    pool = environments(started)
    assert [pool.invoke({"n": n}).payload for n in range(3)] == [{"n": n} for n in range(3)]
    assert (started.count, started.running) == (1, 1)
    pool.close()
    assert started.running == 0
    with pytest.raises(LocalError, match="the function was stopped"):
        pool.invoke({})


def test_there_are_as_many_as_run_at_once_up_to_the_limit(tmp_path: Path) -> None:
    """Invocations at the same time have environments of their own; beyond the limit they wait."""
    together = threading.Barrier(2, timeout=10)

    def meet(event: Any) -> Invocation:
        together.wait()
        return Invocation(event)

    started = Started(tmp_path, meet)
    pool = environments(started)
    threads = [threading.Thread(target=pool.invoke, args=({},)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert started.count == 2
    pool.close()


def test_changed_code_gets_new_environments(tmp_path: Path) -> None:
    """An idle environment ends at once, one in use when it is free; the next invocation starts another."""
    started = Started(tmp_path)
    pool = environments(started)

    def replacing(event: Any) -> Invocation:
        pool.replace()
        return Invocation(event)

    pool.invoke({})
    pool.replace()
    assert (started.count, started.running) == (1, 0)
    started.answer = replacing
    pool.invoke({})
    assert (started.count, started.running) == (2, 0)
    started.answer = Invocation
    pool.invoke({})
    assert (started.count, started.running) == (3, 1)
    pool.close()


@contextmanager
def following(path: Path, *, is_sequential: bool = True) -> Iterator[tuple[LogFollower, list[LogLine | InitReport]]]:
    path.touch()
    heard: list[LogLine | InitReport] = []
    follower = LogFollower("worker", Fake(path), heard.append, is_sequential=is_sequential)
    try:
        yield follower, heard
    finally:
        follower.close()


def write(path: Path, *lines: str) -> None:
    with path.open("a") as log:
        log.writelines(f"{line}\n" for line in lines)


def batch(*message_ids: str) -> dict[str, Any]:
    return {"Records": [{"messageId": one} for one in message_ids]}


def texts(heard: list[LogLine | InitReport]) -> list[tuple[str | None, str]]:
    return [(one.message_id, one.text) for one in heard if isinstance(one, LogLine)]


def test_lines_belong_to_the_message_that_runs(tmp_path: Path) -> None:
    """Each outcome ends a message: what comes after it belongs to the next one of the batch."""
    log = tmp_path / "log"
    outcome = "[INFO] shop.add succeeded in 3 ms (message %s, attempt 1, queued 5 ms)"
    with following(log) as (follower, heard):
        write(log, "19 Nov 2026 10:00:00,123 [INFO] (rapid) INIT REPORT(durationMs: 12.5)")
        follower.begin(batch("m-1", "m-2"))
        write(
            log,
            "START RequestId: 1 Version: $LATEST",
            "first",
            outcome % "m-1",
            "",
            "second",
            outcome % "m-2",
            "END RequestId: 1",
        )
        follower.begin(batch("m-3"))
        write(log, "third", "without an end")
    assert heard[0] == InitReport("worker", 12.5, "/opt")
    assert texts(heard) == [
        ("m-1", "first"),
        ("m-1", outcome % "m-1"),
        ("m-2", "second"),
        ("m-2", outcome % "m-2"),
        ("m-3", "third"),
        ("m-3", "without an end"),
    ]


def test_what_a_line_says_itself_counts_more(tmp_path: Path) -> None:
    """A record with a message id belongs to it, one of the init phase to none, whatever runs."""
    log = tmp_path / "log"
    with following(log) as (follower, heard):
        follower.begin(batch("m-1", "m-2"))
        write(log, '{"message": "a", "requestId": "r", "message_id": "m-2"}', '{"message": "init"}', "{broken", "[1]")
        write(log, "about m-2 in a text")
    assert [message_id for message_id, _ in texts(heard)] == ["m-2", None, "m-1", "m-1", "m-2"]


def test_of_another_handler_only_a_batch_of_one_is_certain(tmp_path: Path) -> None:
    """Where nothing says which message of a batch runs, a line belongs to none."""
    log = tmp_path / "log"
    with following(log, is_sequential=False) as (follower, heard):
        follower.begin(batch("m-1", "m-2"))
        write(log, "one of two")
        follower.begin(batch("m-3"))
        write(log, "the only one")
    assert texts(heard) == [(None, "one of two"), ("m-3", "the only one")]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            LogLine("w", "", None, {"outcome": "failed", "message_id": "m", "attempt": 2, "task": "t", "duration_ms": 1.5, "errorMessage": "no"}),
            OutcomeLine("m", "failed", 2, "t", 1.5, "no"),
        ),
        (LogLine("w", "", None, {"message": "x", "outcome": "?"}), None),
        (
            LogLine("w", "[ERROR] 2026 message rejected in 0 ms (message m-1, attempt 3): the body is malformed"),
            OutcomeLine("m-1", "rejected", 3, "message", error="the body is malformed"),
        ),
        (LogLine("w", "nothing failed in here"), None),
    ],
)  # fmt: skip
def test_outcomes_are_read_under_both_log_formats(line: LogLine, expected: OutcomeLine | None) -> None:
    """The dispatcher's record of an outcome is understood as JSON and as text."""
    assert outcome_of(line) == expected


def message(message_id: str, count: int = 1) -> dict[str, Any]:
    return {"MessageId": message_id, "Attributes": {"ApproximateReceiveCount": str(count)}}


def test_the_ledger_knows_each_message() -> None:
    """What the dispatcher logged counts; without that, whether the message stayed. A later delivery overwrites."""
    ledger = Ledger()
    error = Invocation({"errorType": "E", "errorMessage": "x"}, is_error=True)
    ledger.batch(Batch([message("a"), message("b")], Invocation(None), frozenset("b")))
    ledger.batch(Batch([message("c")], error, frozenset("c")))
    assert ledger.handled() == 1
    ledger.batch(Batch([message("b", 2)], Invocation(None), frozenset()))
    ledger.outcome(OutcomeLine("c", "deferred", 1, "t", 2.0, "later"))
    assert ledger.reports() == [
        MessageReport("a", "succeeded", 1),
        MessageReport("b", "succeeded", 2),
        MessageReport("c", "deferred", 1, "t", 2.0, "later"),
    ]
    assert ledger.function_errors == ["E: x"]


def test_changes_of_code_are_noticed(tmp_path: Path) -> None:
    """A new, changed or removed file is a change; caches and hidden files are none."""
    (tmp_path / "app.py").write_text("1")
    (tmp_path / "__pycache__").mkdir()
    changes: list[list[str]] = []
    heard = threading.Event()

    def changed(files: list[str]) -> None:
        changes.append(files)
        heard.set()

    watch = CodeWatch(tmp_path, changed)
    (tmp_path / "__pycache__" / "app.pyc").write_text("1")
    (tmp_path / ".hidden").write_text("1")
    (tmp_path / "other.py").write_text("1")
    assert heard.wait(10)
    watch.close()
    assert changes == [[str(tmp_path / "other.py")]]
    before = snapshot(tmp_path)
    (tmp_path / "app.py").unlink()
    assert before.keys() - snapshot(tmp_path).keys() == {str(tmp_path / "app.py")}
