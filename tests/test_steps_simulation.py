"""Hours of work in steps, in simulated time: messages that go on in fresh invocations, and those that take over."""

from __future__ import annotations

import collections
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_tasks.state.record import StoredRecord
from lambda_tasks.state.steps import KeptStep
from lambda_tasks.workflow import marks, progress
from simulation import HOUR, Fate, History, Outage, Simulation
from stores import soon

pytestmark = pytest.mark.usefixtures("uncovered")

FUNCTION_SECONDS = 900.0


def first_of(history: History) -> Fate:
    """Return the fate of the message that was sent first."""
    return next(iter(history.fates.values()))


def record_of(simulation: Simulation, fate: Fate) -> StoredRecord:
    found = simulation.state.record(fate.message_id, deadline=soon())
    assert found is not None
    return found


def chain(history: History) -> list[int]:
    """Return how often each message of the work was delivered, in order."""
    return [len(fate.deliveries) for fate in history.fates.values()]


def test_six_hours_of_work_in_functions_of_fifteen_minutes() -> None:
    """It goes on by visibility, and before a message's last delivery in a new one; nothing is done twice."""
    with Simulation(timeout_seconds=FUNCTION_SECONDS, max_receive_count=5, batch_size=1) as simulation:
        simulation.send("stepping", pages=360, seconds=60)
        history = simulation.run(hours=8)
        record = record_of(simulation, first_of(history))

    assert chain(history) == [4, 4, 4, 4, 4, 4, 2]
    assert 6 * HOUR < history.ended_at < 6.6 * HOUR
    assert [effect.name for effect in simulation.effects] == ["before", *[f"page {one}" for one in range(360)], "after"]
    assert all(
        fate.deleted_at is not None and not fate.letters and not fate.redriven for fate in history.fates.values()
    )
    assert (record.status.value, record.result, record.attempts) == ("succeeded", "360", 1)
    shown = progress.of_text(record.steps)
    assert shown is not None
    assert (shown.name, shown.done, shown.total, shown.seconds_left) == ("page", 360, 360, 0.0)
    assert shown.rate == pytest.approx(1 / 60, rel=0.01)


def test_a_queue_without_a_limit_needs_no_other_message() -> None:
    """Where deliveries are not counted, visibility is enough."""
    with Simulation(timeout_seconds=FUNCTION_SECONDS, max_receive_count=1000, batch_size=1) as simulation:
        simulation.send("stepping", pages=100, seconds=60)
        history = simulation.run(hours=3)

    assert len(history.fates) == 1
    assert len(simulation.effects) == 102


@pytest.mark.parametrize("max_receive_count", [1, 2, 3])
def test_any_limit_of_deliveries_is_enough(max_receive_count: int) -> None:
    """A message hands over at its last delivery at the latest."""
    with Simulation(timeout_seconds=FUNCTION_SECONDS, max_receive_count=max_receive_count, batch_size=1) as simulation:
        simulation.send("stepping", pages=60, seconds=60)
        history = simulation.run(hours=3)

    assert len(simulation.effects) == 62
    assert not any(fate.letters or fate.redriven for fate in history.fates.values())
    assert max(chain(history)) == max(1, max_receive_count - 1)


def test_steps_one_after_the_other_go_on_in_fresh_invocations() -> None:
    """A step that the end of an invocation cut short is run again with the time of a whole one."""
    with Simulation(timeout_seconds=FUNCTION_SECONDS, max_receive_count=5, batch_size=1) as simulation:
        simulation.send("sequence", seconds=500, parts=5)
        history = simulation.run(hours=3)
        record = record_of(simulation, first_of(history))

    done = [effect.name for effect in simulation.effects if effect.ended is not None]
    assert done == [f"step {one}" for one in range(5)]
    assert record.status.value == "succeeded"
    assert record.attempts == 1
    assert record.first_failed_at is None


