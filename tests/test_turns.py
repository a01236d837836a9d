"""The turns of rate limits: how many messages run in any time, whoever is late."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stores
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.state.protocol import Attempt, Started, State
from lambda_tasks.state.record import Ending, Status
from lambda_tasks.state.turns import RateLimit, decide
from memory_state import MemoryState
from stores import DAY, Clock, create_table, dynamodb_state, soon


@pytest.fixture(scope="module")
def table(embedded_aws: EmbeddedAws) -> str:
    return create_table(embedded_aws)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "dynamodb"])
def state(request: pytest.FixtureRequest, clock: Clock) -> Iterator[State]:
    if request.param == "memory":
        yield MemoryState(clock=clock, record_ttl_seconds=14 * DAY)
        return
    aws: EmbeddedAws = request.getfixturevalue("embedded_aws")
    with stores.transport(aws.environ()) as transport:
        yield dynamodb_state(transport, request.getfixturevalue("table"), clock)


def limit(interval_seconds: float = 10, burst: int = 1) -> RateLimit:
    return RateLimit(str(uuid.uuid4()), interval_seconds, burst)


def turn(state: State, of: RateLimit, turn_at: float | None = None, patience_seconds: float = 0) -> float | None:
    return state.turn(of, turn_at=turn_at, patience_seconds=patience_seconds, deadline=soon())


def test_a_burst_runs_at_once_and_the_others_get_turns_apart(state: State, clock: Clock) -> None:
    """Each message beyond the burst has a turn of its own, as far from the one before it as the rate says."""
    ours, start = limit(10, burst=3), clock.now

    assert [turn(state, ours) for _ in range(6)] == [None, None, None, start + 10, start + 20, start + 30]


def test_a_message_runs_at_its_turn(state: State, clock: Clock) -> None:
    """A message that comes at its turn runs, and a new one waits behind those that have turns."""
    ours, start = limit(10), clock.now
    assert [turn(state, ours) for _ in range(3)] == [None, start + 10, start + 20]
    clock.advance(10)
    assert turn(state, ours) == start + 30
    assert turn(state, ours, start + 10) is None
    clock.advance(10)
    assert turn(state, ours, start + 20) is None


def test_those_that_come_late_together_do_not_run_together(state: State, clock: Clock) -> None:
    """After a pause no more than a burst runs at once; the others get turns that are apart again."""
    ours, start = limit(10, burst=2), clock.now
    turns = [turn(state, ours) for _ in range(7)]
    assert turns == [None, None, *(start + 10 * number for number in range(1, 6))]
    clock.advance(1000)

    late = [turn(state, ours, one) for one in turns[2:]]

    assert late == [None, None, clock.now + 10, clock.now + 20, clock.now + 30]
    assert turn(state, ours) == clock.now + 40  # a new one is not let in before them


def test_a_late_one_may_wait_a_moment(state: State, clock: Clock) -> None:
    """With patience, a message whose turn has come is told when it may run, and keeps its place."""
    ours, start = limit(10), clock.now
    _, second, third = (turn(state, ours) for _ in range(3))
    clock.advance(21)
    assert turn(state, ours, second) is None

    assert turn(state, ours, third, patience_seconds=1) == clock.now

    clock.advance(0.1)
    assert turn(state, ours, third) is None
    assert turn(state, ours) == start + 41  # it is behind what ran late


def test_limits_do_not_know_each_other(state: State) -> None:
    """A limit that is used up holds nothing back of another one."""
    first, second = limit(), limit()
    assert turn(state, first) is None
    assert turn(state, first) is not None
    assert turn(state, second) is None


def test_many_at_once_share_a_limit(state: State, clock: Clock) -> None:
    """Threads that ask at the same time get a burst between them, and no turn twice."""
    ours = limit(0.6, burst=10)
    with ThreadPoolExecutor(8) as pool:
        turns = list(pool.map(lambda _: turn(state, ours), range(60)))

    given_turns = sorted(one for one in turns if one is not None)
    assert turns.count(None) == 10
    assert given_turns == pytest.approx([clock.now + 0.6 * number for number in range(1, 51)], abs=0.001)


def test_a_record_keeps_a_turn_that_was_not_used(state: State, clock: Clock) -> None:
    """The next attempt at a message is told of the turn that it has; after an attempt that used it there is none."""
    first = Attempt(str(uuid.uuid4()), "shop.tasks.send", 60)

    def again(ending: Ending) -> float | None:
        attempt = Attempt(first.message_id, first.task, 60)
        answer = state.start(attempt, deadline=soon())
        assert isinstance(answer, Started)
        state.release(attempt, ending, deadline=soon())
        return answer.turn_at

    assert again(Ending(Status.DEFERRED, turn_at=clock.now + 0.25)) is None
    assert again(Ending(Status.RETRYING)) == clock.now + 0.25
    assert again(Ending(Status.DEFERRED)) is None


@settings(max_examples=100, deadline=None)
@given(
    burst=st.integers(1, 5),
    arrivals=st.lists(st.integers(0, 200), min_size=1, max_size=60),
    delays=st.lists(st.integers(0, 90), min_size=1, max_size=10),
)
def test_no_time_holds_more_than_the_rate_and_one_burst(burst: int, arrivals: list[int], delays: list[int]) -> None:
    """Whenever messages come, and however late, each window holds the rate's number and a burst, which is two at least."""
    ours, interval = RateLimit("key", 10, burst), 10.0
    times, ran = (0.0, 0.0), []
    waiting: list[tuple[float, float | None]] = [(float(at), None) for at in arrivals]
    for number in range(10_000):
        if not waiting:
            break
        waiting.sort(key=lambda one: one[0])
        now, mine = waiting.pop(0)
        given_to, used_to, at = decide(ours, times, now, turn_at=mine, patience_seconds=0)
        times = given_to, used_to
        if at is None:
            ran.append(now)
        else:
            assert at > now
            waiting.append((at + delays[number % len(delays)], at))

    assert len(ran) == len(arrivals)
    for first, begin in enumerate(ran):
        for last in range(first, len(ran)):
            assert last - first + 1 <= (ran[last] - begin) / interval + max(burst, 2)
