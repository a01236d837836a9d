"""Steps: what one delivery of a message has finished, the later ones get without running it."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import msgspec
import pytest

from catalogue import stepping
from catalogue.stepping import Script
from events import message_body, sqs_record
from lambda_tasks import StepTimeout, TaskRecord, gather, step, steps
from lambda_tasks.aws.transport import CallFailed
from lambda_tasks.errors import (
    HardTimeLimitExceeded,
    InvalidSetting,
    LeaseLost,
    PayloadNotFound,
    StateUnavailable,
)
from lambda_tasks.messages.attributes import CONTINUES
from lambda_tasks.messages.outcome import GOES_ON
from lambda_tasks.messages.succession import successor
from lambda_tasks.settings import Settings
from lambda_tasks.state.protocol import State
from lambda_tasks.state.record import StoredRecord
from lambda_tasks.telemetry.metrics import Metrics
from lambda_tasks.telemetry.report import Report
from lambda_tasks.testing import TaskQueue
from lambda_tasks.workflow import progress
from lambda_tasks.workflow.errors import InvalidStep
from memory_state import MemoryState
from stores import Clock, soon
from workers import Dispatched, close_workers, reports, worker

NAME = "catalogue.stepping"


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_workers()


class Objects:
    """S3, as far as results need it; it `is_away` when a test says so."""

    is_away = False

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], bytes] = {}

    def put_object(self, bucket: str, key: str, body: bytes, **_: Any) -> None:
        if self.is_away:
            raise CallFailed("S3 is away")
        self.kept[bucket, key] = body

    def get_object(self, bucket: str, key: str, *, admit: Callable[[int], None], **_: Any) -> bytes:
        if self.is_away:
            raise CallFailed("S3 is away")
        if (bucket, key) not in self.kept:
            raise CallFailed("s3 answered 404", code="NoSuchKey")
        admit(len(self.kept[bucket, key]))
        return self.kept[bucket, key]

    def sqs(self, *_: Any, **__: Any) -> dict[str, Any]:
        raise CallFailed("nobody is there", code="AccessDenied")


class Message:
    """A message for one of the tasks, delivered again and again with what `Script` says at the time."""

    def __init__(self, task: str = "run", *, state: State | None = None, settings: Settings | None = None) -> None:
        self.state = state or MemoryState()
        self.settings = settings
        self.task = task
        self.deliveries = 0
        self.message_id = str(sqs_record("")["messageId"])
        self.error: BaseException | None = None
        self.objects: Objects | None = None

    def deliver(self, code: Callable[[], Any], **attributes: str) -> str:
        """Deliver it once, to another worker, and return the outcome."""
        self.deliveries += 1
        Script.ordinary = Script.asynchronous = staticmethod(code)
        record = sqs_record(
            message_body(f"{NAME}.{self.task}"),
            message_id=self.message_id,
            ApproximateReceiveCount=str(self.deliveries),
            **attributes,
        )
        made = worker(self.settings, state=self.state)
        if self.objects is not None:
            made._calls = self.objects  # type: ignore[assignment]
        dispatched = Dispatched(made, record)
        (outcome,), (self.error,) = dispatched.outcomes, dispatched.errors
        return outcome

    def record(self, suffix: str = "") -> StoredRecord:
        found = self.state.record(self.message_id + suffix, deadline=soon())
        assert found is not None
        return found

    @property
    def progress(self) -> progress.Progress | None:
        return progress.of_text(self.record().steps)


class Effects(list[str]):
    """The effects of steps, by their names."""

    def __call__(self, name: str, value: Any = None) -> Any:
        self.append(name)
        return value


def failing() -> None:
    raise ConnectionError("not now")


# A step.


def test_a_finished_step_is_not_run_again() -> None:
    """The delivery that finishes a step keeps its result, and the later ones get that."""
    message, done = Message(), Effects()

    def first() -> None:
        assert step("count", done, "count", 7) == 7
        step("fetch", failing)

    def second() -> int:
        pages: int = step("count", done, "count", 8)
        step("fetch", done, "fetch")
        return pages

    assert message.deliver(first) == "retrying"
    assert message.deliver(second) == "succeeded"
    assert done == ["count", "fetch"]
    assert message.record().result == "7"


def test_a_step_that_raised_is_run_again() -> None:
    """Nothing of it is kept, and the message is retried as any other one is, up to its limit."""
    message, done = Message(), Effects()

    def code() -> None:
        step("tried", done, "tried")
        done("failing")
        step("failing", failing)

    assert [message.deliver(code) for _ in range(3)] == ["retrying", "retrying", "failed"]
    assert done == ["tried", "failing", "failing", "failing"]


@dataclasses.dataclass
class Page:
    number: int
    at: datetime


def page() -> Page:
    return Page(1, datetime(2026, 1, 1, tzinfo=timezone.utc))


def pair() -> tuple[int, ...]:
    return (1, 2)


def misannotated() -> int:
    return "text"  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (page, Page(1, datetime(2026, 1, 1, tzinfo=timezone.utc))),
        (functools.partial(pair), (1, 2)),
        (misannotated, "text"),
        (lambda: (1, 2), [1, 2]),
        (lambda: None, None),
        (lambda: {"a": [1.5, True, None, "ü"]}, {"a": [1.5, True, None, "ü"]}),
        (lambda: "x" * (64 * 1024 - 2), "x" * (64 * 1024 - 2)),
    ],
)
def test_a_result_is_the_same_in_every_delivery(function: Callable[[], object], expected: object) -> None:
    """It comes back as the annotated type, else as JSON has it, also in the delivery that ran the step."""
    message, seen = Message(), []

    def code() -> None:
        seen.append(step("result", function))
        if len(seen) == 1:
            failing()

    message.deliver(code)
    assert message.deliver(code) == "succeeded"
    assert seen == [expected, expected]
    assert type(seen[0]) is type(seen[1])


@pytest.mark.parametrize("value", [object(), float("nan"), {1: float("inf")}, b"\xff".decode("latin-1").encode, [{1j}]])
def test_a_result_without_a_form_in_json_is_an_error(value: object) -> None:
    """The error names the step and the type, and not the value."""
    message = Message()

    assert message.deliver(lambda: step("odd", lambda: value)) == "failed"
    assert isinstance(message.error, InvalidStep)
    assert "step 'odd'" in str(message.error)
    assert "no form in JSON" in str(message.error)


def test_a_large_result_needs_a_bucket() -> None:
    """A byte more than 64 KiB of JSON, and no bucket for payloads, is an error that names the setting."""
    message = Message()

    assert message.deliver(lambda: step("large", lambda: "x" * (64 * 1024 - 1))) == "failed"
    assert "LAMBDA_TASKS_PAYLOAD_BUCKET" in str(message.error)
    assert "65,537" in str(message.error)


def test_a_large_result_lies_in_the_bucket() -> None:
    """It comes back from there; where S3 is away the message is put off, and where the object is gone it fails."""
    message, done = Message(settings=Settings(payload_buckets=("payloads", "older"))), Effects()
    objects = message.objects = Objects()
    large = "x" * (64 * 1024 - 1)

    def code() -> None:
        assert step("large", done, "large", large) == large
        if message.deliveries == 2:
            failing()

    objects.is_away = True
    assert message.deliver(code) == "deferred"
    objects.is_away = False
    assert message.deliver(code) == "retrying"
    assert message.deliver(code) == "succeeded"
    assert done == ["large", "large"]
    ((bucket, key),) = objects.kept
    assert (bucket, key.startswith(f"steps/{message.message_id}/")) == ("payloads", True)

    other = Message(settings=message.settings)
    other.objects = Objects()

    def gone() -> None:
        step("large", done, "large", large)
        if other.deliveries == 1:
            failing()

    assert other.deliver(gone) == "retrying"
    other.objects.is_away = True
    assert other.deliver(gone) == "deferred"
    other.objects.is_away = False
    other.objects.kept.clear()
    assert other.deliver(gone) in ("failed", "rejected")
    assert isinstance(other.error, PayloadNotFound)


@pytest.mark.parametrize("name", ["", "x" * 257, 5, None, "\ud800"])
def test_a_name_that_cannot_be_is_an_error(name: Any) -> None:
    """Names are texts of bounded length."""
    message = Message()

    assert message.deliver(lambda: step(name, list)) == "failed"
    assert isinstance(message.error, InvalidStep)


def test_names_are_unique_in_a_task() -> None:
    """A second step, or a loop, of the same name is an error, and does not run."""
    done = Effects()

    def twice() -> None:
        step("a", done, "first")
        step("a", done, "second")

    def loop_too() -> None:
        step("a", done, "first")
        for _ in steps([1], name="a"):
            done("second")

    def in_a_loop() -> None:
        for _ in steps(range(2), name="loop"):
            step("a", done, "first")

    for code in (twice, loop_too, in_a_loop):
        done.clear()
        message = Message()
        assert message.deliver(code) == "failed"
        assert "name is taken" in str(message.error)
        assert done == ["first"]


def test_a_step_may_be_tried_again_at_once() -> None:
    """A task that catches the error of a step may call it again under its name; the order is watched as before."""
    message, done = Message(), Effects()
    errors = iter([ConnectionError("once")])

    def fetch() -> str:
        for error in errors:
            raise error
        return str(done("fetch", "page"))

    def code(*names: str) -> str:
        try:
            found: str = step("fetch", fetch)
        except ConnectionError:
            found = step("fetch", fetch)
        for name in names:
            step(name, done, name)
        return found

    def first() -> None:
        code("a", "b")
        failing()

    assert message.deliver(first) == "retrying"
    assert message.deliver(lambda: code("b", "a")) == "failed"
    assert "order of the steps has changed" in str(message.error)
    assert done == ["fetch", "a", "b"]


def test_a_task_may_go_on_after_a_step_that_raised() -> None:
    """Whether that step raises again or not, those behind it are not repeated."""
    for recovers in (True, False):
        message, done = Message(), Effects()

        def code(attempt: int, recovers: bool = recovers, done: Effects = done) -> None:  # noqa: FBT001
            try:
                step("fragile", failing if attempt == 1 or not recovers else list)
            except ConnectionError:
                step("instead", done, "instead")
            step("last", done, "last")
            if attempt == 1:
                failing()

        assert message.deliver(functools.partial(code, 1)) == "retrying"
        assert message.deliver(functools.partial(code, 2)) == "succeeded"
        assert done == ["instead", "last"]


def run_both(first: Callable[[], object], second: Callable[[], object]) -> tuple[str, Message]:
    """Run the first code and fail, then the other one; return how that ended."""
    message = Message()

    def failing_at_its_end() -> None:
        first()
        failing()

    assert message.deliver(failing_at_its_end) == "retrying"
    return message.deliver(second), message


def in_order(done: Effects, *names: str) -> Callable[[], None]:
    def code() -> None:
        for name in names:
            step(name, done, name)

    return code


@pytest.mark.parametrize(
    ("first", "second"),
    [("ab", "ba"), ("ab", "b"), ("a", "ba"), ("abc", "acb"), ("abc", "xabc"), ("ab", "axb")],
)
def test_a_changed_order_is_an_error(first: str, second: str) -> None:
    """Where steps are kept, others at their places are an error before anything runs."""
    done = Effects()

    outcome, message = run_both(in_order(done, *first), in_order(done, *second))

    assert outcome == "failed"
    assert "order of the steps has changed" in str(message.error)
    assert list(done) == list(first)


@pytest.mark.parametrize(("first", "second"), [("a", "ab"), ("ab", "a"), ("", "ab"), ("ab", "abc")])
def test_what_comes_behind_may_change(first: str, second: str) -> None:
    """Steps that no delivery has come to yet may be others, and some may be missing at the end."""
    done = Effects()

    outcome, _ = run_both(in_order(done, *first), in_order(done, *second))

    assert outcome == "succeeded"
    assert list(done) == [*first, *[one for one in second if one not in first]]


def test_a_step_may_lie_in_another_one() -> None:
    """An inner step that is kept is not repeated with the outer one, and nobody asks for it once that is kept."""
    message, done = Message(), Effects()

    def outer(*, fails: bool) -> str:
        step("inner", done, "inner")
        if fails:
            failing()
        return str(done("outer", "result"))

    def code(*, fails: bool) -> None:
        step("before", done, "before")
        step("outer", outer, fails=fails)
        step("after", done, "after")

    def then_failing() -> None:
        code(fails=False)
        failing()

    assert message.deliver(functools.partial(code, fails=True)) == "retrying"
    assert message.deliver(then_failing) == "retrying"
    assert message.deliver(functools.partial(code, fails=False)) == "succeeded"
    assert done == ["before", "inner", "outer", "after"]


def test_arguments_go_to_the_function() -> None:
    """Also those that are named as parameters of a step are, but for ``timeout``."""
    message, seen = Message(), []

    def function(*args: int, **kwargs: int) -> None:
        seen.append((args, kwargs))

    assert message.deliver(lambda: step("a", function, 1, 2, name=3, function=4)) == "succeeded"
    assert seen == [((1, 2), {"name": 3, "function": 4})]


def test_what_cannot_be_called_is_an_error() -> None:
    """Neither a value nor a path without a task is a step."""
    message = Message()
    assert message.deliver(lambda: step("a", 5)) == "failed"  # type: ignore[call-overload]
    assert "cannot be called" in str(message.error)
    assert Message().deliver(lambda: step("a", "catalogue.stepping.nothing")) in ("failed", "rejected")


# Where steps can be.


def test_a_plain_call_just_runs() -> None:
    """Outside of a message names are free, results are as they are, and nothing needs a table."""
    marker = object()

    assert step("a", lambda: marker) is marker
    assert step("a", stepping.double, value=2) == 4
    assert step("a", f"{NAME}.double", value=2, timeout=1) == 4
    assert list(steps(iter("ab"), name="a")) == ["a", "b"]
    assert gather(lambda: step("a", lambda: marker), lambda: 2, 3) == [marker, 2, 3]
    assert asyncio.run(gather(step("a", stepping.triple, value=1), step("a", stepping.triple, value=2))) == [3, 6]


def test_without_a_table_a_step_says_what_to_set() -> None:
    """On a worker without a table a step is an error that names the setting, and nothing runs."""
    done = Effects()
    Script.ordinary = staticmethod(lambda: step("a", done, "a"))

    dispatched = Dispatched(worker(), sqs_record(message_body(f"{NAME}.run")))

    assert dispatched.outcomes == ["failed"]
    assert isinstance(dispatched.errors[0], InvalidSetting)
    assert "LAMBDA_TASKS_TABLE" in str(dispatched.errors[0])
    assert done == []


def test_a_batch_task_has_no_steps() -> None:
    """Its messages end together, so that a step is an error."""
    message = Message("together")

    assert message.deliver(lambda: step("a", list)) == "failed"
    assert "batch task" in str(message.error)


def test_in_a_task_queue_steps_are_kept_in_memory() -> None:
    """A message that is retried there goes on behind what it has finished."""
    done = Effects()

    def code() -> str:
        step("a", done, "a")
        for page in steps(range(3), name="page"):
            done(f"page {page}")
            if len(done) == 3:
                failing()
        return "done"

    Script.ordinary = staticmethod(code)
    with TaskQueue() as queue:
        stepping.run.enqueue()
        (ran,) = queue.run()

    assert (ran.outcome, ran.deliveries, ran.value) == ("succeeded", 2, "done")
    assert done == ["a", "page 0", "page 1", "page 1", "page 2"]


def test_in_the_mode_eager_steps_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that runs where it is enqueued has steps, and each message its own."""
    monkeypatch.setenv("LAMBDA_TASKS_MODE", "eager")
    done = Effects()
    Script.ordinary = staticmethod(lambda: step("a", done, "a"))

    stepping.run.enqueue()
    stepping.run.enqueue()

    assert done == ["a", "a"]


