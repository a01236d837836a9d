"""Hours of a queue, its function and its table, in simulated time: what may be lost, run twice, or die unrun."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from simulation import HOUR, Fate, History, Outage, Simulation

pytestmark = pytest.mark.usefixtures("uncovered")

SEEDS = range(8)


def problems(hours: float, *messages: dict[str, Any], **options: Any) -> list[str]:
    """Run a scenario with every seed, and return what must not be."""
    found = []
    for seed in SEEDS:
        with Simulation(seed=seed, **options) as simulation:
            for some in messages:
                simulation.send(**some)
            history = simulation.run(hours=hours)
        found += [f"seed {seed}: {problem}" for problem in history.problems()]
    return found


# The simulation itself.


def test_a_seed_gives_the_same_history_again() -> None:
    """Two simulations of one seed have the same deliveries, runs and deaths."""

    def history() -> dict[str, Fate]:
        with Simulation(seed=3, crashes=0.3, outages=[Outage("table", part=0.2, seconds=1)]) as simulation:
            simulation.send("ordinary", 30)
            return simulation.run(hours=3).fates

    assert history() == history()


def test_sqs_redrives_what_is_received_too_often() -> None:
    """A message whose invocations all die goes to the dead-letter queue by SQS, which gives no reason."""
    with Simulation(crashes=1, crash_within_seconds=0.001, max_receive_count=3, visibility_seconds=60) as simulation:
        simulation.send("ordinary")
        history = simulation.run(hours=1)

    (fate,) = history.fates.values()
    assert [round(delivery.at) for delivery in fate.deliveries] == [0, 60, 120]
    assert fate.redriven
    assert [problem.partition(":")[0] for problem in history.problems()] == ["dead without a reason", "died unrun"]


def test_a_message_expires_at_the_end_of_its_retention() -> None:
    """A message that nobody could delete is gone when its retention ends."""
    with Simulation(
        crashes=1, crash_within_seconds=0.001, max_receive_count=1000, retention_seconds=HOUR
    ) as simulation:
        simulation.send("ordinary")
        history = simulation.run(hours=2)

    (fate,) = history.fates.values()
    assert fate.expired
    assert HOUR <= history.ended_at < 2 * HOUR


def test_lambda_ends_an_invocation_at_the_functions_timeout() -> None:
    """An invocation that takes longer than the function may is over at once, and another environment takes its place."""
    with Simulation(
        timeout_seconds=10,
        outages=[Outage("table", seconds=1000), Outage("ChangeMessageVisibilityBatch")],
        concurrency=1,
    ) as simulation:
        simulation.send("ordinary", 10)
        history = simulation.run(hours=0.1)

    assert all(delivery.at % 60 < 20 for fate in history.fates.values() for delivery in fate.deliveries)


def test_a_task_is_stopped_at_its_limit() -> None:
    """A task that takes longer than the invocation has is stopped in simulated time."""
    with Simulation(timeout_seconds=30, max_receive_count=2) as simulation:
        simulation.send("ordinary", seconds=100)
        history = simulation.run(hours=1)

    (fate,) = history.fates.values()
    assert [(run.how, round(run.ended - run.began)) for run in fate.runs[:1]] == [("interrupted", 28)]


def test_messages_of_a_fifo_group_are_delivered_in_order() -> None:
    """None is delivered while an earlier one of its group is in flight."""
    with Simulation(is_fifo=True, batch_size=3) as simulation:
        for group in "ab":
            simulation.send("ordinary", 10, group=group, seconds=10)
        history = simulation.run(hours=1)

    assert history.problems() == []
    for group in "ab":
        runs = [run for fate in history.fates.values() if fate.group == group for run in fate.runs]
        assert all(before.ended <= after.began for before, after in itertools.pairwise(runs))


@pytest.mark.parametrize(
    ("fate", "expected"),
    [
        (Fate("id", "ordinary", None, 0), "is left in the queue"),
        (Fate("id", "ordinary", None, 0, deleted_at=1), "deleted unrun"),
        (Fate("id", "ordinary", None, 0, redriven=True), "dead without a reason"),
        (Fate("id", "ordinary", None, 0, letters=[{"error_message": "m"}]), "died unrun"),
        (Fate("id", "ordinary", None, 0, expired=True), "expired"),
    ],
)
def test_what_must_not_be_is_told(fate: Fate, expected: str) -> None:
    """A fate that no message may have is a problem."""
    found = History({"id": fate}, {}, 0, 1).problems()

    assert found[0].startswith(expected)


# What holds, whatever happens.


def test_ordinary_messages_run_once_whatever_dies_and_is_delivered_twice() -> None:
    """Deaths and duplicates cost no message, and repeat no effect that was recorded."""
    found = problems(6, {"task": "ordinary", "count": 30}, crashes=0.2, crash_within_seconds=6, duplicates=0.3)

    assert found == []


def test_a_fifo_group_keeps_its_order_whatever_dies() -> None:
    """Deaths and duplicates never let a later message of a group run before an earlier one is through."""
    groups = [{"task": "ordinary", "count": 12, "group": group} for group in "abc"]

    assert problems(12, *groups, is_fifo=True, crashes=0.2, crash_within_seconds=6, max_receive_count=100) == []


def test_a_fifo_group_keeps_its_order_while_leases_are_throttled() -> None:
    """A lease that is not to be had holds back the messages behind it."""
    throttled = [Outage("start", part=0.3, ends=HOUR, seconds=1)]
    groups = [{"task": "ordinary", "count": 12, "group": group} for group in "abc"]

    assert problems(24, *groups, is_fifo=True, outages=throttled, max_receive_count=100) == []


# Receives are a budget.


@pytest.mark.parametrize(("concurrency", "batch_size"), [(12, 1), (4, 3), (2, 10)])
def test_a_dozen_messages_of_a_singleton_all_run(concurrency: int, batch_size: int) -> None:
    """Twelve messages of a singleton that takes a minute, and ten receives for each: none dies unrun."""
    twelve = {"task": "alone", "count": 12, "seconds": 60}

    assert problems(24, twelve, concurrency=concurrency, batch_size=batch_size) == []


def test_messages_of_a_singleton_that_keep_coming_all_run() -> None:
    """One message a minute of a singleton that takes fifty seconds, among others: none dies unrun."""
    alone = {"task": "alone", "count": 40, "every": 60, "seconds": 50}

    assert problems(24, alone, {"task": "ordinary", "count": 200, "every": 10}) == []


def test_a_long_line_for_a_singleton_gets_through() -> None:
    """Thirty messages of a singleton that takes a minute, and ten receives for each: none dies unrun."""
    assert problems(24, {"task": "alone", "count": 30, "seconds": 60}, concurrency=8, batch_size=1) == []


def test_a_singleton_that_stays_busy_gives_a_reason() -> None:
    """A message that had no turn within its receives is a dead letter with a reason."""
    with Simulation(max_receive_count=2, timeout_seconds=900, concurrency=4, batch_size=1) as simulation:
        simulation.send("alone", 4, seconds=850)
        history = simulation.run(hours=24)

    assert [problem for problem in history.problems() if problem.startswith("dead without a reason")] == []


@pytest.mark.parametrize(
    "timeout_seconds",
    [
        10,
        30,
        120,
    ],
)
def test_an_outage_of_the_table_for_an_hour_kills_no_message(timeout_seconds: float) -> None:
    """While the table is away messages are hidden for longer and longer, and run when it is back."""
    away = [Outage("table", ends=HOUR)]
    messages = {"task": "ordinary", "count": 40, "every": 60}

    assert problems(24, messages, outages=away, timeout_seconds=timeout_seconds) == []


def test_a_throttled_table_kills_no_message() -> None:
    """A table that refuses half of all calls for an hour costs neither a message nor a second effect."""
    throttled = [Outage("table", ends=HOUR, part=0.5, seconds=1)]

    assert problems(24, {"task": "ordinary", "count": 100, "every": 20}, outages=throttled) == []


def test_a_success_that_the_table_does_not_take_is_deleted() -> None:
    """A table that takes leases and no outcomes costs no second effect."""
    assert problems(12, {"task": "ordinary", "count": 20}, outages=[Outage("finish", ends=HOUR)]) == []


def test_sqs_that_changes_no_visibility_costs_no_message() -> None:
    """While the visibility cannot be changed the queue's own timeout decides, and every death has its reason."""
    away = [Outage("ChangeMessageVisibilityBatch", ends=HOUR), Outage("ChangeMessageVisibility", ends=HOUR)]
    with Simulation(max_receive_count=3, timeout_seconds=30, outages=away) as simulation:
        simulation.send("alone", 8, seconds=25)
        history = simulation.run(hours=12)

    assert [problem for problem in history.problems() if problem.startswith("dead without a reason")] == []


# Final is final.


def test_a_failed_message_whose_letter_was_not_sent_does_not_run_again() -> None:
    """A dead-letter queue that refuses half of all letters for an hour costs neither a second run nor a letter."""
    refusing = [Outage("SendMessage", ends=HOUR, part=0.5, seconds=1)]

    assert problems(24, {"task": "failing", "count": 40, "every": 30}, outages=refusing) == []


def test_a_failed_message_that_is_delivered_twice_has_one_letter() -> None:
    """A duplicate of a failed message runs nothing, and sends no second letter."""
    assert problems(6, {"task": "failing", "count": 30}, duplicates=0.5) == []


def test_a_message_is_not_skipped_for_its_own_dead_attempt() -> None:
    """A redelivery that finds the singleton held by its own dead attempt does not count as skipped."""
    skipped = {"task": "alone_or_skipped", "count": 10, "every": 500, "seconds": 30}
    # Lambda refuses a visibility timeout below the function's timeout: this is the shortest.
    shortest: dict[str, Any] = {"timeout_seconds": 60, "visibility_seconds": 60}

    assert problems(12, skipped, **shortest, crashes=0.5, crash_within_seconds=30) == []
