"""Rate limits with the real dispatcher: how often a task runs, and that no message dies of waiting."""

from __future__ import annotations

import math
from typing import Any

import pytest

from catalogue import limited
from events import Context, message_body, sqs_record
from fake_aws import FakeAws
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.errors import InvalidTask, MessageDeferred
from lambda_tasks.messages.sqs_event import Record
from lambda_tasks.settings import Settings
from lambda_tasks.testing import TaskQueue
from memory_state import MemoryState
from simulation import HOUR, History, Outage, Simulation
from workers import Dispatched, worker

SEEDS = range(3)


def histories(hours: float, *messages: dict[str, Any], **options: Any) -> list[History]:
    """Run a scenario with every seed."""
    found = []
    for seed in SEEDS:
        with Simulation(seed=seed, **options) as simulation:
            for some in messages:
                simulation.send(**some)
            found.append(simulation.run(hours=hours))
    return found


def most_in(history: History, task: str, window_seconds: float, *, of: str = "") -> int:
    """Return the most runs of a task that began within any time of `window_seconds`, of messages that have `of`."""
    fates = [fate for fate in history.fates.values() if fate.task == task and of in (fate.group or "")]
    began = sorted(run.began for fate in fates for run in fate.runs)
    return max(sum(first <= one <= first + window_seconds for one in began) for first in began)


def deliveries(history: History) -> int:
    """Return the most deliveries that a message had."""
    return max(len(fate.deliveries) for fate in history.fates.values())


@pytest.mark.parametrize(("concurrency", "batch_size"), [(12, 1), (3, 10)])
def test_what_exceeds_the_limit_comes_back_once(concurrency: int, batch_size: int) -> None:
    """Of 100 messages at once six run, and each of the others is delivered a second time, at its turn."""
    for history in histories(2, {"task": "limited", "count": 100}, concurrency=concurrency, batch_size=batch_size):
        assert history.problems() == []
        assert most_in(history, "limited", 60) <= 6 + 6
        assert most_in(history, "limited", 0.5 * HOUR) <= 180 + 6
        assert deliveries(history) <= 3
        assert history.ended_at < (100 - 6) * 10 + 120


def test_new_messages_wait_behind_those_that_have_turns() -> None:
    """A message every five seconds, at twice the rate: each runs in its turn, and none is overtaken for good."""
    for history in histories(2, {"task": "spread", "count": 120, "every": 5}):
        assert history.problems() == []
        assert most_in(history, "spread", 60) <= 6 + 1
        assert deliveries(history) <= 5


def test_each_value_has_a_limit_of_its_own() -> None:
    """One tenant's many messages hold back none of another's."""
    sent = [{"task": "limited_by_tenant", "count": 12, "tenant": tenant} for tenant in "ab"]
    for history in histories(12, *sent):
        assert history.problems() == []
        runs = sorted(run.began for fate in history.fates.values() for run in fate.runs)
        assert history.ended_at < 6 * HOUR
        assert max(sum(first <= one <= first + HOUR for one in runs) for first in runs) <= 2 * (2 + 1)


def test_a_turn_further_away_than_sqs_hides_a_message_is_kept() -> None:
    """Of sixty messages at two an hour the last one waits for thirty hours, with a delivery each twelve hours."""
    for history in histories(40, {"task": "limited_by_tenant", "count": 60, "tenant": "a"}, max_receive_count=5):
        assert history.problems() == []
        assert deliveries(history) <= 4


def test_a_message_whose_turn_comes_after_its_retention_is_a_dead_letter() -> None:
    """SQS would delete it without a word: it has a reason instead, and those with earlier turns run."""
    sent = {"task": "limited_by_tenant", "count": 12, "tenant": "a"}
    for history in histories(12, sent, retention_seconds=4 * HOUR):
        fates = history.fates.values()
        assert [len(fate.letters) for fate in fates].count(1) in (3, 4)
        assert all("rate limit" in letter["error_message"] for fate in fates for letter in fate.letters)
        assert not any(fate.expired for fate in fates)
        assert all(fate.runs or fate.letters for fate in fates)


def test_a_group_waits_in_its_order() -> None:
    """Messages of FIFO groups get turns one behind the other, so that none spends a delivery for each one before it."""
    sent = [{"task": "spread", "count": 10, "group": group} for group in "abc"]
    for history in histories(2, *sent, is_fifo=True, max_receive_count=5):
        assert history.problems() == []
        assert most_in(history, "spread", 60) <= 6 + 1


def test_a_function_that_was_away_does_not_run_all_that_is_late() -> None:
    """After an hour in which every invocation died, the messages whose turns are over come apart again."""
    dying: dict[str, Any] = {"crashes": 0.5, "crash_within_seconds": 20, "max_receive_count": 30}
    for history in histories(24, {"task": "limited", "count": 60}, **dying):
        assert [one for one in history.problems() if not one.startswith("took effect")] == []
        assert most_in(history, "limited", 60) <= 6 + 6


def test_an_outage_of_the_table_lets_nothing_through() -> None:
    """While turns cannot be had, nothing runs; then the rate holds, and no message died."""
    away = [Outage("turn", ends=HOUR), Outage("turn", begins=HOUR, part=0.3, seconds=1)]
    for history in histories(24, {"task": "limited", "count": 60}, outages=away, max_receive_count=20):
        assert history.problems() == []
        assert min(run.began for fate in history.fates.values() for run in fate.runs) >= HOUR
        assert most_in(history, "limited", 60) <= 6 + 6


