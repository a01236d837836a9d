"""Tasks that show which process they run in, and what it has of its own."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random

from lambda_tasks import task
from lambda_tasks.state.protocol import new_owner

logger = logging.getLogger("shop")
kept: list[bytearray] = []

MIB = 1024 * 1024


@task
def show() -> None:
    """Log the process, its random numbers, and how much memory there is for it."""
    taken: list[bytearray] = []
    try:
        while True:
            taken.append(bytearray(MIB))
    except MemoryError:
        mebibytes = len(taken)
        taken.clear()
    logger.warning({"pid": os.getpid(), "random": [random.random(), new_owner()], "mebibytes": mebibytes})  # noqa: S311


@task
async def show_loop() -> None:
    """Log the process in whose event loop this wakes up."""
    await asyncio.sleep(0.001)
    logger.warning({"pid": os.getpid(), "loop": "woken"})


@task
def keep() -> None:
    """Take all memory, and keep it."""
    while True:
        kept.append(bytearray(MIB))


@task(hard_timeout=0.2)
def stick() -> None:
    """Stay in C code far beyond the limit."""
    logger.warning({"pid": os.getpid(), "stuck": True})
    hashlib.pbkdf2_hmac("sha256", b"", b"", 50_000_000)
