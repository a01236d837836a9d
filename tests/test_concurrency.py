"""Concurrency: async tasks together in the loop, ordinary ones in threads, batches in one call, FIFO groups in order."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogue import tasks
from events import message_body, sqs_record
from fake_aws import FakeAws
from lambda_tasks.dispatch.plan import plan
from lambda_tasks.errors import InvalidKwargs, InvalidTask
from lambda_tasks.messages.sqs_event import Record
from lambda_tasks.settings import Settings
from lambda_tasks.tasks.task import task
from memory_state import MemoryState
from workers import Dispatched, jobs_of, worker

FIFO = {"SequenceNumber": "1"}


pytestmark = pytest.mark.usefixtures("nothing_ran")


def record_of(task_name: str, /, group: str | None = None, tenant: str | None = None, **kwargs: object) -> Record:
    system = {"MessageGroupId": group, **FIFO} if group else {}
    record = sqs_record(message_body(f"catalogue.tasks.{task_name}", **kwargs), **system)
    if tenant:
        record["messageAttributes"] = {"tenant": {"stringValue": tenant, "dataType": "String"}}
    return record


@pytest.mark.parametrize("state", [None, MemoryState()])
def test_async_tasks_of_a_batch_run_together(state: MemoryState | None) -> None:
    """Each of ten async tasks can wait for all others, with a state store and without."""
    records = [record_of("meet", number=number, of=10) for number in range(10)]
    assert Dispatched(worker(state=state), *records).kept == []


def test_async_tasks_that_ask_for_all_the_time_run_together_all_the_same() -> None:
    """Tasks that begin at the same time have the same time left: none waits for an invocation of its own."""
    records = [record_of("meet_for_long", number=number, of=10) for number in range(10)]
    assert Dispatched(worker(), *records).kept == []


def test_a_message_that_cannot_run_does_not_take_the_first_ones_place() -> None:
    """The first message that can run always starts, whatever was before it."""
    made = worker()
    Dispatched(made, seconds=60)
    dispatched = Dispatched(made, sqs_record("{"), record_of("long_at_most", number=1), seconds=20)
    assert dispatched.outcomes == ["rejected", "succeeded"]


def test_ordinary_tasks_run_in_as_many_threads_as_are_asked_for() -> None:
    """With LAMBDA_TASKS_CONCURRENCY=3 three tasks can wait for each other, outside of the main thread."""
    tasks.barriers["three"] = threading.Barrier(3)
    records = [record_of("meet_in_threads", barrier="three") for _ in range(6)]
    assert Dispatched(worker(Settings(concurrency=3)), *records).kept == []
    assert tasks.seen == [False] * 6


def test_ordinary_tasks_run_in_the_main_thread_otherwise() -> None:
    """Without the setting tasks run one after the other, in the main thread."""
    tasks.barriers["one"] = threading.Barrier(1)
    assert Dispatched(worker(), *[record_of("meet_in_threads", barrier="one") for _ in range(2)]).kept == []
    assert tasks.seen == [True, True]


@pytest.mark.parametrize("concurrency", [1, 8])
def test_fifo_groups_stay_sequential_inside(concurrency: int) -> None:
    """Messages of one group run in order at any concurrency, async ones among ordinary ones included."""
    names = ["add", "unreliable_async", "add"]
    in_order = [record_of("add", "a", number=number) for number in range(20)]
    mixed = [record_of(name, "b", number=100 + number) for number, name in enumerate(names)]
    made = worker(Settings(concurrency=concurrency))
    dispatched = Dispatched(made, *in_order, *mixed)
    assert [number for number in tasks.ran if number < 100] == list(range(20))
    assert [number for number in tasks.ran if number >= 100] == [100, 101]
    assert dispatched.outcomes[20:] == ["succeeded", "retrying", "deferred"]


def test_async_tasks_of_a_fifo_group_run_one_after_the_other() -> None:
    """A group of async tasks stops at the first that did not finish; another group goes on meanwhile."""
    first, second = record_of("unreliable_async", "a", number=1), record_of("meet", "a", number=2, of=1)
    other = record_of("meet", "b", number=3, of=2)
    dispatched = Dispatched(worker(), first, second, other)
    assert dispatched.outcomes == ["retrying", "deferred", "succeeded"]


def test_the_first_message_decides_which_kind_begins() -> None:
    """Ordinary tasks go first where the first message is one, so that it always starts."""
    assert Dispatched(worker(), record_of("add", number=1), record_of("meet", number=2, of=1)).kept == []
    assert tasks.ran == [1, 2]
    tasks.ran.clear()
    assert Dispatched(worker(), record_of("meet", number=2, of=1), record_of("add", number=1)).kept == []
    assert tasks.ran == [2, 1]


def test_a_batch_task_gets_all_its_messages_and_may_fail_single_ones(aws: FakeAws) -> None:
    """One call has the messages of the invocation; one that it fails or retries has an outcome of its own."""
    records = [record_of("index", product_id=number) for number in (12, 13, 14, 15)]
    records.insert(2, record_of("add", number=1))
    dispatched = Dispatched(worker(aws_url=aws.url), *records)
    assert tasks.seen == [[12, 13, 14, 15]]
    assert dispatched.outcomes == ["succeeded", "failed", "succeeded", "retrying", "succeeded"]
    assert str(dispatched.errors[1]) == "no such product"
    assert aws.visibilities == {records[3]["receiptHandle"]: 7}


def test_a_batch_task_that_raises_fails_the_messages_without_an_outcome_of_their_own() -> None:
    """An error of the task counts for every message that it did not fail itself."""
    dispatched = Dispatched(worker(), *[record_of("index", product_id=number) for number in (13, 0, 12)])
    assert dispatched.outcomes == ["failed", "retrying", "retrying"]


def test_a_batch_task_is_called_once_a_context() -> None:
    """Messages of different tenants do not meet in one call, and a bad message is rejected by itself."""
    records = [record_of("index", tenant=tenant, product_id=number) for number, tenant in enumerate("abab", 20)]
    bad, unknown = record_of("index", product_id="x"), record_of("index", product_id=1, colour="red")
    dispatched = Dispatched(worker(), *records, bad, unknown)
    assert tasks.seen == [[20, 22], [21, 23]]
    assert dispatched.outcomes == ["succeeded"] * 4 + ["rejected"] * 2
    assert "unknown field, expected `product_id`" in str(dispatched.errors[5])


def test_a_batch_task_takes_the_neighbours_of_a_fifo_group() -> None:
    """Within a group a call has the messages that follow each other, so that order stays."""
    records = [record_of("index", "g", product_id=1), record_of("index", "g", product_id=2)]
    records += [record_of("add", "g", number=1), record_of("index", "g", product_id=3)]
    assert Dispatched(worker(), *records).kept == []
    assert tasks.seen == [[1, 2], [3]]


def test_an_async_batch_task_takes_any_kwargs_without_a_type() -> None:
    """A batch task may be async, and without a type for its kwargs they are a dict."""
    assert Dispatched(worker(), record_of("index_async", a=1), record_of("index_async", b=2)).kept == []
    assert tasks.seen == [[{"a": 1}, {"b": 2}]]


def test_a_duplicate_in_a_batch_is_left_out() -> None:
    """With a state store, a batch task gets the messages that have not succeeded yet."""
    made = worker(state=MemoryState())
    first, second = record_of("index", product_id=1), record_of("index", product_id=2)
    Dispatched(made, first)
    assert Dispatched(made, first, second).outcomes == ["skipped", "succeeded"]
    assert tasks.seen == [[1], [2]]


def test_a_batch_task_is_checked_where_it_is_defined() -> None:
    """A batch task that does not take one list of items is refused, at the latest with its first message."""

    def two(items: list[Any], more: int) -> None: ...

    def no_items(items: list[int]) -> None: ...

    with pytest.raises(InvalidTask, match="a batch task takes one list of items"):
        task(batch=True)(two)  # type: ignore[arg-type]
    with pytest.raises(InvalidTask, match=r"parameter items is no list of items.*list\[Item\[YourDataclass\]\]"):
        task(batch=True)(no_items).definition.decode_kwargs(b"{}")  # type: ignore[arg-type]
    with pytest.raises(InvalidKwargs, match=r"missing required field `product_id`"):
        tasks.index.definition.encode_kwargs({})


KINDS = st.sampled_from(["add", "meet", "index", "index_async", "nothing"])


@given(st.lists(st.tuples(KINDS, st.sampled_from([None, "a", "b"]), st.sampled_from([None, "t"])), max_size=12))
def test_a_plan_has_every_message_once_and_each_group_in_order(kinds: list[tuple[str, str | None, str | None]]) -> None:
    """Every message is in exactly one call, FIFO groups are lanes in order, and calls are of one task and context."""
    kwargs: dict[str, dict[str, object]] = {
        "add": {"number": 1},
        "meet": {"number": 1, "of": 1},
        "index": {"product_id": 1},
    }
    records = [record_of(name, group, tenant, **kwargs.get(name, {})) for name, group, tenant in kinds]
    jobs = jobs_of(*records)
    order = plan(jobs)
    lanes = [*order.together, *order.ordinary]
    assert sorted(jobs.index(job) for lane in lanes for call in lane for job in call) == list(range(len(jobs)))
    for lane in lanes:
        groups = {job.group for call in lane for job in call}
        assert len(groups) == 1
        numbers = [jobs.index(job) for call in lane for job in call]
        assert groups == {None} or numbers == sorted(numbers)
        for call in lane:
            assert len({(job.task_name, job.context.group_key) for job in call}) == 1
            assert len(call) == 1 or all(job.definition is not None and job.definition.options.batch for job in call)
    assert all(job.definition.is_async for lane in order.together for call in lane for job in call if job.definition)
