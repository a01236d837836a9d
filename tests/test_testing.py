"""The means for an application's tests: as a pytest plugin in a project of its own, and by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from catalogue import tasks
from lambda_tasks.dispatch import dispatcher
from lambda_tasks.errors import EnqueueFailed, InvalidKwargs, InvalidSetting, InvalidTask, MessageTooLarge
from lambda_tasks.testing import Ran, TaskQueue, lambda_context, message_body, sqs_event, sqs_record
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


pytestmark = pytest.mark.usefixtures("nothing_ran")


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
        tasks.add.enqueue(number="1")  # type: ignore[call-overload]
    assert len(task_queue) == 0


def test_running_goes_on_until_nothing_is_left(task_queue: TaskQueue) -> None:
    """Messages of a task run too, each once."""
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


FIFO = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders.fifo"
STANDARD = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders"


@pytest.fixture(params=[True, False], ids=["by hand", "fixture"])
def strict(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskQueue]:
    """A strict queue, made by hand and as the fixture makes it, where the environment names two queues."""
    monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL", STANDARD)
    monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL_ORDERS", FIFO)
    if request.param:
        with TaskQueue(strict=True) as queue:
            yield queue
    else:
        yield request.getfixturevalue("task_queue")


def test_a_strict_queue_takes_what_sqs_would_take(strict: TaskQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue without a URL, a message that is too large, and one that its kind of queue refuses, are errors."""
    orders = tasks.note.options(queue="orders")
    with pytest.raises(InvalidSetting, match="LAMBDA_TASKS_QUEUE_URL_MAIL"):
        tasks.note.options(queue="mail").enqueue(text="a")
    with pytest.raises(InvalidTask, match="a FIFO queue needs a group"):
        orders.enqueue(text="a")
    with pytest.raises(InvalidTask, match="a FIFO queue needs a group"):
        orders.enqueue_many([{"text": "a"}])
    with pytest.raises(InvalidTask, match="no delay of a single message"):
        orders.options(group="a", delay=1).enqueue(text="a")
    with pytest.raises(EnqueueFailed, match="not FIFO takes no deduplication ID"):
        tasks.note.options(deduplication_id="a").enqueue(text="a")
    large = "x" * 1024 * 1024
    with pytest.raises(MessageTooLarge):
        tasks.note.enqueue(text=large)
    assert isinstance(tasks.note.enqueue_many([{"text": large}, {"text": "a"}])[0].error, MessageTooLarge)
    assert [one.kwargs["text"] for one in strict] == ["a"]
    monkeypatch.setenv("LAMBDA_TASKS_PAYLOAD_BUCKET", "bucket")
    tasks.note.enqueue(text=large)
    tasks.note.options(group="fair", delay=900).enqueue(text="a")
    assert len(strict) == 3


def test_a_fifo_queue_drops_what_was_sent_before(strict: TaskQueue) -> None:
    """Of messages with one deduplication ID, or else one content, the first is there; those of one call all are."""
    orders = tasks.note.options(queue="orders", group="a")
    first = orders.options(deduplication_id="1").enqueue(text="a")
    assert orders.options(deduplication_id="1").enqueue(text="b") == first
    assert orders.enqueue(text="c") == orders.enqueue(text="c") != first
    assert orders.enqueue_many([{"text": "d"}] * 2).sent == 2
    assert [one.kwargs["text"] for one in strict] == ["a", "c", "d", "d"]
    assert len(strict.run()) == 4
    strict.clear()
    orders.enqueue(text="c")
    assert len(strict) == 1


def test_a_strict_queue_runs_a_batch_in_one_call(strict: TaskQueue) -> None:
    """Up to ten messages of a queue are one batch, which a batch task gets at once; each has its own outcome."""
    tasks.seen.clear()
    tasks.index.enqueue_many([{"product_id": number} for number in range(1, 14)])
    outcomes = {one.message.kwargs.product_id: one.outcome for one in strict.run(raise_errors=False)}
    assert tasks.seen == [list(range(1, 11)), [11, 12, 13]]
    assert [number for number, outcome in outcomes.items() if outcome != "succeeded"] == [13]
    tasks.index.enqueue(product_id=1)
    tasks.index.options(context={"tenant": "a"}).enqueue(product_id=2)
    strict.run()
    assert tasks.seen[2:] == [[1], [2]], "messages of other contexts are other calls"
    with TaskQueue() as lenient:
        tasks.index.enqueue_many([{"product_id": 4}, {"product_id": 5}])
        lenient.run()
    assert tasks.seen[4:] == [[4], [5]]


def test_a_strict_queue_keeps_the_order_of_a_group(strict: TaskQueue) -> None:
    """A message behind one that is tried again waits for it, and its own tries are not used up."""
    tasks.ran.clear()
    group = tasks.succeed_after.options(queue="orders", group="a")
    group.enqueue(failures=2)
    group.options(deduplication_id="behind").enqueue(failures=3)
    first, behind = strict.run()
    assert (first.outcome, first.deliveries) == ("succeeded", 3)
    assert (behind.outcome, behind.value) == ("succeeded", 4)


def test_what_no_environment_names_is_any_queue(task_queue: TaskQueue) -> None:
    """A project's unit tests need no queue: the fixture takes each as one that fits, but no message that is too large."""
    tasks.note.options(queue="mail").enqueue(text="a")
    tasks.note.options(group="a", deduplication_id="1").enqueue(text="a")
    tasks.note.options(group="a", deduplication_id="1").enqueue(text="a")
    with pytest.raises(MessageTooLarge):
        tasks.note.enqueue(text="x" * 1024 * 1024)
    assert len(task_queue) == 2
    with TaskQueue(strict=True), pytest.raises(InvalidSetting):
        tasks.note.enqueue(text="a")


def test_a_queue_runs_within_a_running_loop(task_queue: TaskQueue) -> None:
    """A test that is a coroutine runs its messages, also of tasks that run a loop of their own, in its context."""

    async def main() -> list[Ran]:
        tasks.run_a_loop.enqueue()
        tasks.index_async.enqueue(product_id=1)
        return task_queue.run()

    assert [(one.outcome, one.value) for one in asyncio.run(main())] == [
        ("succeeded", "a loop ran"),
        ("succeeded", None),
    ]
    tasks.run_a_loop.enqueue()
    assert task_queue.run()[0].value == "a loop ran"