# The lease.


def test_a_delivery_that_lost_its_lease_keeps_nothing() -> None:
    """Where another delivery took over meanwhile, a step's result is not kept, and neither is the outcome."""
    clock = Clock()
    state = MemoryState(clock=clock)
    slow, fast, done = Message(state=state), Message(state=state), Effects()
    fast.message_id = slow.message_id

    def overtaken() -> None:
        step("a", done, "slow", "slow")
        clock.advance(1000)
        assert fast.deliver(lambda: step("a", done, "no") + str(step("b", done, "fast", "fast"))) == "succeeded"
        step("b", done, "late", "late")

    slow.deliver(overtaken)

    assert isinstance(slow.error, LeaseLost)
    assert done == ["slow", "fast", "late"]
    assert state.kept_step(slow.message_id, "b", deadline=soon()) == state.kept_step(
        fast.message_id, "b", deadline=soon()
    )
    assert slow.record().result == '"slowfast"'


class Unavailable(MemoryState):
    """A store that does not keep steps."""

    is_away = True

    def keep_step(self, *arguments: Any, **options: Any) -> None:
        if self.is_away:
            raise StateUnavailable("away")
        super().keep_step(*arguments, **options)


def test_a_store_that_does_not_answer_puts_the_message_off() -> None:
    """That is neither a failure nor an attempt, whatever the task makes of it; the step is run again."""
    state = Unavailable()
    message, done = Message(state=state), Effects()

    def swallowing() -> str:
        try:
            step("a", done, "a")
        except BaseException:  # noqa: BLE001
            return "swallowed"
        return "kept"

    assert [message.deliver(swallowing) for _ in range(5)] == ["deferred"] * 5
    assert message.record().attempts == 0
    state.is_away = False
    assert message.deliver(swallowing) == "succeeded"
    assert message.record().result == '"kept"'
    assert done == ["a"] * 6


