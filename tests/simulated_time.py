"""Simulated time: processes take turns, each until it sleeps, and the clock goes at once to whoever wakes next.

A process is a thread, because what is simulated is ordinary code that waits inside its calls. Only one runs at a time,
so that a seed gives the same history again.
"""

from __future__ import annotations

import contextlib
import heapq
import importlib
import itertools
import math
import pkgutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import lambda_tasks
from lambda_tasks.limits.signal_interrupter import NONE

EPOCH_SECONDS = 1_790_000_000.0
_MONOTONIC_AT_START = 1000.0
_READINGS = ("time", "monotonic", "perf_counter", "sleep")
_ROOMS = ("aws", "definition", "dispatch", "limits", "messages", "state", "telemetry", "workflow")


class Over(BaseException):
    """The simulation is over: whatever a process waits for does not come."""


@dataclass(eq=False)
class Process:
    """One thread of the simulation. It never wakes after `dies_at` (seconds since the start); then `died` is called."""

    dies_at: float = math.inf
    died: Callable[[], None] = lambda: None
    soft_at: float = math.inf
    hard_at: float = math.inf
    _turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0), repr=False)
    _wakes: int = 0
    _waits_for: object = None
    _thread: threading.Thread | None = field(default=None, repr=False)


class Schedule:
    """The processes, and the seconds `now` since the start, which pass while all of them sleep."""

    epoch_seconds = EPOCH_SECONDS

    def __init__(self) -> None:
        self.now = 0.0
        self.is_over = False
        self._due: list[tuple[float, int, Process, int]] = []
        self._numbers = itertools.count()
        self._processes: list[Process] = []
        self._returned = threading.Semaphore(0)
        self._local = threading.local()
        self._passing = threading.Lock()

    def start(self, run: Callable[[Process], None]) -> Process:
        """Start a process, whose turn comes when those that are due before it have had theirs."""
        process = Process()

        def live() -> None:
            process._turn.acquire()
            self._local.process = process
            try:
                with contextlib.suppress(Over):
                    self._check()
                    run(process)
            finally:  # an error of the simulation's own must not keep it waiting
                process.dies_at = math.inf
                self._returned.release()

        process._thread = threading.Thread(target=live, name="simulated", daemon=True)
        process._thread.start()
        self._processes.append(process)
        self._wake_at(process, self.now)
        return process

    def run_until(self, end: float, is_done: Callable[[], bool]) -> None:
        """Let the processes have their turns until `end`, or until `is_done` says so."""
        while self._due and not is_done():
            at, _, process, wakes = heapq.heappop(self._due)
            if wakes != process._wakes:
                continue  # it was woken earlier
            if at > end:
                break
            self.now = max(self.now, at)
            if self.now >= process.dies_at:
                process.died()
            else:
                self._give_turn(process)

    def close(self) -> None:
        """End every process that still waits."""
        self.is_over = True
        for process in self._processes:
            if process._thread is not None and process._thread.is_alive():
                self._give_turn(process)
                process._thread.join(30)

    @property
    def process(self) -> Process | None:
        """The process that this thread is; None for a thread that a process started."""
        found: Process | None = getattr(self._local, "process", None)
        return found

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass. In a thread that a process started they pass for all.

        Raises:
            Over: the simulation ended meanwhile.

        """
        process = self.process
        if process is None:
            with self._passing:
                self.now += seconds
            return self._check()
        return self._wait(process, self.now + seconds)

    def wait_for(self, what: object, until: float) -> None:
        """Wait until somebody calls `notify` with `what`, or `until`."""
        process = self.process
        assert process is not None
        process._waits_for = what
        self._wait(process, until)

    def notify(self, what: object) -> None:
        """Wake who waits for `what`."""
        for process in self._processes:
            if process._waits_for is what:
                self._wake_at(process, self.now)

    def _wait(self, process: Process, until: float) -> None:
        self._check()
        self._wake_at(process, min(until, process.dies_at), waits_for=process._waits_for)
        self._returned.release()
        process._turn.acquire()
        self._check()

    def _wake_at(self, process: Process, at: float, waits_for: object = None) -> None:
        process._wakes += 1
        process._waits_for = waits_for
        heapq.heappush(self._due, (at, next(self._numbers), process, process._wakes))

    def _give_turn(self, process: Process) -> None:
        process._waits_for = None
        process._turn.release()
        if not self.is_over:
            self._returned.acquire()

    def _check(self) -> None:
        if self.is_over:
            raise Over


class SimulatedTime:
    """What code of the package sees as the module ``time``."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    def time(self) -> float:
        """Return the epoch seconds of the simulation."""
        return EPOCH_SECONDS + self._schedule.now

    def monotonic(self) -> float:
        """Return the seconds of a clock that nobody sets."""
        return _MONOTONIC_AT_START + self._schedule.now

    perf_counter = monotonic

    def sleep(self, seconds: float) -> None:
        """See `Schedule.sleep`."""
        self._schedule.sleep(seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


@contextlib.contextmanager
def passing(schedule: Schedule) -> Iterator[SimulatedTime]:
    """Let the package's modules see simulated time, and its tasks be limited by it.

    The modules are imported first: one that came later would see the real one.
    """
    simulated = SimulatedTime(schedule)
    replaced = {id(time): simulated, **{id(getattr(time, name)): getattr(simulated, name) for name in _READINGS}}
    changed: list[tuple[dict[str, Any], str, Any]] = []
    for module in _modules():
        names = vars(module)
        for name, value in list(names.items()):
            if id(value) in replaced:
                changed.append((names, name, value))
                names[name] = replaced[id(value)]
    from lambda_tasks.limits import thread_interrupter  # noqa: PLC0415

    names = vars(thread_interrupter)
    changed.append((names, "ThreadInterrupter", names["ThreadInterrupter"]))
    names["ThreadInterrupter"] = lambda _timer: Interrupter(schedule)
    try:
        yield simulated
    finally:
        for names, name, value in reversed(changed):
            names[name] = value


def _modules() -> Iterator[Any]:
    for room in _ROOMS:
        package = importlib.import_module(f"{lambda_tasks.__name__}.{room}")
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == lambda_tasks.__name__:
            yield module


class Interrupter:
    """Limits of a simulated task: `work` raises them, since nothing else of it takes time."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    def run(self, limits: Any, call: Callable[..., Any], kwargs: Mapping[str, Any] = NONE) -> Any:
        """See `lambda_tasks.limits.signal_interrupter.Interrupter`."""
        process = self._schedule.process or Process()
        before = process.soft_at, process.hard_at
        process.soft_at, process.hard_at = self._schedule.now + limits.soft, self._schedule.now + limits.hard
        try:
            return call(**kwargs)
        finally:
            process.soft_at, process.hard_at = before

    def close(self) -> None:
        """See there."""