def test_a_retry_takes_a_turn_too() -> None:
    """Each run counts: a message that is tried again waits for another turn."""
    for history in histories(4, {"task": "limited_and_recovering", "count": 40}, max_receive_count=10):
        assert history.problems() == []
        assert sum(len(fate.runs) for fate in history.fates.values()) == 80
        assert most_in(history, "limited_and_recovering", 60) <= 60 + 4


# One invocation.


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    limited.ran.clear()


def record_of(task: str, number: int, /, *, group: str | None = None, received: int = 1, **kwargs: Any) -> Record:
    system = {} if group is None else {"MessageGroupId": group, "SequenceNumber": str(number)}
    body = message_body(f"catalogue.limited.{task}", number=number, **kwargs)
    return sqs_record(body, ApproximateReceiveCount=str(received), **system)


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("task", ["call", "call_async", "call_alone"])
def test_what_exceeds_the_limit_is_hidden_until_its_turn(aws: FakeAws, task: str, concurrency: int) -> None:
    """Of five messages two run, and the others are hidden for one, two and three turns."""
    records = [record_of(task, number) for number in range(5)]
    made = worker(Settings(concurrency=concurrency), aws_url=aws.url, state=MemoryState())

    dispatched = Dispatched(made, *records)

    assert sorted(dispatched.outcomes) == ["deferred"] * 3 + ["succeeded"] * 2
    assert len(limited.ran) == 2
    assert sorted(aws.visibilities.values()) == pytest.approx([1800, 3600, 5400], abs=60)


def test_a_message_that_comes_too_early_keeps_its_turn(aws: FakeAws) -> None:
    """One that is delivered before its turn is hidden for the rest, and takes no other turn."""
    state = MemoryState()
    for number in range(3):
        record = record_of("call", number)
        Dispatched(worker(aws_url=aws.url, state=state), record)
    turn = aws.visibilities[record["receiptHandle"]]

    assert Dispatched(worker(aws_url=aws.url, state=state), record).outcomes == ["deferred"]
    assert aws.visibilities[record["receiptHandle"]] == pytest.approx(turn, abs=60)
    kept = state.record(record["messageId"], deadline=math.inf)
    assert kept is not None
    assert (kept.attempts, kept.reason) == (0, "it waits for its turn within the rate limit")


def test_a_limit_by_values_counts_each_of_them(aws: FakeAws) -> None:
    """Messages with other values run, and so do those of a batch task; a default counts as a value."""
    made = worker(aws_url=aws.url, state=MemoryState())
    one_by_one = [record_of("call_for", number, tenant=tenant) for number, tenant in enumerate("abab")]
    one_by_one += [record_of("call_for", 4), record_of("call_for", 5, tenant="none")]
    together = [record_of("call_together", number, tenant=tenant) for number, tenant in enumerate("abab")]

    dispatched = Dispatched(made, *one_by_one, *together)

    assert limited.ran == [("a", 0), ("b", 1), ("none", 4), [("a", 0), ("b", 1)]]
    assert dispatched.kept == [one["messageId"] for one in (*one_by_one[2:4], one_by_one[5], *together[2:])]


def test_a_turn_that_comes_at_once_is_waited_for() -> None:
    """Messages whose turns are half a second apart run in one invocation, and cost no delivery."""
    dispatched = Dispatched(worker(state=MemoryState()), *(record_of("call_soon", number) for number in range(3)))
    assert (dispatched.outcomes, limited.ran) == (["succeeded"] * 3, [0, 1, 2])


def test_a_group_behind_a_waiting_message_gets_turns_in_order(aws: FakeAws) -> None:
    """Each message of a FIFO group has a turn behind that of the one before it."""
    records = [record_of("call", number, group="a") for number in range(5)]

    dispatched = Dispatched(worker(aws_url=aws.url, state=MemoryState()), *records)

    assert (dispatched.kept, limited.ran) == ([one["messageId"] for one in records[2:]], [0, 1])
    hidden = [aws.visibilities[one["receiptHandle"]] for one in records[2:]]
    assert hidden == pytest.approx([1800, 3600, 5400], abs=60)


def test_without_a_table_a_limited_task_is_refused(aws: FakeAws) -> None:
    """Nobody would count: the message is rejected with what to do, and does not run."""
    dispatched = Dispatched(worker(aws_url=aws.url), record_of("call", 1))

    assert (dispatched.outcomes, limited.ran) == (["rejected"], [])
    assert isinstance(dispatched.errors[0], InvalidTask)
    assert "set LAMBDA_TASKS_TABLE" in str(dispatched.errors[0])


def test_where_messages_run_as_they_are_enqueued_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a TaskQueue and in the mode eager a limit holds nothing back, as delays do not."""
    with TaskQueue() as queue:
        for number in range(4):
            limited.call.enqueue(number=number)
        assert [one.outcome for one in queue.run()] == ["succeeded"] * 4
    monkeypatch.setenv("LAMBDA_TASKS_MODE", "eager")
    for number in range(4):
        limited.call.enqueue(number=number)
    assert len(limited.ran) == 8


def test_a_direct_event_that_has_to_wait_longer_than_its_invocation_is_deferred() -> None:
    """Whoever invoked the function is told; nothing ran."""
    made = worker(state=MemoryState())
    event = {"task_name": "catalogue.limited.call", "kwargs": {"number": 1}}
    first, second, third = Context(60), Context(60), Context(60)
    for number, context in enumerate((first, second, third)):
        context.aws_request_id = f"request-{number}"
    dispatch(event, first, made)
    dispatch(event, second, made)
    with pytest.raises(MessageDeferred):
        dispatch(event, third, made)
    assert limited.ran == [1, 1]
