"""The timer, and the watchdog's own decisions; that it ends stuck code is tested under the runtime."""

from __future__ import annotations

import threading
import time

from lambda_tasks.tasks.timer import Timer
from lambda_tasks.tasks.watchdog import Watchdog, can_answer


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


def test_the_watchdog_rescues_once_and_not_after_the_answer() -> None:
    """It rescues when what is expected to be over is not; a handler that answered first is left alone."""
    timer, rescued, late = Timer(), threading.Event(), threading.Event()
    stuck = Watchdog(timer, time.monotonic() + 60, rescued.set)
    stuck.expect(time.monotonic() + 0.02)
    assert rescued.wait(10)
    answered = Watchdog(timer, time.monotonic() + 0.02, late.set)
    answered.dismiss()
    assert not late.wait(0.1)


def test_the_watchdog_waits_as_long_as_is_expected() -> None:
    """What is expected to take longer moves the time of the rescue, up to the invocation's end."""
    timer, rescued = Timer(), threading.Event()
    watchdog = Watchdog(timer, time.monotonic() + 0.3, rescued.set)
    watchdog.expect(time.monotonic() + 0.05)
    watchdog.expect(time.monotonic() + 0.25)
    assert not rescued.wait(0.1)
    assert rescued.wait(10)


def test_only_a_runtime_of_its_own_can_be_started_anew() -> None:
    """Outside of Lambda, and where several runtimes share a parent, the watchdog stays away."""
    assert not can_answer({})
    assert can_answer({"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"})
    assert not can_answer({"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001", "AWS_LAMBDA_MAX_CONCURRENCY": "4"})
