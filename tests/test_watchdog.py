"""The timer, and the watchdog's own decisions; that it ends stuck code is tested under the runtime."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from typing import Any

import msgspec
import pytest

import workers
from events import Context, message_body, sqs_event, sqs_record
from lambda_tasks.dispatch import rescue
from lambda_tasks.dispatch.call import Call
from lambda_tasks.dispatch.delivery import deliver
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.dispatch.invocation import Invocation, can_answer
from lambda_tasks.errors import StateUnavailable
from lambda_tasks.limits import watchdog
from lambda_tasks.limits.timer import Timer
from lambda_tasks.limits.watchdog import Watchdog
from lambda_tasks.messages.sqs_event import Record
from lambda_tasks.state.protocol import Attempt
from lambda_tasks.state.record import Ending, StoredRecord
from memory_state import MemoryState


def test_alarms_ring_in_order_and_not_when_cancelled() -> None:
    """Each alarm rings once, those that are due first come first, and a cancelled one stays silent."""
    timer, rung, done = Timer(), list[str](), threading.Event()
    now = time.monotonic()
    timer.at(now + 0.06, done.set)
    timer.at(now + 0.04, lambda: rung.append("second"))
    timer.at(now + 0.02, lambda: rung.append("first"))
    timer.at(now + 0.03, lambda: rung.append("never")).cancel()
    assert done.wait(10)
    assert rung == ["first", "second"]


def test_cancelled_alarms_are_not_kept() -> None:
    """A timer that gets an alarm an invocation does not grow by those that were cancelled."""
    timer = Timer()
    for _ in range(1000):
        timer.at(time.monotonic() + 3600, lambda: None).cancel()
    assert len(timer._alarms) <= 65


def test_the_watchdog_rescues_what_is_stuck_and_not_after_the_answer() -> None:
    """It rescues where the only call is stuck; a handler that answered first is left alone."""
    rescued, late = threading.Event(), threading.Event()
    stuck: Watchdog[str] = Watchdog(Timer(), time.monotonic() + 60, rescued.set)
    stuck.enter("call")
    stuck.started("call", time.monotonic() + 0.02)
    assert rescued.wait(10)
    assert list(stuck.overdue()) == ["call"]
    answered: Watchdog[str] = Watchdog(Timer(), time.monotonic() + 0.02, late.set)
    answered.dismiss()
    assert not late.wait(0.1)


@pytest.mark.parametrize("phase", ["prepared", "running", "settled"])
def test_the_watchdog_waits_for_calls_that_are_not_stuck(phase: str) -> None:
    """A call that is prepared, runs, or is settled puts the rescue off, up to the invocation's end."""
    rescued = threading.Event()
    watchdog: Watchdog[str] = Watchdog(Timer(), time.monotonic() + 0.3, rescued.set)
    watchdog.enter("other")
    if phase != "prepared":
        watchdog.started("other", time.monotonic() + (0.25 if phase == "running" else 0.02))
    if phase == "settled":
        watchdog.returned("other")
    watchdog.enter("stuck")
    watchdog.started("stuck", time.monotonic() + 0.02)
    assert not rescued.wait(0.1)
    assert "stuck" in watchdog.overdue()
    assert rescued.wait(10)


def test_the_watchdog_stands_back_while_the_stuck_are_left_behind() -> None:
    """If other threads take the place of stuck ones, it waits for the invocation's end."""
    rescued = threading.Event()
    watchdog: Watchdog[str] = Watchdog(Timer(), time.monotonic() + 0.3, rescued.set)
    watchdog.stands_back = True
    watchdog.started("stuck", time.monotonic() + 0.02)
    assert not rescued.wait(0.1)
    assert rescued.wait(10)


