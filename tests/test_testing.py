"""What an application's own tests use: as a pytest plugin in a project of its own, and by hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from catalogue import tasks
from lambda_tasks.dispatch import dispatcher
from lambda_tasks.errors import InvalidKwargs
from lambda_tasks.testing import TaskQueue, lambda_context, message_body, sqs_event, sqs_record
from workers import worker

pytest_plugins = ["pytester"]

SHOP = """
    from datetime import datetime
    from lambda_tasks import task

    sent = []

    @task
    def send_receipt(*, order_id: int, sent_at: datetime | None = None) -> str:
        sent.append(order_id)
        return f"receipt {order_id}"

    def check_out(order_id):
        send_receipt.options(group="a").enqueue(order_id=order_id)
"""

TESTS = """
    import shop
    from lambda_tasks.testing import lambda_context, sqs_event

    def test_check_out_enqueues_a_receipt(task_queue):
        shop.check_out(42)
        [enqueued] = task_queue
        assert (enqueued.task_name, enqueued.kwargs) == ("shop.send_receipt", {"order_id": 42})
        assert shop.sent == []
        [ran] = task_queue.run()
        assert (ran.outcome, ran.value, shop.sent) == ("succeeded", "receipt 42", [42])

    def test_each_test_has_its_own(task_queue):
        assert len(task_queue) == 0
"""


@pytest.fixture(autouse=True)
def _nothing_ran() -> Iterator[None]:
    tasks.ran.clear()
    yield
    tasks.ran.clear()


def test_the_plugin_is_there_where_the_package_is(pytester: pytest.Pytester) -> None:
    """A project's own tests have `task_queue` without importing or configuring anything."""
    pytester.makepyfile(shop=SHOP, test_shop=TESTS)
    result = pytester.runpytest_subprocess("-W", "error")
    result.assert_outcomes(passed=2)


def test_messages_are_recorded_as_they_would_be_sent(task_queue: TaskQueue) -> None:
    """A recorded message holds typed kwargs, options and context."""
    at = datetime(2027, 1, 1, tzinfo=timezone.utc)
    message_id = tasks.add.options(delay=5, queue="mail", context={"tenant": "a"}).enqueue(number=1)
    tasks.note.options(group="g", deduplication_id="d", at=at).enqueue(text="x")
    first, second = task_queue
    assert (first.message_id, first.kwargs, first.context) == (message_id, {"number": 1}, {"tenant": "a"})
    assert (first.delay_seconds, first.queue, first.at) == (5, "mail", None)
    assert (second.group, second.deduplication_id, second.at, second.queue) == ("g", "d", at, "default")
    assert task_queue.of(tasks.note) == [second] == task_queue[1:]
    assert repr(task_queue) == "<TaskQueue: 2 enqueued, 2 not run yet>"
    task_queue.clear()
    assert (list(task_queue), task_queue.run()) == ([], [])


def test_bad_kwargs_are_errors_where_they_are_enqueued(task_queue: TaskQueue) -> None:
    """A recording queue checks kwargs as a real one does."""
    with pytest.raises(InvalidKwargs):
        tasks.add.enqueue(number="1")  # type: ignore[arg-type]
    assert len(task_queue) == 0


def test_running_goes_on_until_nothing_is_left(task_queue: TaskQueue) -> None:
    """What a task enqueues runs too, each message once."""
    tasks.chain.enqueue(number=7)
    assert [ran.message.task_name for ran in task_queue.run()] == ["catalogue.tasks.chain", "catalogue.tasks.add"]
    assert tasks.ran == [7]
    assert task_queue.run() == []


def test_an_error_of_a_task_is_the_tests(task_queue: TaskQueue) -> None:
    """A task that fails fails the test, after the others have run; or it is part of the result."""
    tasks.fail.enqueue(number=1)
    tasks.add.enqueue(number=2)
    with pytest.raises(ConnectionError):
        task_queue.run()
    assert tasks.ran == [1, 2]
    tasks.fail.enqueue(number=3)
    tasks.ignore.enqueue(path="/none")
    failed, ignored = task_queue.run(raise_errors=False)
    assert (failed.outcome, type(failed.error), failed.deliveries) == ("failed", ConnectionError, 1)
    assert ignored.outcome == "succeeded"


def test_what_is_to_be_retried_is_delivered_again(task_queue: TaskQueue) -> None:
    """A message whose task asks for another try is delivered at once, with its count raised, until it is final."""
    tasks.succeed_after.enqueue(failures=2)
    (ran,) = task_queue.run()
    assert (ran.outcome, ran.deliveries, ran.value) == ("succeeded", 3, 3)
    tasks.succeed_after.enqueue(failures=9)
    (spent,) = task_queue.run(raise_errors=False)
    assert (spent.outcome, spent.deliveries) == ("failed", 4)


def test_events_are_those_of_lambda(task_queue: TaskQueue) -> None:
    """An event can be made of bodies, of records and of what was enqueued, and the handler takes it."""
    tasks.add.options(context={"tenant": "acme"}).enqueue(number=1)
    event = sqs_event(
        message_body(tasks.add, number=2),
        sqs_record(message_body("catalogue.tasks.fail"), message_id="m-3", ApproximateReceiveCount="4"),
        task_queue[0],
    )
    answer = dispatcher.dispatch(event, lambda_context(remaining_time_ms=9000), worker())
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m-3"}]}
    assert tasks.ran == [2, 0, 1]
    assert event["Records"][2]["messageId"] == task_queue[0].message_id
    assert event["Records"][1]["attributes"]["ApproximateReceiveCount"] == "4"


def test_a_context_has_what_lambda_gives() -> None:
    """The context object has the time left and the names that code may ask for."""
    context = lambda_context(remaining_time_ms=1500, function_name="worker")
    assert (context.get_remaining_time_in_millis(), context.function_name) == (1500, "worker")
    assert context.aws_request_id
    assert Path(context.log_group_name).name == "function"
