"""One task for each way that a message can end. `ran` holds the calls, in order."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import sys
import threading
import time
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, NoReturn

from lambda_tasks import Item, Reject, Retry, SoftTimeLimitExceeded, context, task

ran: list[int] = []
seen: list[Any] = []


@task
def add(*, number: int, addend: int = 1) -> int:
    ran.append(number)
    return number + addend


@task
def fail(*, number: int = 0) -> NoReturn:
    ran.append(number)
    raise ConnectionError("the other side is down")


@task(ignore_errors=(FileNotFoundError,))
def ignore(*, path: str) -> None:
    raise FileNotFoundError(path)


@task
def leave() -> NoReturn:
    sys.exit("a task that ends the process")


@task
def misannotated(*, order: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821
    """A task that no message can fit."""


@task
def everything(*, number: int, text: str, day: date, price: Decimal, names: list[int]) -> None:
    """A task with kwargs of several kinds."""


@task
def print_without_end(*, way: str) -> None:
    """Leave a line without its end, by Python, or as programs and C code write."""
    if way == "print":
        sys.stdout.write("37 % done")
    else:
        os.write(sys.__stdout__.fileno(), b"74 % done")  # type: ignore[union-attr]


@task
def take_names(*, self: int, args: int, kwargs: int, function: int, call: int, definition: int) -> list[int]:
    return [self, args, kwargs, function, call, definition]


@task
def run_a_loop() -> str:
    async def main() -> str:
        return "a loop ran"

    return asyncio.run(main())


@task
def note(*, text: str) -> str:
    return text


@task(retry_on=(TimeoutError,), max_retries=3)
def succeed_after(*, failures: int) -> int:
    """A task that succeeds after so many failures."""
    if context.receive_count <= failures:
        raise TimeoutError
    return context.receive_count


@task
def chain(*, number: int) -> None:
    """A task that enqueues another one."""
    add.enqueue(number=number)


def undecorated() -> None:
    """Not a task: no message may run it."""
    ran.append(-1)


@task(retry_on=(ConnectionError,), max_retries=3, retry_delay=10)
def unreliable(*, number: int = 0) -> NoReturn:
    ran.append(number)
    raise ConnectionResetError("reset")


@task(retry_on=(ConnectionError,))
async def unreliable_async(*, number: int = 0) -> NoReturn:
    ran.append(number)
    await asyncio.sleep(0)
    raise ConnectionResetError("reset")


@task
def ask_again(*, delay: float | None = None) -> NoReturn:
    raise Retry(delay=delay)


@task
def refuse() -> NoReturn:
    raise Reject("out of stock")


@task
def hold_time(*, seconds: float, number: int = 0) -> str:
    """Sleep, in small steps that any limit can get into."""
    ran.append(number)
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        time.sleep(0.005)
    return "slept"


@task(hard_timeout=0.1)
def overrun(*, number: int = 0) -> None:
    ran.append(number)
    try:
        while True:
            time.sleep(0.005)
    except Exception:  # noqa: BLE001 - as careless tasks do
        seen.append("swallowed")


@task(soft_timeout=0.05, hard_timeout=10)
def clean_up() -> str:
    try:
        while True:
            time.sleep(0.005)
    except SoftTimeLimitExceeded:
        return "cleaned up"


@task
def leak() -> None:
    """Keep all memory that there is."""
    while True:
        leaked.append(bytearray(2**20))


@task
def take(*, number: int, of: int) -> int:
    """Need some of it."""
    return len(bytearray(2**25)) + number + of


leaked: list[bytearray] = []


@task(hard_timeout=0.1)
def be_quick() -> None:
    """Return at once."""


@task(hard_timeout=0.05)
def sleep_on() -> None:
    """Sleep through the limit, where no signal wakes it."""
    time.sleep(1.5)


@task(soft_timeout=0.05)
def clean_up_at_leisure() -> str:
    return clean_up.function()


@task(hard_timeout=30)
def long_at_most(*, number: int = 0) -> None:
    ran.append(number)


@task(hard_timeout=0.1)
async def overrun_async() -> None:
    try:
        await asyncio.gather(asyncio.sleep(30))
    except Exception:  # noqa: BLE001
        seen.append("swallowed")


@task(soft_timeout=0.05, hard_timeout=10)
async def clean_up_async() -> str:
    try:
        await asyncio.sleep(30)
    except SoftTimeLimitExceeded:
        return "cleaned up"
    return "slept"


@task(hard_timeout=0.1)
async def block_the_loop() -> None:
    time.sleep(30)  # what an async task must not do


@task(hard_timeout=0.1)
async def refuse_to_end() -> None:
    for _ in range(9):
        try:
            await asyncio.sleep(30)
        except BaseException as error:  # noqa: BLE001 - what a task must not do
            seen.append(type(error).__name__)


@task(hard_timeout=0.2)
def stick() -> None:
    """Stay in C code, which lets other threads run and takes no signal, far beyond the limit."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", 50_000_000)