def test_no_task_begins_once_the_watchdog_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that would begin a call, or settle one, waits for the end of the process instead."""
    # A thread that stays would meet the clocks of other tests.
    monkeypatch.setattr(sys.modules[Watchdog.__module__], "_wait_for_the_end", sys.exit)
    rescued, went_on = threading.Event(), threading.Event()
    watchdog: Watchdog[str] = Watchdog(Timer(), time.monotonic(), rescued.set)
    assert rescued.wait(10)

    def begin() -> None:
        with contextlib.suppress(SystemExit):
            watchdog.enter("call")
            went_on.set()

    threading.Thread(target=begin, daemon=True).start()
    assert not went_on.wait(0.1)


def test_what_took_effect_is_reported_though_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the watchdog answers while the messages of a finished call are settled, they are finished, not deferred."""
    state, answers = _SlowToFinish(), list[Any]()

    def answer(given_up: Invocation) -> None:
        answers.append(given_up.response())
        state.answered.set()

    monkeypatch.setattr(rescue, "answer_and_restart", answer)
    monkeypatch.setattr(watchdog, "_wait_for_the_end", sys.exit)
    made = workers.worker(state=state)
    made.environ = {**made.environ, "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9"}
    records = [sqs_record(message_body("catalogue.tasks.index", product_id=number)) for number in (1, 2, 3)]

    def invoke() -> None:
        with contextlib.suppress(SystemExit):
            dispatch(sqs_event(*records), Context(1), made)

    thread = threading.Thread(target=invoke)
    thread.start()
    thread.join(30)
    assert answers == [{"batchItemFailures": [{"itemIdentifier": records[0]["messageId"]}]}]
    statuses = [record and record.status for record in map(state.peek, records)]
    assert statuses == ["succeeded"] * 3


def test_a_call_that_ends_as_it_is_given_up_keeps_its_result() -> None:
    """A call that returned in the last moment took effect: it is not recorded as stopped."""
    made = workers.worker()
    one = workers.invocation_of(made, *[sqs_record(message_body("catalogue.tasks.add", number=1))] * 2)
    ((returned, stuck),) = deliver(one)
    for job in (returned, stuck):
        call = Call([job], one)
        assert call.prepare()
        if job is returned:
            call.returned(1)
        call.abandon()
    assert [job.result and job.result.outcome.value for job in (returned, stuck)] == ["succeeded", "failed"]


def test_a_success_whose_record_is_given_up_at_the_end_is_deleted() -> None:
    """A write that ends with the time for it, in the thread of the task, is waited for: its message is done with."""
    state = _SilentToTheEnd()
    made = workers.worker(state=state)
    one = workers.invocation_of(made, sqs_record(message_body("catalogue.tasks.add", number=1)), seconds=0.1)
    (jobs,) = deliver(one)
    call = Call(jobs, one)
    assert call.prepare()
    call.returned(1)
    settling = threading.Thread(target=call.settle)
    settling.start()
    assert state.asked.wait(20)
    one.time = msgspec.structs.replace(one.time, known_by=math.inf, change_by=math.inf)
    rescue.put_off(one, "it is stuck")
    settling.join(20)
    assert one.time.settle_by < time.monotonic()
    assert one.response() == {"batchItemFailures": []}


def test_a_rescue_says_where_the_main_thread_is() -> None:
    """What is stuck is found by the stack of its thread, in the log."""
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(rescue._stack_of_main_thread()))
    thread.start()
    thread.join(20)
    assert "test_a_rescue_says_where_the_main_thread_is" in found[0]


class _SilentToTheEnd(MemoryState):
    """A store that answers to no outcome, and is given up when there is no time left, which takes a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()

    def finish(self, attempt: Attempt, ending: Ending, *, deadline: float, **_: Any) -> None:  # noqa: ARG002
        self.asked.set()
        time.sleep(max(0.0, deadline - time.monotonic()) + 0.05)
        raise StateUnavailable("no time left", source="a store")


class _SlowToFinish(MemoryState):
    """A store that does not answer to the first outcome before the invocation was answered."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = threading.Event()
        self._is_first = True

    def finish(self, attempt: Attempt, ending: Ending, **options: Any) -> None:
        is_first, self._is_first = self._is_first, False
        if is_first:
            assert self.answered.wait(20)
        super().finish(attempt, ending, **options)

    def peek(self, record: Record) -> StoredRecord | None:
        return self.record(record["messageId"], deadline=math.inf)


def test_only_a_runtime_of_its_own_can_be_started_anew() -> None:
    """Outside of Lambda, and where a runtime has its requests in threads, the watchdog stays away."""
    alone = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"}
    one_of_several = {**alone, "AWS_LAMBDA_MAX_CONCURRENCY": "4"}
    assert [can_answer({}), can_answer(alone), can_answer(one_of_several)] == [False, True, True]
    in_thread: list[bool] = []
    thread = threading.Thread(target=lambda: in_thread.append(can_answer(one_of_several)))
    thread.start()
    thread.join()
    assert in_thread == [False]