# Time limits.


def test_a_step_has_its_own_timeout() -> None:
    """The function is stopped, whatever it waits for, and the error is one that can be retried."""
    message = Message()
    started = time.monotonic()

    def careless() -> None:
        try:
            time.sleep(30)
        except Exception:  # noqa: BLE001
            time.sleep(30)

    assert message.deliver(lambda: step("slow", careless, timeout=0.05)) == "failed"
    assert isinstance(message.error, StepTimeout)
    assert isinstance(message.error, TimeoutError)
    assert time.monotonic() - started < 25


def test_a_tasks_limit_ends_a_step() -> None:
    """The limits of the task are those of all its steps: the first one that passes ends it, as any task."""
    message = Message("limited")

    def code() -> None:
        step("done", list)
        step("slow", time.sleep, 30, timeout=20)

    assert message.deliver(code) == "failed"
    assert isinstance(message.error, HardTimeLimitExceeded)


@pytest.mark.parametrize("timeout", [0, -1, "1", True, float("inf"), float("nan")])
def test_a_timeout_that_cannot_be_is_an_error(timeout: Any) -> None:
    """It is a number of seconds above 0."""
    with pytest.raises(InvalidStep, match="timeout"):
        step("a", list, timeout=timeout)


# Loops.


def test_a_loop_goes_on_where_it_was() -> None:
    """The item that raised is run again, and none before it."""
    message, done = Message(), Effects()

    def code() -> None:
        for number in steps(range(5), name="page"):
            done(str(number))
            if len(done) == 3:
                failing()

    assert message.deliver(code) == "retrying"
    assert message.progress == progress.Progress("page", 2, 5, *rates(message))
    assert message.deliver(code) == "succeeded"
    assert done == ["0", "1", "2", "2", "3", "4"]
    shown = message.progress
    assert shown is not None
    assert (shown.done, shown.total, shown.part, shown.seconds_left) == (5, 5, 1.0, 0.0)