def test_a_step_that_no_invocation_has_time_for_fails() -> None:
    """Its message is a dead letter with the reason, and is not delivered for ever."""
    with Simulation(timeout_seconds=FUNCTION_SECONDS, max_receive_count=5, batch_size=1) as simulation:
        simulation.send("sequence", seconds=1000, parts=2)
        history = simulation.run(hours=3)

    fate = first_of(history)
    assert len(fate.deliveries) == 1
    assert [letter["error_type"] for letter in fate.letters] == ["HardTimeLimitExceeded"]


def test_an_item_that_no_invocation_has_time_for_fails() -> None:
    """It is given a whole invocation once, behind those that were done."""
    with Simulation(timeout_seconds=FUNCTION_SECONDS, max_receive_count=5, batch_size=1) as simulation:
        simulation.send("stepping", pages=2, seconds=2000)
        history = simulation.run(hours=3)

    fate = first_of(history)
    assert len(fate.deliveries) == 2
    assert [letter["error_type"] for letter in fate.letters] == ["HardTimeLimitExceeded"]


def test_on_a_fifo_queue_the_limit_of_deliveries_is_that_of_the_work() -> None:
    """No other message may take over there: at the last delivery the message fails, and says why."""
    with Simulation(timeout_seconds=FUNCTION_SECONDS, max_receive_count=3, batch_size=1, is_fifo=True) as simulation:
        simulation.send("stepping", pages=100, seconds=60, group="g")
        simulation.send("ordinary", group="g")
        history = simulation.run(hours=3)

    stepping, ordinary = history.fates.values()
    assert len(stepping.deliveries) == 3
    (letter,) = stepping.letters
    assert letter["error_type"] == "DeliveriesExhausted"
    assert "its steps go on" in letter["error_message"]
    assert "maxReceiveCount" in letter["error_message"]
    assert ordinary.deleted_at is not None
    assert stepping.deleted_at is not None
    assert ordinary.runs[0].began >= stepping.deleted_at


def test_a_fifo_group_waits_for_the_work_of_its_first_message() -> None:
    """While that goes on, no later one runs."""
    with Simulation(timeout_seconds=FUNCTION_SECONDS, max_receive_count=20, is_fifo=True) as simulation:
        simulation.send("stepping", pages=60, seconds=60, group="g")
        simulation.send("ordinary", group="g")
        history = simulation.run(hours=3)

    stepping, ordinary = history.fates.values()
    assert not stepping.letters
    assert len(stepping.deliveries) == 5
    assert ordinary.runs[0].began >= max(effect.ended or 0.0 for effect in simulation.effects)


def test_retries_are_not_charged_for_going_on() -> None:
    """Three retries are three retries, however often the work went on before, and whatever its queue allows."""
    with Simulation(timeout_seconds=FUNCTION_SECONDS, max_receive_count=3, batch_size=1) as simulation:
        simulation.send("stepping", pages=100, seconds=60, fails_at=(30, 55, 80))
        history = simulation.run(hours=6)
        record = record_of(simulation, first_of(history))

    assert record.status.value == "succeeded"
    assert record.attempts == 4
    assert not any(fate.letters or fate.redriven for fate in history.fates.values())
    counts = collections.Counter(effect.name for effect in simulation.effects)
    assert {name for name, count in counts.items() if count > 1} == {"page 30", "page 55", "page 80"}


def test_a_singleton_goes_on_before_another_one_begins() -> None:
    """Its lease is held until the next delivery, of its own message or of the one that takes over."""
    with Simulation(timeout_seconds=FUNCTION_SECONDS, max_receive_count=8, batch_size=1) as simulation:
        simulation.send("stepping_alone", 2, pages=40, seconds=60)
        history = simulation.run(hours=6)

    numbers = [effect.name.rpartition(" ")[2] for effect in simulation.effects]
    assert numbers in (["0"] * 40 + ["1"] * 40, ["1"] * 40 + ["0"] * 40)
    assert not any(fate.letters or fate.redriven for fate in history.fates.values())


