"""One call of a task: what is around it, and in which order it is put away."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from catalogue import called
from events import message_body, sqs_record
from lambda_tasks.messages import context as contexts
from workers import Dispatched, worker


class Guard:
    """A memory guard that notes what it is asked for."""

    is_exhausted = False

    def __init__(self) -> None:
        self.asked: list[str] = []

    def limit_tasks(self) -> None:
        self.asked.append("limit")

    def make_room(self) -> None:
        self.asked.append("room")

    def relieve(self, _: BaseException) -> None:
        self.asked.append("relief")


@contextlib.contextmanager
def entered(guard: Guard) -> Iterator[list[str]]:
    """Collect the functions that are entered from the first raise of a MemoryError until there is room."""
    names: list[str] = []
    raised = False

    def profile(frame: FrameType, event: str, _: Any) -> None:
        nonlocal raised
        if event == "return" and frame.f_code.co_name == "exhaust_memory":
            raised = True
        elif event == "call" and raised and "room" not in guard.asked and frame.f_code.co_name != "make_room":
            names.append(frame.f_code.co_name)

    sys.setprofile(profile)
    try:
        yield names
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("seconds", [60, 1e6])
def test_room_is_made_before_anything_else_after_a_memory_error(seconds: float) -> None:
    """Between a MemoryError and the room for what follows, no function is entered: there may be no memory for one."""
    made, guard = worker(), Guard()
    made.memory_guard = guard  # type: ignore[assignment]

    with entered(guard) as names:
        dispatched = Dispatched(made, sqs_record(message_body("catalogue.called.exhaust_memory")), seconds=seconds)

    assert dispatched.outcomes == ["failed"]
    assert names == []
    assert guard.asked[:2] == ["limit", "room"]
    assert "relief" in guard.asked


@pytest.mark.parametrize("name", ["see", "see_async"])
def test_nothing_of_a_message_is_left_after_its_call(name: str) -> None:
    """After an invocation the context is as it was before."""
    before, record = contexts.bearer.get(), sqs_record(message_body(f"catalogue.called.{name}"))
    called.seen.clear()

    Dispatched(worker(), record)

    assert called.seen == [record["messageId"]]
    assert contexts.bearer.get() is before


class Surroundings:
    """An application that notes what it surrounds."""

    def __init__(self) -> None:
        self.noted: list[str | None] = []

    @contextlib.contextmanager
    def around(self, database: str | None) -> Iterator[None]:
        self.noted.append(database)
        called.seen.append("entered")
        yield
        called.seen.append("left")


@pytest.mark.parametrize(("name", "database", "ran"), [("keep", "orders", "kept"), ("see", None, None)])
def test_a_call_is_surrounded_by_the_application(name: str, database: str | None, ran: str | None) -> None:
    """An application tidies up around each task, in a transaction of the database that the task names."""
    made, application = worker(), Surroundings()
    made.application = application  # type: ignore[assignment]
    called.seen.clear()

    record = sqs_record(message_body(f"catalogue.called.{name}"))
    assert Dispatched(made, record).outcomes == ["succeeded"]

    assert application.noted == [database]
    assert called.seen == ["entered", ran or record["messageId"], "left"]


def test_a_transaction_without_an_application_is_an_error() -> None:
    """An atomic task does not run where no Django is set up."""
    called.seen.clear()
    dispatched = Dispatched(worker(), sqs_record(message_body("catalogue.called.keep")))
    assert dispatched.outcomes == ["failed"]
    assert "Django is not set up" in str(dispatched.errors[0])
    assert called.seen == []