def rates(message: Message) -> tuple[float | None, float | None]:
    found = message.progress
    assert found is not None
    assert found.rate is not None
    assert found.seconds_left is not None
    return found.rate, found.seconds_left


@pytest.mark.parametrize("kind", [iter, set, lambda items: (one for one in items), dict.fromkeys, "".join, tuple])
def test_any_iterable_can_be_gone_through(kind: Callable[[list[str]], Any]) -> None:
    """Those without a length too: what is done is skipped, and the total is unknown until the end."""
    message, done = Message(), Effects()
    items = list(kind(["a", "b", "c"]))

    def code() -> None:
        source = kind(["a", "b", "c"])
        for item in steps(source, name="item"):
            done(item)
            if len(done) == 2:
                failing()

    assert message.deliver(code) == "retrying"
    shown = message.progress
    assert shown is not None
    assert (shown.done, shown.total in (3, None)) == (1, True)
    assert message.deliver(code) == "succeeded"
    assert done == [items[0], items[1], items[1], items[2]]
    assert message.progress is not None
    assert message.progress.total == 3


def test_a_loop_that_is_over_is_not_gone_through_again() -> None:
    """Not even an iterable without a length is asked for its items."""
    message, done = Message(), Effects()

    def source() -> Iterator[int]:
        done("asked")
        yield 1

    def code() -> None:
        for _ in steps(source(), name="one"):
            done("one")
        step("after", done, "after")
        if message.deliveries == 1:
            failing()

    message.deliver(code)
    assert message.deliver(code) == "succeeded"
    assert done == ["asked", "one", "after"]


