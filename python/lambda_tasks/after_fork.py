"""The one hook of forks: it lets go of all that a child must not share with its parent.

A connection that two processes write to gives each the answers of the other. A lock that another thread held is never
released in the child, which has none of its parent's threads.
"""

from __future__ import annotations

import os
import threading
import time
from _weakrefset import WeakSet  # as threading does: weakref would cost a cold start 0.3 ms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Holder(Protocol):
        """A holder of connections, locks, threads or loops."""

        def let_go_after_fork(self) -> None:
            """Forget what the parent still uses. It must neither raise nor wait."""
            ...


_holders: WeakSet[Holder] = WeakSet()
_threads: set[int] = set()

_MOST_THREADS = 64
_ENDING_SECONDS = 0.1


def register(holder: Holder) -> None:
    """Have `holder` let go in each child that is forked from now on, for as long as it lives."""
    _holders.add(holder)


def note_thread() -> None:
    """Note that the calling thread talks to AWS and may end soon: a fork waits until it is gone from the system.

    Where Python has done with a thread, OpenSSL still holds a lock of all threads for a moment.
    """
    if len(_threads) >= _MOST_THREADS:
        _threads.intersection_update([one for one in list(_threads) if _is_there(one)])
    _threads.add(threading.get_native_id())


def _is_there(thread: int) -> bool:
    return os.path.exists(f"/proc/self/task/{thread}")  # noqa: PTH110 - pathlib would cost a cold start 2 ms


def _wait_for_ending_threads() -> None:
    if not _threads:
        return
    running = {one.native_id for one in threading.enumerate()}
    until = time.monotonic() + _ENDING_SECONDS
    for thread in _threads - running:
        while _is_there(thread) and time.monotonic() < until:
            time.sleep(0.0005)
        _threads.discard(thread)


def _let_go() -> None:
    _threads.clear()
    for holder in list(_holders):
        holder.let_go_after_fork()


os.register_at_fork(before=_wait_for_ending_threads, after_in_child=_let_go)
