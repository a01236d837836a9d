"""The processes of a worker: a parent that runs no task, and children that do, each by itself.

The parent starts a child anew that ended, tells all of them when it is to end, and shows their health. It talks to a
child by a socket: beats come from the child, and the end of the socket is what tells a child to drain, also where the
parent was killed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_tasks.containers.health import Health

logger = logging.getLogger("lambda_tasks")

BAD_INPUT = 2
_BEAT = b"."
_LATE_SECONDS = 30.0
_TICK_SECONDS = 0.5
_LONG_LIFE_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 30.0
_BEYOND_GRACE_SECONDS = 15.0  # for what is given back, and for the last answers


class _Child:
    """A child as its parent sees it. It has not begun before its first beat."""

    beat_at: float | None = None

    def __init__(self, number: int, pid: int, line: socket.socket) -> None:
        self.number = number
        self.pid = pid
        self.line = line
        self.started_at = time.monotonic()


class Processes:
    """The parent of `count` processes, each of which calls `child` with its end of the socket, and exits with that."""

    def __init__(
        self, child: Callable[[socket.socket], int], *, count: int, grace_seconds: float, health: Health
    ) -> None:
        self._child = child
        self._count = count
        self._grace_seconds = grace_seconds
        self._health = health
        self._children: dict[int, _Child] = {}
        self._failures = [0] * count
        self._start_at: dict[int, float] = {}
        self._ends_at: float | None = None
        self._status = 0
        self._has_begun = False

    def run(self) -> int:
        """Run the children until SIGTERM or SIGINT, and return the exit status."""
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        for one in (self._wake, self._woken):
            one.settimeout(0)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop())
        signal.signal(signal.SIGCHLD, lambda *_: None)  # it wakes the selector
        self._selector.register(self._woken, selectors.EVENT_READ, self._drop_wakes)
        self._health.listen(self._selector)
        self._start_at = dict.fromkeys(range(self._count), 0.0)
        try:
            while self._ends_at is None or self._children:
                self._step()
        finally:
            self._health.close()
        return self._status

    def _step(self) -> None:
        now = time.monotonic()
        if self._ends_at is None:
            for number in [number for number, at in self._start_at.items() if at <= now]:
                del self._start_at[number]
                self._start(number)
        elif now >= self._ends_at:
            for child in self._children.values():
                logger.error("process %d did not end in time, and is killed", child.pid)
                os.kill(child.pid, signal.SIGKILL)
            self._ends_at = now + _BEYOND_GRACE_SECONDS
        for key, _ in self._selector.select(_TICK_SECONDS):
            key.data()
        self._reap()
        beats = [child.beat_at for child in self._children.values()]
        late = time.monotonic() - _LATE_SECONDS
        is_well = len(beats) == self._count and all(one is not None and one > late for one in beats)
        self._health.note(is_well=is_well)

    def _stop(self) -> None:
        if self._ends_at is None:
            self._ends_at = time.monotonic() + self._grace_seconds + _BEYOND_GRACE_SECONDS
            for child in self._children.values():
                with contextlib.suppress(OSError):
                    child.line.shutdown(socket.SHUT_WR)

    def _start(self, number: int) -> None:
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._become_child(theirs)
        theirs.close()
        ours.settimeout(0)
        child = self._children[pid] = _Child(number, pid, ours)
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._hear(child))

    def _become_child(self, line: socket.socket) -> None:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            # A terminal, and some containers, signal every process: a child drains when its parent says so.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: None)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.register_at_fork(after_in_child=_be_ordinary)
            self._selector.close()
            for one in (self._wake, self._woken, *(child.line for child in self._children.values())):
                one.close()
            self._health.let_go()
            status = self._child(line)
        except BaseException:
            logger.exception("the process ends")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _hear(self, child: _Child) -> None:
        with contextlib.suppress(OSError):
            if child.line.recv(4096):
                child.beat_at = time.monotonic()
                self._has_begun = True
                return
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(child.line)  # it ends

    def _drop_wakes(self) -> None:
        with contextlib.suppress(OSError):
            self._woken.recv(4096)

    def _reap(self) -> None:
        """Take note of the children that ended, and of orphans, which the first process of a container has to."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is not None:
                self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: _Child, status: int) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(child.line)
        child.line.close()
        if self._ends_at is not None:
            if status:
                self._status = self._status or 1
            return
        if not self._has_begun:  # others could not begin either
            self._status = status if status > 0 else 1
            self._stop()
            return
        lived = time.monotonic() - child.started_at
        failures = self._failures[child.number] = 0 if lived > _LONG_LIFE_SECONDS else self._failures[child.number] + 1
        pause = 0.0 if failures <= 1 else min(2.0 ** (failures - 2), _LONGEST_PAUSE_SECONDS)
        logger.error(
            "process %d ended with status %d, and another one takes its place in %g s", child.pid, status, pause
        )
        self._start_at[child.number] = time.monotonic() + pause


def _be_ordinary() -> None:
    """Let a process that a task forked end by signals, as `multiprocessing` has it end."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def beat(line: socket.socket) -> None:
    """Tell the parent that this child is well. A parent that does not listen is no reason to wait."""
    with contextlib.suppress(OSError):
        line.send(_BEAT, socket.MSG_DONTWAIT)


def wait_for_end(line: socket.socket) -> None:
    """Wait until the parent tells this child to end, or has ended itself."""
    with contextlib.suppress(OSError):
        while line.recv(1):
            pass