def test_an_empty_loop_is_over() -> None:
    """It has no items, and its progress is whole."""
    message = Message()

    assert message.deliver(lambda: list(steps([], name="none"))) == "succeeded"
    assert message.progress == progress.Progress("none", 0, 0, None, 0.0)
    assert message.progress.part == 1.0


def test_a_loop_that_was_broken_off_goes_on_there() -> None:
    """Steps behind a ``break``, and behind an error that was caught, have their places outside of the loop."""
    message, done = Message(), Effects()

    def code() -> None:
        for number in steps(range(9), name="broken"):
            done(f"broken {number}")
            if number == 1:
                break
        try:
            for number in steps(range(9), name="raising"):
                step(f"raising {number}", done, f"raising {number}")
                if number == 1 and message.deliveries == 1:
                    failing()
        except ConnectionError:
            pass
        step("after", done, "after")
        if message.deliveries == 1:
            failing()

    message.deliver(code)
    assert message.deliver(code) == "succeeded"
    assert done[:5] == ["broken 0", "broken 1", "raising 0", "raising 1", "after"]
    assert done[5:] == ["broken 1", *[f"raising {number}" for number in range(2, 9)]]


def test_steps_in_a_loop_belong_to_their_item() -> None:
    """Their names have the item in them, and within an item they are kept as elsewhere."""
    message, done = Message(), Effects()

    def code() -> None:
        step("before", done, "before")
        for number in steps(range(3), name="page"):
            step(f"fetch {number}", done, f"fetch {number}")
            for part in steps(range(2), name=f"part of {number}"):
                step(f"store {number}.{part}", done, f"store {number}.{part}")
                if (number, part) == (1, 1) and message.deliveries == 1:
                    failing()
        step("after", done, "after")
        if message.deliveries == 2:
            failing()

    assert message.deliver(code) == "retrying"
    assert message.deliver(code) == "retrying"
    assert message.deliver(code) == "succeeded"
    pages = [[f"fetch {one}", f"store {one}.0", f"store {one}.1"] for one in range(3)]
    assert done == ["before", *pages[0], *pages[1], *pages[2], "after"]


