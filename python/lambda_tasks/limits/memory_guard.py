"""A limit below the function's memory: a task that wants too much gets `MemoryError`, and its message an outcome.

Without it Lambda kills the execution environment, and with it the rest of the batch, again at every delivery.

The limit is on data (``RLIMIT_DATA``: heap and private writable mappings) and not on address space (``RLIMIT_AS``).
That counts address ranges without memory too: mapped files, guard pages, and the 64 MB that the C library sets aside
for each thread, so that in a small function a dozen threads would exhaust it.
"""

from __future__ import annotations

import functools
import gc
import logging
import resource
import traceback
from typing import TYPE_CHECKING

from lambda_tasks import settings

if TYPE_CHECKING:
    from collections.abc import Mapping

MIB = 1024 * 1024

_RESERVED_MIB = 32  # for memory that is no data of this process: its code, other processes, the kernel's buffers
_RESERVED_SHARE = 0.1
_HEADROOM_BYTES = 8 * MIB  # a part of it: to report in, once a task has used up all that there is

_EXHAUSTED_PART = 0.9

logger = logging.getLogger("lambda_tasks")


class MemoryGuard:
    """Two limits of this process: `limit_tasks` sets that of tasks, before each one, and `make_room` a higher one.

    The room between them is for reports: it has to be made before anything else when a task has raised. The guard
    `is_exhausted` when a task ran out of memory and the memory stays used, as by values that tasks leave in global
    variables: no other task would fare better in this process. To `give_up` is to have no limit from then on: a new
    thread, for one, would count with its whole stack.
    """

    def __init__(self, limit_bytes: int, hard: int) -> None:
        self.is_exhausted = False
        self._limit_bytes = limit_bytes
        of_tasks, of_reports = (limit_bytes, hard), (limit_bytes + _HEADROOM_BYTES, hard)
        # Functions in C with arguments that exist: where memory ran out there is none for a frame of Python's.
        self.limit_tasks = functools.partial(resource.setrlimit, resource.RLIMIT_DATA, of_tasks)
        self.make_room = functools.partial(resource.setrlimit, resource.RLIMIT_DATA, of_reports)
        self.give_up = functools.partial(resource.setrlimit, resource.RLIMIT_DATA, (hard, hard))

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> MemoryGuard | None:
        """Set the limit of tasks, also for the processes that this one starts, each by itself.

        If Lambda does not say how much memory there is, log that nothing is guarded, and return None.
        """
        wanted = limit_bytes(environ)
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if wanted is None or (hard != resource.RLIM_INFINITY and wanted + _HEADROOM_BYTES > hard):
            logger.warning("there is no memory guard: AWS_LAMBDA_FUNCTION_MEMORY_SIZE gives no limit that can be set")
            return None
        guard = cls(wanted, hard)
        guard.limit_tasks()
        return guard

    def relieve(self, error: BaseException) -> None:
        """Free what a task held that ended with `error`, if that is a `MemoryError`.

        The traceback stays, without the values of its frames' variables.
        """
        if _ran_out_of_memory(error):
            for one in _chain(error):
                traceback.clear_frames(one.__traceback__)
            gc.collect()
            self.is_exhausted = _data_bytes() > self._limit_bytes * _EXHAUSTED_PART
            if self.is_exhausted:
                self.give_up()


def limit_bytes(environ: Mapping[str, str]) -> int | None:
    """Return how much data the tasks of this process may have, or None where that is not known, or would be too little.

    Several processes of an execution environment have equal shares.
    """
    text = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    size = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    share = (size - max(_RESERVED_MIB, size * _RESERVED_SHARE)) / settings.processes(environ)
    return round(share * MIB) if share > _RESERVED_MIB else None


def _data_bytes() -> int:
    """Return how much data this process has: see proc(5), ``/proc/pid/statm``."""
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123
        return int(statm.read().split()[5]) * resource.getpagesize()


def _ran_out_of_memory(error: BaseException) -> bool:
    return any(isinstance(one, MemoryError) for one in _chain(error))


def _chain(error: BaseException) -> list[BaseException]:
    """Return `error`, its causes and contexts, and the errors that it groups, with theirs."""
    chain: dict[int, BaseException] = {}
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is not None and id(one) not in chain:
            chain[id(one)] = one
            grouped = getattr(one, "exceptions", ())
            pending += [one.__cause__, one.__context__]
            pending += [each for each in grouped if isinstance(each, BaseException)] if type(grouped) is tuple else []
    return list(chain.values())