class Watch:
    """The steps that are kept in a simulation, each with the time and the place of the loop."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.writes: list[tuple[float, str, int]] = []
        state = simulation.state
        self._keep = state.keep_step
        state.keep_step = self.keep_step  # type: ignore[method-assign]

    def keep_step(
        self, message_id: str, owner: str, steps: str, kept: KeptStep | None = None, *, deadline: float
    ) -> None:
        self._keep(message_id, owner, steps, kept, deadline=deadline)
        loop = marks.read(steps).loops.get("page")
        name, done = "" if kept is None else kept.name, 0 if loop is None else loop.done
        self.writes.append((self._simulation.schedule.now, name, done))

    def repeated(self) -> list[str]:
        """Return what began though an earlier write says that it was finished."""
        return [
            effect.name
            for effect in self._simulation.effects
            for at, name, done in self.writes
            if at < effect.began
            and (effect.name == name or (effect.name.startswith("page ") and int(effect.name[5:]) < done))
        ]


def test_the_place_is_written_seldom() -> None:
    """A thousand items of a second take a few dozen writes."""
    with Simulation(timeout_seconds=FUNCTION_SECONDS, max_receive_count=5, batch_size=1) as simulation:
        watch = Watch(simulation)
        simulation.send("stepping", pages=1000, seconds=1, before=1)
        simulation.run(hours=1)

    assert len(simulation.effects) == 1002
    assert len(watch.writes) < 60


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    pages=st.integers(0, 40),
    seconds=st.sampled_from([5.0, 40.0, 80.0]),
    timeout_seconds=st.sampled_from([120.0, 900.0]),
    max_receive_count=st.sampled_from([2, 5, 30]),
    crashes=st.sampled_from([0.0, 0.15]),
    fails=st.booleans(),
    outage=st.sampled_from(["", "table", "keep_step", "kept_step", "release", "sqs"]),
    duplicates=st.sampled_from([0.0, 0.2]),
)
def test_work_comes_to_its_end_whatever_happens(
    seed: int,
    pages: int,
    seconds: float,
    timeout_seconds: float,
    max_receive_count: int,
    crashes: float,
    fails: bool,  # noqa: FBT001
    outage: str,
    duplicates: float,
) -> None:
    """Deaths, duplicates, retries, outages and ends of invocations lose nothing, and repeat nothing that was kept."""
    outages = [Outage(outage, begins=50, ends=400, part=0.4, seconds=1)] if outage else []
    is_calm = not (crashes or duplicates or outage)
    with Simulation(
        seed=seed,
        timeout_seconds=timeout_seconds,
        max_receive_count=max_receive_count if is_calm else 40,  # crashes and outages spend deliveries as well
        batch_size=1,
        outages=outages,
        crashes=crashes,
        crash_within_seconds=200,
        duplicates=duplicates,
    ) as simulation:
        watch = Watch(simulation)
        simulation.send("stepping", pages=pages, seconds=seconds, before=20, fails_at=[pages // 2] if fails else [])
        history = simulation.run(hours=48)
        record = record_of(simulation, first_of(history))

    ended = [effect for effect in simulation.effects if effect.ended is not None]
    told = [fate.told() for fate in history.fates.values()]
    assert record.status.value == "succeeded" or outage, told  # a success that the table does not take is one too
    assert all(fate.deleted_at is not None for fate in history.fates.values()), told
    assert not any(fate.letters or fate.redriven for fate in history.fates.values()), told
    assert {effect.name for effect in ended} == {"before", *(f"page {one}" for one in range(pages)), "after"}
    assert watch.repeated() == []
    assert all(one.ended <= two.began for one, two in itertools.pairwise(ended) if one.ended is not None)
    if is_calm:
        counts = collections.Counter(effect.name for effect in ended)
        repeated = [name for name, count in counts.items() if count > 1]
        assert repeated == ([f"page {pages // 2}"] if fails and pages else [])