def test_a_constant_name_in_a_loop_is_an_error_in_a_later_delivery_too() -> None:
    """Else the result of one item would be taken for that of another."""
    message, done = Message(), Effects()

    def code() -> None:
        for number in steps(range(3), name="page"):
            step("fetch", done, f"fetch {number}")
            if message.deliveries == 1:
                failing()

    assert message.deliver(code) == "retrying"
    assert message.deliver(code) == "failed"
    assert "name is taken" in str(message.error)
    assert done == ["fetch 0"]


def test_a_changed_order_of_loops_is_an_error() -> None:
    """A loop has its place among the steps."""

    def first() -> None:
        list(steps(range(2), name="loop"))
        step("a", list)

    def other() -> None:
        step("a", list)
        list(steps(range(2), name="loop"))

    def inserted() -> None:
        list(steps(range(2), name="another"))
        first()

    for second in (other, inserted):
        outcome, message = run_both(first, second)
        assert outcome == "failed"
        assert "order of the steps has changed" in str(message.error)


def test_what_cannot_be_gone_through_is_an_error() -> None:
    """So is a loop that is gone through twice."""

    def twice() -> None:
        one = steps(range(2), name="loop")
        list(one)
        list(one)

    message = Message()
    assert message.deliver(lambda: list(steps(5, name="loop"))) == "failed"  # type: ignore[arg-type]
    assert "int cannot be gone through" in str(message.error)
    message = Message()
    assert message.deliver(twice) == "failed"
    assert "gone through before" in str(message.error)


# Async.


def test_async_steps_are_awaited() -> None:
    """Async functions, async tasks and functions that return what is to be awaited, are awaited in every delivery."""
    message, done = Message("run_async"), Effects()

    async def fetch(number: int) -> int:
        await asyncio.sleep(0)
        return int(done(f"fetch {number}", number))

    async def code() -> list[int]:
        found = [
            await step("function", fetch, 1),
            await step("partial", functools.partial(fetch, 2)),
            await step("task", stepping.triple, value=1),
            await step("by name", f"{NAME}.triple", value=2),
            await step("returned", lambda: fetch(4)),
            step("ordinary", done, "ordinary", 5),
        ]
        if message.deliveries == 1:
            failing()
        return found

    assert message.deliver(code) == "retrying"
    assert message.deliver(code) == "succeeded"
    assert message.record().result == "[1,2,3,6,4,5]"
    assert done == ["fetch 1", "fetch 2", "fetch 4", "ordinary"]


def test_async_steps_run_at_the_same_time() -> None:
    """Of those that are gathered, the finished ones are kept though one raised."""
    message, done = Message("run_async"), Effects()

    async def code() -> list[int]:
        both = asyncio.Event()

        async def part(number: int) -> int:
            if number == 1:
                both.set()
            if message.deliveries == 1:
                await both.wait()
            if number == 0 and message.deliveries == 1:
                failing()
            return int(done(f"part {number}", number))

        step("before", done, "before")
        found: list[int] = await gather(*[step(f"part {number}", part, number) for number in range(2)], 7, lambda: 8)
        found += await asyncio.gather(step("a", part, 3), step("b", part, 4))
        step("after", done, "after")
        return found

    assert message.deliver(code) == "retrying"
    assert message.deliver(code) == "succeeded"
    assert message.record().result == "[0,1,7,8,3,4]"
    assert done[:3] == ["before", "part 1", "part 0"]
    assert sorted(done[3:5]) == ["part 3", "part 4"]
    assert done[5:] == ["after"]


def test_async_loops_go_on_where_they_were() -> None:
    """Over async iterables, and over ordinary ones."""

    async def source() -> AsyncIterator[int]:
        for number in range(4):
            yield number

    for kind in (source, lambda: range(4)):
        message, done = Message("run_async"), Effects()

        async def code(kind: Any = kind, message: Message = message, done: Effects = done) -> None:
            async for number in steps(kind(), name="page"):
                await step(f"fetch {number}", asyncio.sleep, 0)
                done(str(number))
                if number == 2 and message.deliveries == 1:
                    failing()
            step("after", done, "after")

        assert message.deliver(code) == "retrying"
        assert message.deliver(code) == "succeeded"
        assert done == ["0", "1", "2", "2", "3", "after"]


def test_an_async_step_has_its_own_timeout() -> None:
    """It is cancelled, and the error is the same."""
    message = Message("run_async")

    async def code() -> None:
        await step("slow", asyncio.sleep, 30, timeout=0.02)

    assert message.deliver(code) == "failed"
    assert isinstance(message.error, StepTimeout)


# Threads.


