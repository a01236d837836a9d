"""An application's code as type checkers see it: `test_typing.py` has them check it, and compares what they say.

A line with ``# wrong: <mypy's codes> | <pyright's rules>`` has these errors, and every other line has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict

from lambda_tasks import Item, Task, context, task
from lambda_tasks.testing import TaskQueue

ERRORS: list[type[OSError]] = [ConnectionError, TimeoutError]
IS_BATCH = bool(ERRORS)


@dataclass
class Product:
    product_id: int
    colour: str = "red"


class Line(TypedDict):
    product_id: int


@task
def positional(number: int, text: str = "") -> str:
    return text * number


@task(retry_on=[ConnectionError, ValueError], ignore_errors=ERRORS, singleton=["order_id"], soft_timeout=timedelta(1))
def send(*, order_id: int, copies: int = 1) -> int:
    return order_id * copies


@task
async def send_async(*, order_id: int) -> int:
    return order_id


@task(batch=True, retry_on=(ConnectionError,))
def index(items: list[Item[Product]]) -> None:
    for item in items:
        number: int = item.kwargs.product_id
        if number == 13:
            item.fail("no such product")


@task(batch=True)
async def index_async(items: list[Item[Product]]) -> None:
    print(items)


@task(batch=True)
def index_lines(items: list[Item[Line]]) -> None:
    print([item.kwargs["product_id"] for item in items])


@task(batch=False)
def alone(*, name: str) -> None:
    print(name)


# What is decided when the program runs can be no more than this.
@task(batch=IS_BATCH)
def either(items: list[Item[Product]]) -> None:
    print(items)


@task(batch=True)  # wrong: arg-type | reportCallIssue reportArgumentType
def no_items(items: list[int]) -> None:
    print(items)


@task(batch=True)  # wrong: arg-type type-var | reportCallIssue reportArgumentType
def more_than_items(items: list[Item[Product]], number: int) -> None:
    print(items, number)


@task(retry_on="ConnectionError")  # wrong: arg-type | reportArgumentType
def misspelt(*, name: str) -> None:
    print(name)


def call() -> None:
    number: int = send(order_id=1)
    number = send(order_id="1")  # wrong: arg-type | reportArgumentType
    print(number, positional(1, "a"))


def enqueue() -> None:
    message_id: str = send.enqueue(order_id=1)
    message_id = send.options(delay=60, group="a").enqueue(order_id=1, copies=2)
    print(message_id, positional.enqueue(number=1), send_async.enqueue(order_id=1))
    send.enqueue(order_id="1")  # wrong: call-overload | reportArgumentType
    send.enqueue(order=1)  # wrong: call-overload | reportCallIssue
    send.enqueue()  # wrong: call-overload | reportCallIssue
    send.enqueue(1)  # wrong: unused-coroutine | reportUnusedCoroutine
    positional.enqueue(1)  # wrong: unused-coroutine | reportUnusedCoroutine
    positional.enqueue(1, text="a")  # wrong: unused-coroutine | reportUnusedCoroutine
    positional.enqueue_on_commit(1)  # wrong: unused-coroutine | reportUnusedCoroutine
    message_id = positional.enqueue(1)  # wrong: assignment | reportAssignmentType
    send.options(batch=True)  # wrong: call-arg | reportCallIssue
    send.options(retry_on=ValueError)  # wrong: call-arg | reportCallIssue


async def enqueue_async() -> None:
    message_id: str = await send.aenqueue(order_id=1)
    print(message_id)
    await positional.aenqueue(1)  # wrong: misc | reportGeneralTypeIssues


def enqueue_batches() -> None:
    index.enqueue(product_id=1)
    index.options(group="a").enqueue(product_id=1, colour="blue")
    index_async.enqueue(product_id=1)
    index_lines.enqueue(product_id=1)
    either.enqueue(product_id=1)
    index.enqueue(nope=1)  # wrong: call-arg | reportCallIssue
    index.enqueue(product_id="1")  # wrong: arg-type | reportArgumentType
    index.options(group="a").enqueue(nope=1)  # wrong: call-arg | reportCallIssue
    index_async.enqueue(nope=1)  # wrong: call-arg | reportCallIssue


def enqueue_many() -> None:
    sent: int = send.enqueue_many([{"order_id": 1}, {"order_id": 2}]).sent
    sent += index.enqueue_many({"product_id": number} for number in range(3)).sent
    print(sent)


def bind(values: dict[str, object]) -> None:
    with context.bind(tenant="acme", correlation_id="c-1", user=values):
        print(context["tenant"])
    with context.bind(message_id="m-1"):  # wrong: arg-type | reportArgumentType
        pass
    with context.bind(tenant="acme", task="a", attempt=1):  # wrong: arg-type | reportArgumentType
        pass


def run(task_queue: TaskQueue, some: Task[..., Any]) -> None:
    for one in task_queue.of(some):
        print(one.kwargs)
    run(task_queue, index)
    run(task_queue, send)
