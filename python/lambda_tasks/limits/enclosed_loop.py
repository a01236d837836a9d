"""An event loop that its tasks can neither end nor leave anything in.

An asyncio task can raise `SystemExit`, stop the loop, or outlive whoever started it. None of that is for the next one
who uses the loop.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

logger = logging.getLogger("lambda_tasks")

CANCELLATIONS = 10
CANCELLATION_SECONDS = 0.05  # for a task to end after each
_TURNS = 3
_MOST_NAMES = 10


def is_running() -> bool:
    """Tell whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def run_until_done(loop: asyncio.AbstractEventLoop, tasks: Collection[asyncio.Task[Any]]) -> None:
    """Run `loop` until all of `tasks` are done, whoever stops it in between."""
    waiting = set(tasks)

    def note(task: asyncio.Task[Any]) -> None:
        waiting.discard(task)
        if not waiting:
            loop.stop()

    for task in tasks:
        task.add_done_callback(note)
    while waiting:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            if not _is_of_a_callback(error):
                raise  # of a signal, which is not the loop's to keep
            name = type(error).__name__
            logger.error("an asyncio task raised %s, which ends no other one", name, exc_info=error)  # noqa: TRY400


def _is_of_a_callback(error: BaseException) -> bool:
    """Tell whether code that the loop called has raised `error`, and not a signal while the loop waited."""
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code is asyncio.Handle._run.__code__:
            return True
        traceback = traceback.tb_next
    return False


def cancel_what_is_left(loop: asyncio.AbstractEventLoop) -> bool:
    """Cancel all asyncio tasks of `loop`, which does not run. Tell whether they ended."""
    for number in range(CANCELLATIONS):
        run_until_done(loop, [asyncio.Task(_wait_some_turns(), loop=loop)])
        pending = asyncio.all_tasks(loop)
        if not pending:
            return True
        if number == 0:
            logger.warning("what no message awaits is cancelled at the end of the invocation: %s", names_of(pending))
        for task in pending:
            task.cancel()
        waiting = asyncio.wait(pending, timeout=CANCELLATION_SECONDS)
        run_until_done(loop, [asyncio.Task(waiting, loop=loop)])
    pending = asyncio.all_tasks(loop)
    if pending:
        logger.error("asyncio tasks cannot be cancelled, and are given up with their loop: %s", names_of(pending))
    return not pending


async def _wait_some_turns() -> None:
    """Let an async generator that nobody holds any more end: the loop is asked for a task that closes it."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def close(loop: asyncio.AbstractEventLoop) -> None:
    """Close a loop, after cancelling what still runs in it, as often as it takes within reason."""
    if not loop.is_closed():
        cancel_what_is_left(loop)
        loop.close()


def names_of(tasks: Collection[asyncio.Task[Any]]) -> str:
    """Return the names of asyncio tasks, each with its coroutine's."""
    names = sorted(f"{one.get_name()} ({getattr(one.get_coro(), '__qualname__', '?')})" for one in tasks)
    return ", ".join(names[:_MOST_NAMES]) + (f" and {len(names) - _MOST_NAMES} more" if names[_MOST_NAMES:] else "")