def test_functions_are_gathered_in_threads() -> None:
    """They run at the same time; what is finished is kept, though another one raised."""
    message, done = Message(), Effects()

    def part(number: int, both: threading.Barrier) -> int:
        if message.deliveries == 1:
            both.wait(20)
            if number == 0:
                failing()
        return int(done(f"part {number}", number))

    def code() -> list[int]:
        both = threading.Barrier(3)
        step("before", done, "before")
        parts = [functools.partial(step, f"part {number}", part, number, both) for number in range(3)]
        found: list[int] = gather(*parts, step("now", list))
        step("after", done, "after")
        return found

    assert message.deliver(code) == "retrying"
    assert message.deliver(code) == "succeeded"
    assert message.record().result == "[0,1,2,[]]"
    assert done[0] == "before"
    assert sorted(done[1:3]) == ["part 1", "part 2"]
    assert done[3:] == ["part 0", "after"]


def test_steps_that_were_called_already_can_be_gathered() -> None:
    """A step of an ordinary function has run when it is handed over: its result is taken as it is."""
    message, done = Message(), Effects()

    assert message.deliver(lambda: gather(step("a", done, "a", 1), step("b", done, "b", 2))) == "succeeded"
    assert message.record().result == "[1,2]"


def test_more_parts_than_threads_are_gathered() -> None:
    """Each runs once, and the results are in their order."""
    message = Message()
    parts = [functools.partial(step, f"part {number}", abs, -number) for number in range(25)]

    assert message.deliver(lambda: gather(*parts)) == "succeeded"
    assert message.record().result == "[" + ",".join(map(str, range(25))) + "]"
    assert Message().deliver(lambda: gather()) == "succeeded"


@pytest.mark.parametrize("with_context", [True, False])
def test_threads_of_the_tasks_own_have_steps(with_context: bool) -> None:  # noqa: FBT001
    """With the task's context, and without it where no other task runs in the process; their order says nothing."""
    message, done = Message(), Effects()

    def work(name: str) -> None:
        step(name, done, name)

    def code(*names: str) -> None:
        with ThreadPoolExecutor(1) as pool:
            for name in names:
                context = contextvars.copy_context()
                call = functools.partial(context.run, work, name) if with_context else functools.partial(work, name)
                pool.submit(call).result()
        if message.deliveries == 1:
            failing()

    assert message.deliver(functools.partial(code, "a", "b")) == "retrying"
    assert message.deliver(functools.partial(code, "b", "c", "a")) == "succeeded"
    assert done == ["a", "b", "c"]


def test_a_thread_that_outlives_its_task_keeps_nothing() -> None:
    """Its step is an error, as the message has its outcome."""
    message, errors = Message(), []
    over = threading.Event()

    def late() -> None:
        over.wait(20)
        try:
            step("late", list)
        except InvalidStep as error:
            errors.append(str(error))

    thread = threading.Thread(target=contextvars.copy_context().run, args=(late,))

    def code() -> None:
        nonlocal thread
        step("a", list)
        thread = threading.Thread(target=contextvars.copy_context().run, args=(late,))
        thread.start()

    assert message.deliver(code) == "succeeded"
    over.set()
    thread.join(20)
    assert "is over" in errors[0]
    assert message.state.kept_step(message.message_id, "late", deadline=soon()) is None


# Tasks as steps.


def test_a_task_that_is_a_step_has_a_record_of_its_own() -> None:
    """Given as itself or by its path, it runs here, and its record says what became of it, and what it is a part of."""
    message = Message()

    def code() -> int:
        first: int = step("first", stepping.double, value=2)
        second: int = step("second", f"{NAME}.double", value=first)
        step("third", f"{NAME}.double", value=-1 if message.deliveries == 1 else 1)
        return second

    assert message.deliver(code) == "retrying"
    part = message.record("/third")
    assert (part.status.value, part.task, part.part_of) == ("failed", f"{NAME}.double", message.message_id)
    assert part.error_message == "not yet"
    assert message.deliver(code) == "succeeded"
    for name, result, attempts in (("first", "4", 1), ("second", "8", 1), ("third", "2", 2)):
        part = message.record(f"/{name}")
        assert (part.status.value, part.result, part.attempts) == ("succeeded", result, attempts)
    assert [one.message_id for one in message.state.records_of_task(f"{NAME}.run")] == [message.message_id]


def test_an_async_task_that_is_a_step_has_a_record_of_its_own() -> None:
    """As an ordinary one has."""
    message = Message("run_async")

    async def code() -> int:
        found: int = await step("first", stepping.triple, value=2)
        return found

    assert message.deliver(code) == "succeeded"
    assert message.record("/first").result == "6"


