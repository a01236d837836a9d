"""The parts of a local session: execution environments, what became of messages, what waits, and watching code."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lambda_tasks.local.code_watch import CodeWatch
from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.events import MessageOutcome
from lambda_tasks.local.ledger import Ledger, MessageReport
from lambda_tasks.local.mapping.event_source_mapping import Batch
from lambda_tasks.local.mapping.message_groups import MessageGroups
from lambda_tasks.local.queue import Message, Queue
from lambda_tasks.local.runtime.environments import Environments
from lambda_tasks.local.runtime.function import Function
from lambda_tasks.local.runtime.process import Invocation
from lambda_tasks.local.waiting import WaitingMessages

FUNCTION = Function(Path(), "app.handler")


@dataclass
class Fake:
    """A function that runs nowhere."""

    answer: Callable[[Any], Invocation] = Invocation

    def invoke(self, event: object, /) -> Invocation:
        return self.answer(event)


class Started:
    """Starts fakes, and counts how many there were and are."""

    def __init__(self, answer: Callable[[Any], Invocation] = Invocation) -> None:
        self.answer = answer
        self.count = 0
        self.running = 0

    def __call__(self, function: Function) -> AbstractContextManager[Fake]:
        @contextmanager
        def start() -> Iterator[Fake]:
            assert function is FUNCTION
            self.count += 1
            self.running += 1
            yield Fake(self.answer)
            self.running -= 1

        return start()


def environments(started: Started, limit: int = 2) -> Environments:
    return Environments(FUNCTION, started, limit)


def test_an_environment_is_used_again() -> None:
    """One after the other, invocations have one environment; it ends when all of it does."""
    started = Started()
    pool = environments(started)
    assert [pool.invoke({"n": n}).payload for n in range(3)] == [{"n": n} for n in range(3)]
    assert (started.count, started.running) == (1, 1)
    pool.close()
    assert started.running == 0
    with pytest.raises(LocalError, match="the function was stopped"):
        pool.invoke({})


def test_an_environment_is_prepared_before_it_is_needed() -> None:
    """The first invocation has the one that was prepared."""
    started = Started()
    pool = environments(started)
    pool.prepare()
    assert (started.count, started.running) == (1, 1)
    pool.invoke({})
    assert started.count == 1
    pool.close()


def test_there_are_as_many_as_run_at_once_up_to_the_limit() -> None:
    """Invocations at the same time have environments of their own; beyond the limit they wait."""
    together = threading.Barrier(2, timeout=10)

    def meet(event: Any) -> Invocation:
        together.wait()
        return Invocation(event)

    started = Started(meet)
    pool = environments(started)
    threads = [threading.Thread(target=pool.invoke, args=({},)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert started.count == 2
    pool.close()


def test_changed_code_gets_new_environments() -> None:
    """An idle environment ends at once, one in use when it is free; the next invocation starts another."""
    started = Started()
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


def message(message_id: str, count: int = 1) -> Message:
    return {"MessageId": message_id, "Attributes": {"ApproximateReceiveCount": str(count)}}


def test_the_ledger_knows_each_message() -> None:
    """The dispatcher's outcome counts, else whether the message stayed. A later delivery overwrites an earlier one."""
    ledger = Ledger()
    error = Invocation({"errorType": "E", "errorMessage": "x"}, is_error=True, duration_ms=7.0)
    ledger.outcome(MessageOutcome("b", "retrying", 1, "t", 3.0, "ValueError: soon"))
    ledger.batch(Batch([message("a"), message("b")], Invocation(None, duration_ms=4.0), frozenset("b")))
    ledger.batch(Batch([message("c")], error, frozenset("c")))
    assert ledger.reports() == [
        MessageReport("a", "succeeded", 1),
        MessageReport("b", "retrying", 1, "t", 3.0, "ValueError: soon"),
        MessageReport("c", "failed", 1, None, 7.0, "E: x"),
    ]
    ledger.batch(Batch([message("b", 2)], Invocation(None), frozenset()))
    ledger.outcome(MessageOutcome("c", "succeeded", 2, "t", 2.0, receive_count=2))
    ledger.batch(Batch([message("c", 2)], Invocation(None, duration_ms=9.0), frozenset()))
    assert ledger.reports() == [
        MessageReport("a", "succeeded", 1),
        MessageReport("b", "succeeded", 2),
        MessageReport("c", "succeeded", 2, "t", 2.0),
    ]
    assert (ledger.function_errors, ledger.init_error) == (["E: x"], None)