@task
async def meet(*, number: int, of: int) -> int:
    """Wait until as many of these run at the same time."""
    ran.append(number)
    while len(ran) < of:
        await asyncio.sleep(0.001)
    return number


@task(hard_timeout=900)
async def meet_for_long(*, number: int, of: int) -> int:
    return await meet(number=number, of=of)


barriers: dict[str, threading.Barrier] = {}


@task
def meet_in_threads(*, barrier: str) -> None:
    barriers[barrier].wait(10)
    seen.append(threading.current_thread() is threading.main_thread())


@task
def note_remaining() -> None:
    """Note the milliseconds that are left."""
    seen.append(context.remaining_time_ms)


@task
def note_context() -> None:
    seen.append((context.message_id, context.receive_count, dict(context), context.remaining_time_ms))


@task(singleton=True)
def alone(*, number: int = 0) -> None:
    ran.append(number)


@task(singleton=("warehouse_id",), singleton_busy="skip")
def alone_by_warehouse(*, warehouse_id: int, number: int = 0) -> None:  # noqa: ARG001
    ran.append(number)


@dataclass(frozen=True)
class Product:
    """The kwargs of one message of `index`."""

    product_id: int


@task(batch=True, retry_on=(ConnectionError,))
def index(items: list[Item[Product]]) -> None:
    """Fail the product 13 alone, ask again for 14, and everything for 0."""
    seen.append([item.kwargs.product_id for item in items])
    for item in items:
        if item.kwargs.product_id == 13:
            item.fail("no such product")
        if item.kwargs.product_id == 14:
            item.retry(delay=7)
        if item.kwargs.product_id == 0:
            raise ConnectionError("the index is down")


@task(batch=True, singleton=True)
def index_alone(items: list[Item[Product]]) -> None:
    """Note the batch, while nobody else does."""
    seen.append([item.kwargs.product_id for item in items])


@task(batch=True)
async def index_async(items: list[Item]) -> None:  # type: ignore[type-arg]
    seen.append([item.kwargs for item in items])


@task(hard_timeout=0.2)
async def stick_async() -> None:
    hashlib.pbkdf2_hmac("sha256", b"", b"", 50_000_000)


@task(retry_on=(ConnectionError,), retry_delay=1)
def flaky(*, number: int) -> int:
    """Fail the first time that this process runs it."""
    ran.append(number)
    if ran.count(number) == 1:
        raise ConnectionError("try again")
    return number


@task
def say_and_stay() -> None:
    """Print a line, and stay in a system call."""
    print("here", flush=True)  # noqa: T201
    time.sleep(600)


on_unreliable: list[Any] = []


@task(retry_on=(ConnectionError,))
def unreliable_and_told() -> NoReturn:
    """A task that tells of itself before it fails."""
    for listener in on_unreliable:
        listener(None)
    raise ConnectionResetError("reset")


@task(hard_timeout=3)
def run_in_three_seconds() -> None:
    """A task that is started only where it could run for three seconds."""


def _tell(where: str) -> None:
    logger = logging.getLogger("shop")
    logger.warning("seen in %s", where)
    logger.error("own key in %s", where, extra={"task": "mine", "outcome": "told"})
    try:
        int("no such order")
    except ValueError:
        logger.exception("trouble in %s", where)


@task
def log_something(*, where: str) -> None:
    _tell(where)


@task
async def log_something_async(*, where: str) -> None:
    await asyncio.sleep(0)
    _tell(where)
    await asyncio.to_thread(_tell, f"{where}, a thread of its own")