def test_a_task_that_succeeded_without_its_step_being_kept_is_not_run_again() -> None:
    """A crash between the two costs nothing: its record has the result."""

    class Dying(MemoryState):
        dies = True

        def keep_step(self, *arguments: Any, **options: Any) -> None:
            if self.dies:
                raise StateUnavailable("away")
            super().keep_step(*arguments, **options)

    state = Dying()
    message, done = Message(state=state), Effects()

    def code() -> int:
        found: int = step("only", stepping.double, value=done("called", 4))
        return found

    assert message.deliver(code) == "deferred"
    assert message.record("/only").attempts == 1
    state.dies = False
    assert message.deliver(code) == "succeeded"
    assert message.record("/only").attempts == 1
    assert message.record().result == "8"


# What the record says.


def test_progress_without_a_loop_counts_steps() -> None:
    """It has the last one's name, and no total."""
    message = Message()

    message.deliver(in_order(Effects(), "a", "b"))

    assert message.progress == progress.Progress("b", 2)
    assert message.progress.part is None


def test_progress_is_that_of_the_outermost_loop_that_goes_on() -> None:
    """Loops that are over, and those within another one, are shown where there is no such one."""
    message = Message()

    def code() -> None:
        list(steps(range(3), name="over"))
        for _ in steps(range(2), name="outer"):
            for _ in steps(range(7), name="inner"):
                failing()

    message.deliver(code)
    found = message.progress
    assert found is not None
    assert (found.name, found.done, found.total) == ("outer", 0, 2)


def test_a_message_without_steps_has_no_progress() -> None:
    """Nothing is written for it."""
    message = Message()
    message.deliver(list)

    assert message.record().steps is None
    assert message.progress is None
    assert isinstance(TaskRecord.progress, property)


def test_a_dead_letter_leads_back_to_its_steps() -> None:
    """It carries the id of the record, so that a message which is redriven goes on where the steps have come."""
    message, done = Message(), Effects()

    def failing_for_good() -> None:
        step("a", done, "a")
        raise ValueError

    assert message.deliver(failing_for_good) == "failed"
    record = sqs_record(message_body(f"{NAME}.run"), SentTimestamp=str(round(time.time() * 1000) + 60_000))
    record["messageAttributes"] = {CONTINUES: {"stringValue": message.message_id, "dataType": "String"}}
    Script.ordinary = staticmethod(in_order(done, "a", "b"))
    assert Dispatched(worker(state=message.state), record).outcomes == ["succeeded"]
    assert done == ["a", "b"]
    assert message.record().status.value == "succeeded"


def test_a_message_that_takes_over_is_like_the_one_before() -> None:
    """It has the body, the attributes, the trace and the group, and the id of the record; no reason of a dead letter."""
    record = sqs_record("body", AWSTraceHeader="Root=1-2-3", MessageGroupId="tenant")
    record["messageAttributes"] = {
        "tenant": {"stringValue": "acme", "dataType": "String"},
        "lambda_tasks_error_type": {"stringValue": "ValueError", "dataType": "String"},
    }

    assert successor(record, "m-1", 1.5) == {
        "MessageBody": "body",
        "MessageAttributes": {
            "tenant": {"StringValue": "acme", "DataType": "String"},
            CONTINUES: {"StringValue": "m-1", "DataType": "String"},
        },
        "DelaySeconds": 2,
        "MessageSystemAttributes": {"AWSTraceHeader": {"StringValue": "Root=1-2-3", "DataType": "String"}},
        "MessageGroupId": "tenant",
    }
    record["messageAttributes"] = {f"a{n}": {"stringValue": "x", "dataType": "String"} for n in range(10)}
    assert successor(record, "m-1", 0) is None
    assert successor(sqs_record("x" * 1024 * 1024), "m-1", 0) is None


def test_metrics_count_what_was_finished() -> None:
    """Steps and items of tasks that have any; others have no such metric."""
    message = Message()
    collected: list[Report] = []

    def code() -> None:
        step("a", list)
        list(steps(range(3), name="loop"))

    with reports(collected):
        message.deliver(code)
        Message().deliver(list)

    (line,) = Metrics("shop", "worker").lines(collected[:1], "r")
    assert json.loads(line)["StepsFinished"] == 4
    (line,) = Metrics("shop", "worker").lines(collected[-1:], "r")
    assert "StepsFinished" not in json.loads(line)
    put_off = msgspec.structs.replace(collected[0], reason=GOES_ON)
    (line,) = Metrics("shop", "worker").lines([put_off], "r")
    assert json.loads(line)["Continued"] == 1


def test_functions_without_steps_do_not_import_them() -> None:
    """Neither the handler nor the dispatch of a message does."""
    code = (
        "import sys; import lambda_tasks.handler, lambda_tasks.dispatch.leases; from lambda_tasks import task;"
        "print([name for name in sys.modules if 'workflow' in name or name.endswith('succession')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
