"""Time limits: the plan, as pure functions, and what tasks notice of it in the main thread, in threads and in the loop."""

from __future__ import annotations

import math
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogue import tasks
from events import message_body, sqs_event, sqs_record
from lambda_tasks.definition.options import Options
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.errors import HardTimeLimitExceeded, SoftTimeLimitExceeded
from lambda_tasks.limits import timeouts
from lambda_tasks.limits.timeouts import FunctionTime, Limits
from lambda_tasks.messages.sqs_event import Record
from lambda_tasks.settings import Settings
from workers import Dispatched, reports, worker

pytestmark = pytest.mark.usefixtures("nothing_ran")


def record_of(task_name: str, /, **kwargs: object) -> Record:
    return sqs_record(message_body(f"catalogue.tasks.{task_name}", **kwargs))


@pytest.mark.parametrize(
    ("options", "settings", "available", "expected"),
    [
        ({}, {}, 50, (math.inf, 50)),
        ({"hard_timeout": 30}, {}, 50, (math.inf, 30)),
        ({"hard_timeout": 90}, {}, 50, (math.inf, 50)),
        ({"soft_timeout": 60, "hard_timeout": 90}, {}, 100, (60, 90)),
        ({"soft_timeout": 60, "hard_timeout": 90}, {}, 45, (30, 45)),
        ({"soft_timeout": 60}, {}, 50, (45, 50)),
        ({"soft_timeout": 20}, {}, 50, (20, 50)),
        ({}, {"soft_timeout_seconds": 10, "hard_timeout_seconds": 20}, 50, (10, 20)),
        ({"hard_timeout": 5}, {"soft_timeout_seconds": 10, "hard_timeout_seconds": 20}, 50, (math.inf, 5)),
        ({"hard_timeout": 40}, {"soft_timeout_seconds": 10, "hard_timeout_seconds": 20}, 50, (10, 40)),
        ({}, {}, math.inf, (math.inf, math.inf)),
        ({"soft_timeout": 1}, {}, math.inf, (1, math.inf)),
        ({"hard_timeout": 5}, {}, 0, (math.inf, 0)),
    ],
)
def test_limits_are_the_tasks_own_within_what_is_left(
    options: dict[str, float], settings: dict[str, float], available: float, expected: tuple[float, float]
) -> None:
    """A task has its own limits, else the settings', and never more than the invocation has left."""
    limits = timeouts.limits(Options.check(options), Settings(**settings), available)  # type: ignore[arg-type]
    assert (limits.soft, limits.hard) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "left", "starts"),
    [
        ({}, 0.5, True),
        ({}, 0, False),
        ({"hard_timeout": 30}, 30, True),
        ({"hard_timeout": 30}, 29, False),
        ({"hard_timeout": 300}, 57.5, True),
        ({"hard_timeout": 300}, 56, False),
        ({"soft_timeout": 30}, 1, True),
    ],
)
def test_only_an_explicit_hard_timeout_keeps_a_task_from_starting(
    options: dict[str, float], left: float, *, starts: bool
) -> None:
    """If a fresh invocation gives 58 s, a task waits for what it says it needs of them, and no longer."""
    assert timeouts.may_start(Options.check(options), left, 58) is starts


def test_what_a_fresh_invocation_gives_is_the_most_that_was_seen() -> None:
    """The first invocation may have less, after an init phase that was tried again; the longest one counts."""
    function_time = FunctionTime()
    assert function_time.start(20, 2, now=0).fresh_seconds == 18
    assert function_time.start(60, 2, now=100).tasks_end_at == 158
    late = function_time.start(30, 2, now=200)
    assert (late.tasks_end_at, late.fresh_seconds, late.ends_at) == (228, 58, 230)


def test_the_margin_leaves_short_functions_their_time() -> None:
    """A function with a timeout of 3 s does not give 2 of them away."""
    assert timeouts.margin_within(3, 2) == pytest.approx(0.6)
    assert timeouts.margin_within(60, 2) == 2
    assert timeouts.margin_within(-1, 2) == 0


@given(st.floats(0.01, 900), st.floats(0, 900), st.floats(0.01, 900) | st.none(), st.floats(0.01, 900) | st.none())
def test_a_task_that_had_its_time_is_never_deferred(
    fresh: float, left: float, soft: float | None, hard: float | None
) -> None:
    """A task with as much time as a fresh invocation gives is not deferred; one with half of it is, if it had to stop."""
    if soft is not None and hard is not None and soft >= hard:
        soft = None
    options = Options(soft_timeout=soft, hard_timeout=hard)
    whole = timeouts.limits(options, Settings(), fresh)
    given_now = timeouts.limits(options, Settings(), min(left, fresh))
    for now, then in ((given_now.soft, whole.soft), (given_now.hard, whole.hard)):
        assert not timeouts.was_cut_short(then, then)
        if now < then / 2 and then > 0.25:
            assert timeouts.was_cut_short(now, then)
    assert given_now.soft >= given_now.hard or given_now.soft <= whole.soft


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("task", ["overrun", "overrun_async", "block_the_loop", "refuse_to_end"])
def test_a_hard_timeout_ends_a_task_in_every_mode(task: str, concurrency: int) -> None:
    """In the main thread, in a thread and in the loop a task ends at its hard timeout, and the others go on."""
    made = worker(Settings(concurrency=concurrency))
    records = [record_of("add", number=1), record_of(task), record_of("add", number=2)]
    dispatched = Dispatched(made, *records, seconds=5)
    assert dispatched.outcomes == ["succeeded", "failed", "succeeded"]
    assert isinstance(dispatched.errors[1], HardTimeLimitExceeded)
    assert dispatched.kept == [records[1]["messageId"]]
    assert "swallowed" not in tasks.seen


