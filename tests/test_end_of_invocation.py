"""The end of an invocation: its phases have each their own time, and what one needs longer the next does not pay."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fault_server
import runtime_process
from catalogue import tasks
from events import message_body, sqs_event, sqs_record
from fake_aws import FakeAws
from lambda_tasks.definition import retry
from lambda_tasks.errors import MAX_VISIBILITY_SECONDS
from lambda_tasks.limits.timeouts import FunctionTime, InvocationTime
from lambda_tasks.state.protocol import Attempt
from memory_state import MemoryState
from workers import Dispatched, worker
from wrapper import base_environ


@given(st.floats(0.5, 900), st.floats(0.1, 5))
def test_each_phase_ends_before_the_next(seconds: float, margin: float) -> None:
    """Tasks, their grace, settling, visibility and the answer end one after the other, within the invocation."""
    clock = FunctionTime().start(seconds, margin, 100.0)
    stuck_at = clock.tasks_end_at + clock.grace_seconds
    assert clock.tasks_end_at < stuck_at < clock.settle_by < clock.known_by
    assert clock.known_by < clock.change_by < clock.answer_by < clock.ends_at
    assert clock.settle_deadline(clock.ends_at) == clock.settle_by
    assert clock.change_deadline(clock.settle_by) <= clock.change_by


def test_a_rescue_is_answered_though_sqs_is_silent() -> None:
    """With a task stuck in C code and an SQS that never answers, the finished neighbour is in the answer."""
    good, stuck, retried = (
        sqs_record(message_body("catalogue.tasks.add", number=1)),
        sqs_record(message_body("catalogue.tasks.stick")),
        sqs_record(message_body("catalogue.tasks.unreliable")),
    )
    over = threading.Event()
    with fault_server.serve(fault_server.hang(over)) as server:
        environ = {**base_environ(server.url), "LAMBDA_TASKS_REPORTING_MARGIN_SECONDS": "1"}
        finished = runtime_process.run([sqs_event(good, retried, stuck)], environ, seconds=6)
        over.set()
    (answer,) = finished.answers
    assert [one["itemIdentifier"] for one in answer["batchItemFailures"]] == [
        retried["messageId"],
        stuck["messageId"],
    ]


def test_visibility_changes_have_all_the_time_that_is_left(aws: FakeAws) -> None:
    """Three hundred batches of changes are all made, several at a time, and not those of the first seconds alone."""
    busy = 0
    most = 0

    def slow(_: Any) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        time.sleep(0.02)
        busy -= 1

    aws.answers = [slow] * 302
    records = [sqs_record(message_body("catalogue.tasks.unreliable")) for _ in range(3000)]
    dispatched = Dispatched(worker(aws_url=aws.url), *records)
    assert len(dispatched.kept) == 3000
    assert len(aws.visibilities) == 3000
    assert most > 1


def test_changes_that_fail_end_after_a_second_failure(aws: FakeAws, caplog: pytest.LogCaptureFixture) -> None:
    """Where SQS refuses, each of hundreds of batches would wait for the same."""
    refusal = (403, {"__type": "AccessDenied"})
    aws.answers = [lambda request: refusal if "Visibility" in request.target else None] * 100
    records = [sqs_record(message_body("catalogue.tasks.unreliable")) for _ in range(500)]
    Dispatched(worker(aws_url=aws.url), *records)
    assert 2 <= len(aws.sent("ChangeMessageVisibilityBatch")) <= 10
    assert "messages was not changed" in caplog.text


def test_a_lease_that_takes_long_takes_from_the_task() -> None:
    """The limit of a task is what is left after its lease was taken."""

    class Slow(MemoryState):
        def start(self, attempt: Attempt, *, deadline: float) -> Any:
            time.sleep(0.5)
            return super().start(attempt, deadline=deadline)

    tasks.seen.clear()
    Dispatched(worker(state=Slow()), sqs_record(message_body("catalogue.tasks.note_remaining")), seconds=3)
    (remaining_ms,) = tasks.seen
    assert remaining_ms <= 3000 - 600 - 500


@given(st.floats(0, 1e6), st.floats(0, 900))
def test_a_visibility_timeout_is_within_what_sqs_takes(seconds: float, since_receipt: float) -> None:
    """SQS counts twelve hours from the receipt, which lies before the invocation where messages are batched."""
    asked = retry.visibility_timeout(seconds, since_receipt)
    assert 0 <= asked <= MAX_VISIBILITY_SECONDS - since_receipt
    assert asked == round(seconds) or asked < seconds


def test_the_twelve_hours_are_counted_where_the_change_is_made(aws: FakeAws) -> None:
    """A change that is made late in a long invocation asks for less, not for more than SQS takes."""
    clock = InvocationTime(time.monotonic() - 600)
    visible_at = time.monotonic() + MAX_VISIBILITY_SECONDS
    worker(aws_url=aws.url).queues.change_visibility(
        "arn:aws:sqs:eu-west-1:123456789012:queue", [("handle", visible_at)], clock
    )
    assert MAX_VISIBILITY_SECONDS - 910 <= aws.visibilities["handle"] <= MAX_VISIBILITY_SECONDS - 900


@pytest.mark.parametrize("deliveries_left", [0, 1, 3, 100])
def test_an_outage_hides_a_message_whatever_deliveries_are_left(deliveries_left: int) -> None:
    """An outage of an hour is over before the last delivery that is left; without one the first delay counts."""
    delays = [retry.outage_seconds(n, deliveries_left - n + 1, 0.0) for n in range(1, deliveries_left + 1)]
    assert sum(delays) >= 3600 or not delays
    assert 0 < retry.outage_seconds(1, 0, 0.0) <= 900
