"""Tasks that end in ways that a worker does not expect. `seen` holds what they note."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import multiprocessing
import os
import sys
import threading
import time
from typing import Any, NoReturn

from lambda_tasks import Item, Reject, Retry, SoftTimeLimitExceeded, task

seen: list[Any] = []
kept: list[Any] = []
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    reason: str


class Slotted(Exception):
    __slots__ = ("reason",)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise TypeError(f"{name} cannot be set")


class Untraceable(Exception):
    @property
    def __traceback__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no traceback here")

    def with_traceback(self, tb: Any) -> NoReturn:  # noqa: ARG002
        raise RuntimeError("nor there")


class Unspeakable(Exception):
    def __str__(self) -> NoReturn:
        sys.exit("do not print me")

    __repr__ = __str__


class NotEvenText(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


class Posing(Exception):
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise ValueError("guess")


class Evasive(Exception):
    def __getattribute__(self, name: str) -> NoReturn:
        raise RuntimeError(f"no {name}")


class Equal(Exception):
    def __eq__(self, other: object) -> NoReturn:
        raise RuntimeError("not comparable")

    def __hash__(self) -> NoReturn:
        raise RuntimeError("nor hashable")

    def __bool__(self) -> NoReturn:
        raise RuntimeError("nor true")


class HalfARetry(Retry):
    def __init__(self) -> None:
        """Make it without a delay."""


class UnspeakableReject(Reject):
    __str__ = Unspeakable.__str__


class Grouping(Exception):
    exceptions = ("not", "errors")


ERRORS: dict[str, Any] = {
    "frozen": lambda: Frozen("reason"),
    "slotted": Slotted,
    "untraceable": Untraceable,
    "unspeakable": Unspeakable,
    "not_even_text": NotEvenText,
    "posing": Posing,
    "evasive": Evasive,
    "equal": Equal,
    "half_a_retry": HalfARetry,
    "unspeakable_reject": UnspeakableReject,
    "grouping": Grouping,
    "exit": SystemExit,
    "interrupt": KeyboardInterrupt,
    "cancelled": asyncio.CancelledError,
    "generator_exit": GeneratorExit,
    "stop_iteration": StopIteration,
    "stop_async_iteration": StopAsyncIteration,
    "memory": MemoryError,
}


@task
def raise_one(*, kind: str) -> NoReturn:
    raise ERRORS[kind]()


@task
async def raise_one_async(*, kind: str) -> NoReturn:
    await asyncio.sleep(0)
    raise ERRORS[kind]()


@task(batch=True)
def fail_each(items: list[Item]) -> None:  # type: ignore[type-arg]
    for item in items:
        item.fail(ERRORS[item.kwargs["kind"]]())


@task
def note(*, number: int) -> int:
    seen.append(number)
    return number


@task
def raise_at(*, number: int) -> None:
    if number == 2:
        raise RuntimeError("the second one")


@task
async def wake_up() -> None:
    """Wait for a thread, which wakes the loop when it is done."""
    await asyncio.to_thread(threading.get_ident)


@task
async def note_async(*, number: int) -> int:
    seen.append(number)
    await asyncio.sleep(0)
    return number


async def _exit(how: str) -> NoReturn:
    if how == "exit":
        sys.exit("from behind")
    raise KeyboardInterrupt


@task
async def exit_in_the_background(*, how: str, awaited: bool = False) -> str:
    child = asyncio.ensure_future(_exit(how))
    kept.append(child)
    await asyncio.sleep(0.02)
    if awaited:
        await child
    return "returned"


@task
async def stop_the_loop(*, times: int = 1) -> str:
    for _ in range(times):
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
    return "returned"


@task
async def cancel_everything() -> None:
    for one in asyncio.all_tasks():
        one.cancel()


@task
async def cancel_the_lanes() -> str:
    for one in asyncio.all_tasks():
        if "_run_lane" in repr(one.get_coro()):
            one.cancel()
    await asyncio.sleep(0.02)
    return "returned"


async def _note_later(seconds: float, what: str) -> None:
    try:
        await asyncio.sleep(seconds)
        seen.append(what)
    except asyncio.CancelledError:
        seen.append(f"{what} cancelled")
        raise


@task
async def leave_behind(*, seconds: float, fails: bool = False) -> str:
    asyncio.get_running_loop().create_task(_note_later(seconds, "left behind"), name="straggler")
    if fails:
        raise ValueError("failed")
    return "returned"


@task(soft_timeout=0.1, hard_timeout=20)
async def leave_behind_with_a_soft_limit() -> str:
    await leave_behind.function(seconds=30)
    return "returned"


async def _generation(left: int) -> None:
    await asyncio.sleep(0.01)
    if left:
        asyncio.ensure_future(_generation(left - 1))  # noqa: RUF006 - what the test is about
    else:
        seen.append("the last one")


@task
async def leave_generations() -> None:
    asyncio.ensure_future(_generation(5))  # noqa: RUF006


async def _never_end() -> None:
    while True:
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            seen.append("refused")


@task(hard_timeout=0.1)
async def leave_what_never_ends() -> str:
    asyncio.ensure_future(_never_end())  # noqa: RUF006
    await asyncio.sleep(0)  # so that it has begun: else it ends where it is cancelled
    return "returned"


@task
async def tasks_of_the_loop() -> list[str]:
    return sorted(repr(one.get_coro().__qualname__) for one in asyncio.all_tasks())  # type: ignore[union-attr]


@task
def set_variable(*, value: str) -> None:
    seen.append(variable.get())
    variable.set(value)


@task
async def set_variable_async(*, value: str) -> None:
    seen.append(variable.get())
    variable.set(value)


@task(batch=True)
def set_variable_of_batch(items: list[Item]) -> None:  # type: ignore[type-arg]
    seen.append(variable.get())
    variable.set(str(len(items)))


@task
def fork(*, path: str, how: str) -> str:
    """Fork, and note in a file who gets how far: the copy returns, raises or exits."""
    process_id = os.fork()
    if process_id == 0:
        return _copy(path, how)
    _, status = os.waitpid(process_id, 0)
    return str(os.waitstatus_to_exitcode(status))


@task
async def fork_async(*, path: str, how: str) -> str:
    process_id = os.fork()
    if process_id == 0:
        if how == "await":
            await asyncio.sleep(0)
        return _copy(path, how)
    _, status = os.waitpid(process_id, 0)
    return str(os.waitstatus_to_exitcode(status))


async def _fork_later(path: str) -> None:
    await asyncio.sleep(0)
    process_id = os.fork()
    if process_id == 0:
        append(path=path, text="copy")
    else:
        os.waitpid(process_id, 0)


@task
async def fork_behind(*, path: str, how: str) -> None:  # noqa: ARG001
    asyncio.ensure_future(_fork_later(path))  # noqa: RUF006
    await asyncio.sleep(0.05)


@task
async def append_async(*, path: str, text: str) -> None:
    await asyncio.sleep(0.05)
    append(path=path, text=text)


def _copy(path: str, how: str) -> str:
    append(path=path, text="copy")
    if how == "raise":
        raise ValueError("in the copy")
    if how == "exit":
        sys.exit(7)
    return "in the copy"


@task
def append(*, path: str, text: str) -> None:
    with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text + "\n")


@task
def start_processes(*, path: str) -> list[int | None]:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=append.function, kwargs={"path": path, "text": "process"}) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


@task
def give(*, kind: str) -> Any:
    return RESULTS[kind]


class Text(str):
    __slots__ = ()


class Unencodable:
    @property
    def __dataclass_fields__(self) -> Any:
        raise RuntimeError("nobody encodes me")


RESULTS: dict[str, Any] = {
    "complex": 1j,
    "object": object(),
    "set": {1},
    "text": Text("safe"),
    "texts": {Text("key"): [Text("safe")]},
    "nan": float("nan"),
    "big": 2**70,
    "surrogate": "\ud800",
    "tuple_keys": {(1, 2): 3},
    "int_keys": {1: 2},
    "large": "x" * (6 * 1024 * 1024 + 1),
    "unencodable": Unencodable(),
    "bytes": b"x",
}
RESULTS["cycle"] = [RESULTS]


@task(hard_timeout=0.3)
def enqueue_within(*, task_name: str) -> None:
    """Enqueue another task, which runs within this one, and wait for the limit."""
    globals()[task_name].enqueue()
    _spin(10)


@task(hard_timeout=0.3)
async def enqueue_within_async(*, task_name: str) -> None:
    globals()[task_name].enqueue()
    time.sleep(10)  # it blocks the loop


@task(hard_timeout=5)
def quick() -> None:
    """Return at once."""


@task(hard_timeout=5)
async def quick_async() -> None:
    await asyncio.sleep(0.01)


@task(hard_timeout=20)
def slow() -> None:
    _spin(10)
    seen.append("slept")


@task
async def slow_async() -> None:
    await asyncio.sleep(10)
    seen.append("slept")


def _spin(seconds: float) -> None:
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        time.sleep(0.005)


@task(soft_timeout=0.1, hard_timeout=20)
async def limited_within_a_timeout() -> None:
    async with asyncio.timeout(10):  # type: ignore[attr-defined,unused-ignore]  # from Python 3.11 on
        await asyncio.sleep(10)


async def _wait_in_a_group(depth: int) -> None:
    async with asyncio.TaskGroup() as group:  # type: ignore[attr-defined,unused-ignore]
        group.create_task(asyncio.sleep(10))
        if depth:
            await _wait_in_a_group(depth - 1)


@task(retry_on=(SoftTimeLimitExceeded,), soft_timeout=0.1, hard_timeout=20)
async def limited_within_groups(*, depth: int = 0) -> None:
    await _wait_in_a_group(depth)


@task
async def unlimited_within_groups(*, depth: int = 0) -> None:
    await _wait_in_a_group(depth)