@pytest.mark.parametrize("late", [0, 1])
def test_the_ledger_tells_deliveries_apart(late: int) -> None:
    """A message that is delivered again before the batch of its first delivery is noted keeps both outcomes."""
    ledger = Ledger()
    heard: list[MessageReport] = []
    ledger.on_report = heard.append
    ledger.outcome(MessageOutcome("a", "retrying", 1, "t"))
    ledger.outcome(MessageOutcome("a", "failed", 2, "t", receive_count=2))
    first, second = (
        Batch([message("a", n)], Invocation(None), failed) for n, failed in ((1, frozenset("a")), (2, frozenset()))
    )
    for batch in (second, first) if late else (first, second):
        ledger.batch(batch)
    assert {(report.deliveries, report.outcome) for report in heard} == {(1, "retrying"), (2, "failed")}
    assert ledger.reports() == [MessageReport("a", "failed", 2, "t", 0.0)]


def test_the_ledger_keeps_the_error_of_an_init_phase() -> None:
    """An invocation that never began says so, whatever its error is."""
    ledger = Ledger()
    error = Invocation({"errorType": "E", "errorMessage": "x"}, is_error=True, failed_in_init=True)
    ledger.batch(Batch([message("a")], error, frozenset("a")))
    assert ledger.init_error == "E: x"


def test_changes_of_code_are_noticed(tmp_path: Path) -> None:
    """A new, changed or removed file is a change; caches, hidden files and logs are none."""
    (tmp_path / "app.py").write_text("1")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / ".git").mkdir()
    changes: queue.SimpleQueue[list[Path]] = queue.SimpleQueue()

    watch = CodeWatch([tmp_path], changes.put)
    try:
        for left_out in ("__pycache__/app.pyc", ".hidden", ".git/index", "local.log"):
            (tmp_path / left_out).write_text("1")
        (tmp_path / "other.py").write_text("1")
        assert changes.get(timeout=10) == [tmp_path / "other.py"]
        (tmp_path / "app.py").write_text("2")
        assert changes.get(timeout=10) == [tmp_path / "app.py"]
        (tmp_path / "app.py").unlink()
        assert changes.get(timeout=10) == [tmp_path / "app.py"]
    finally:
        watch.close()


def received(jobs: Queue, limit: int = 10) -> list[Message]:
    return jobs.receive(limit, wait_seconds=10)


def test_a_change_of_code_shows_what_failed(make_queue: Callable[..., Queue]) -> None:
    """Failed messages are hidden until the code changes; those that are run again, or are done with, are left alone."""
    jobs, waiting = make_queue(VisibilityTimeout="600"), WaitingMessages()
    sent = [jobs.send(body) for body in "abc"]
    batch = Batch(received(jobs), Invocation(None), frozenset(sent[:2]))
    waiting.note(jobs, batch, waiting.changes)
    waiting.begin([sent[1]])
    assert waiting.message_ids == {sent[0]}

    assert waiting.release() == 1
    assert [one["MessageId"] for one in received(jobs)] == [sent[0]]
    assert (waiting.message_ids, waiting.release()) == (frozenset(), 0)


def test_what_fails_with_the_old_code_comes_back_at_once(make_queue: Callable[..., Queue]) -> None:
    """A message whose invocation began before the code changed does not wait, though it failed after that."""
    jobs, waiting = make_queue(VisibilityTimeout="600"), WaitingMessages()
    sent, before = jobs.send("a"), waiting.changes
    batch = Batch(received(jobs), Invocation(None), frozenset([sent]))
    waiting.release()
    waiting.note(jobs, batch, before)
    assert [one["MessageId"] for one in received(jobs)] == [sent]
    assert waiting.message_ids == frozenset()


def test_a_message_that_is_gone_is_not_shown(make_queue: Callable[..., Queue]) -> None:
    """A message that somebody deleted meanwhile is no problem."""
    jobs = make_queue()
    jobs.send("a")
    [found] = received(jobs)
    jobs.delete([found])
    jobs.show(found)
    assert jobs.depth() == 0


def grouped(message_id: str, group: str) -> Message:
    return {"MessageId": message_id, "Attributes": {"MessageGroupId": group, "SequenceNumber": "1"}}


def test_a_message_group_is_in_one_hand() -> None:
    """Who has a message of a group that is in hand waits, and then has only what was not finished; others do not."""
    groups = MessageGroups()
    found: list[list[str]] = []

    def take() -> None:
        with groups.in_hand([grouped("a0", "a"), grouped("a1", "a")]) as messages:
            found.append([message["MessageId"] for message in messages])

    with groups.in_hand([grouped("a0", "a")]) as first:
        waiter = threading.Thread(target=take)
        waiter.start()
        with groups.in_hand([grouped("b0", "b")]) as other, groups.in_hand([message("x")]) as without:
            assert (len(other), len(without)) == (1, 1)
        assert found == []
        groups.finish(first)
    waiter.join()
    assert found == [["a1"]]