def test_limits_hold_after_an_async_task_of_the_same_group() -> None:
    """The event loop has the timer for itself, and the ordinary task after it has it again."""
    fifo = {"MessageGroupId": "g", "SequenceNumber": "1"}
    names: list[tuple[str, dict[str, object]]] = [
        ("hold_time", {"seconds": 0.3}),
        ("meet", {"number": 1, "of": 1}),
        ("hold_time", {"seconds": 10}),
    ]
    records = [sqs_record(message_body(f"catalogue.tasks.{name}", **kwargs), **fifo) for name, kwargs in names]
    dispatched = Dispatched(worker(), *records, seconds=1)
    assert dispatched.outcomes == ["succeeded", "succeeded", "deferred"]


def test_limits_hold_in_an_async_task_after_an_ordinary_one_of_its_group() -> None:
    """The rest of the ordinary task's timer is not taken for that of the event loop."""
    fifo = {"MessageGroupId": "g", "SequenceNumber": "1"}
    records = [sqs_record(message_body(f"catalogue.tasks.{name}"), **fifo) for name in ("be_quick", "block_the_loop")]
    assert Dispatched(worker(), *records, seconds=5).outcomes == ["succeeded", "failed"]


def test_a_thread_that_cannot_be_stopped_is_left_behind() -> None:
    """A thread in a system call is not waited for beyond its limit: another takes its place, and the rest is run."""
    records = [record_of("sleep_on"), *[record_of("hold_time", seconds=0.1) for _ in range(4)]]
    dispatched = Dispatched(worker(Settings(concurrency=2)), *records, seconds=3)
    assert dispatched.outcomes == ["failed", *["succeeded"] * 4]
    # Python 3.11 lets no thread go on that is traced while another one has yet to take an exception.
    assert sys.gettrace() is not None or "could not be stopped" in str(dispatched.errors[0])


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("task", ["clean_up", "clean_up_async"])
def test_a_soft_timeout_lets_a_task_clean_up(task: str, concurrency: int) -> None:
    """A task that catches its soft timeout and returns has succeeded."""
    made = worker(Settings(concurrency=concurrency))
    assert Dispatched(made, record_of(task), record_of(task)).outcomes == ["succeeded", "succeeded"]


def test_a_soft_timeout_that_gets_out_is_a_failure_to_retry_on() -> None:
    """An uncaught soft timeout is an error of the task."""
    settings = Settings(soft_timeout_seconds=0.05)
    dispatched = Dispatched(worker(settings), record_of("hold_time", seconds=10))
    assert dispatched.outcomes == ["failed"]
    assert isinstance(dispatched.errors[0], SoftTimeLimitExceeded)


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_soft_timeout_alone_needs_no_end_of_the_invocation(concurrency: int) -> None:
    """Without a context nothing else limits the task, and the soft timeout is raised all the same."""
    made = worker(Settings(concurrency=concurrency))
    records = [record_of("clean_up_at_leisure"), record_of("clean_up_at_leisure")]
    with reports() as collected:
        dispatch(sqs_event(*records), None, made)
    assert [report.outcome.value for report in collected] == ["succeeded", "succeeded"]


def test_a_limit_of_one_task_is_not_that_of_the_next() -> None:
    """The rest of a timer between calls stops no task: each call has its own."""
    records = [
        record_of("overrun"),
        record_of("hold_time", seconds=0.3),
        record_of("overrun"),
        record_of("add", number=1),
    ]
    assert Dispatched(worker(), *records).outcomes == ["failed", "succeeded", "failed", "succeeded"]


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_task_that_the_invocations_end_stops_early_is_deferred(concurrency: int) -> None:
    """Stopped before it had what a fresh invocation gives, a task is deferred; with all of that it has failed."""
    made = worker(Settings(concurrency=concurrency))
    Dispatched(made, seconds=2)
    early = Dispatched(made, record_of("hold_time", seconds=9), record_of("hold_time", seconds=9), seconds=0.5)
    assert early.outcomes == ["deferred", "deferred"]
    assert len(early.kept) == 2
    assert Dispatched(worker(), record_of("hold_time", seconds=9), seconds=0.5).outcomes == ["failed"]


def test_a_default_timeout_above_the_functions_defers_nothing() -> None:
    """Ten messages under a default of 300 s run in one invocation of a function with 60 s."""
    settings = Settings(hard_timeout_seconds=300)
    records = [record_of("add", number=number) for number in range(10)]
    assert Dispatched(worker(settings), *records, seconds=60).kept == []


def test_no_limits_without_a_context() -> None:
    """Called without a context, as a test may do, tasks have the limits of their own alone."""
    made = worker()
    assert Dispatched(made, record_of("hold_time", seconds=0.05), seconds=math.inf).outcomes == ["succeeded"]
    assert Dispatched(made, record_of("overrun"), seconds=math.inf).outcomes == ["failed"]


def test_limits_hold_outside_of_the_main_thread() -> None:
    """A handler that is called in another thread stops tasks too."""
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.extend(Dispatched(worker(), record_of("overrun")).outcomes))
    thread.start()
    thread.join()
    assert outcomes == ["failed"]


def test_the_context_knows_how_long_a_task_may_still_run() -> None:
    """`remaining_time_ms` counts down to the task's own limit."""
    Dispatched(worker(Settings(hard_timeout_seconds=7)), record_of("note_context"))
    assert 6000 < tasks.seen[0][3] <= 7000


def test_limits_say_nothing_where_there_are_none() -> None:
    """The default limits are infinite."""
    assert Limits() == Limits(math.inf, math.inf)
