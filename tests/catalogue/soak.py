"""Tasks for the soak. Each notes its effect as one line of a file: message, process, and a number of its own."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import time
import uuid
from dataclasses import dataclass

from lambda_tasks import Item, context, gather, step, steps, task


@dataclass(frozen=True)
class Number:
    """The kwargs of one message."""

    number: int


def take_effect(message_id: str) -> None:
    """Do what must be done once: add a line, in one write."""
    line = (
        json.dumps({"message_id": message_id, "process": name_of_process(os.getpid()), "effect": uuid.uuid4().hex})
        + "\n"
    )
    _write(line)


def _write(line: str) -> None:
    descriptor = os.open(os.environ["SOAK_EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def name_of_process(pid: int) -> str:
    """Return a name for a process that no later one has: its id may be used again, its id and start time not."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:  # noqa: PTH123
        return f"{pid}-{stat.read().rpartition(')')[2].split()[19]}"


def note_step(message_id: str, name: str, *, is_kept: bool = False) -> None:
    """Note that a step takes effect, or that it is kept."""
    line = {"message_id": message_id, "process": name_of_process(os.getpid()), "step": name, "is_kept": is_kept}
    _write(json.dumps(line) + "\n")


def kept_step(name: str) -> None:
    message_id = context.message_id
    step(name, note_step, message_id, name)
    note_step(message_id, name, is_kept=True)


@task
def in_steps(*, number: int) -> int:
    """Have steps, a loop with steps, steps in threads, and at last one with the effect of the message."""
    kept_step("first")
    for item in steps(range(2), name="item"):
        kept_step(f"part of {item}")
    gather(functools.partial(kept_step, "one beside"), functools.partial(kept_step, "another beside"))
    step("effect", take_effect, context.message_id)
    return number


@task
def succeed(*, number: int) -> int:
    take_effect(context.message_id)
    return number


@task
def take_time(*, number: int) -> int:
    time.sleep(0.1)
    take_effect(context.message_id)
    return number


@task
async def succeed_async(*, number: int) -> int:
    await asyncio.sleep(0.05)
    take_effect(context.message_id)
    return number


@task(retry_on=(ConnectionError,), retry_delay=1, max_retries=1000)
def recover(*, number: int) -> int:
    """Fail at every first delivery."""
    if context.receive_count == 1:
        raise ConnectionError("not yet")
    take_effect(context.message_id)
    return number


@task
def fail(*, number: int) -> None:
    raise ValueError(f"never {number}")


@task(hard_timeout=0.2)
def overrun(*, number: int) -> int:
    time.sleep(60)
    return number


@task(singleton=True, retry_delay=1)
def alone(*, number: int) -> int:
    take_effect(context.message_id)
    return number


@task(singleton=True, singleton_busy="skip")
def alone_or_skipped(*, number: int) -> int:
    take_effect(context.message_id)
    return number


@task(idempotency_key=("order",))
def keyed(*, number: int, order: str) -> str:
    """Take effect once for all messages of one order."""
    take_effect(context.message_id)
    return f"{number} of {order}"


@task(batch=True)
def together(items: list[Item[Number]]) -> None:
    for item in items:
        take_effect(item.message_id)


@task(batch=True)
async def together_async(items: list[Item[Number]]) -> None:
    await asyncio.sleep(0.01)
    for item in items:
        take_effect(item.message_id)
