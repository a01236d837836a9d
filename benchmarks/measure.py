"""Time whole processes in turn, so that a machine that slows down slows every side alike.

`pyperf` does not serve: its `command` measures wall time alone, and all runs of one command before those of the next.
These figures are ratios of CPU time as well, and need their sides measured in turn.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

RUNS = 21  # at least 15; an odd number has a median of its own


@dataclass(frozen=True)
class Command:
    """A program with exactly this environment."""

    arguments: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Times:
    """Medians of one command's runs."""

    cpu_ms: float
    wall_ms: float

    def above(self, base: Times) -> Times:
        """Return what they add to `base`."""
        return Times(self.cpu_ms - base.cpu_ms, self.wall_ms - base.wall_ms)


@dataclass(frozen=True)
class Figure:
    """A ratio of two medians, what it may be at most, and the two in milliseconds."""

    name: str
    ratio: float
    limit: float
    detail: str

    @property
    def holds(self) -> bool:
        return self.ratio <= self.limit


def in_turn(commands: Mapping[str, Command], runs: int = RUNS) -> dict[str, Times]:
    """Run each command once, then each once more, and so on; return the medians by name. The first round is a warm-up.

    Raises:
        RuntimeError: a command did not exit with status 0.

    """
    cpu_ms: dict[str, list[float]] = {name: [] for name in commands}
    wall_ms: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(runs + 1):
        for name, command in commands.items():
            cpu, wall = _run(name, command)
            if number:
                cpu_ms[name].append(cpu)
                wall_ms[name].append(wall)
    return {name: Times(statistics.median(cpu_ms[name]), statistics.median(wall_ms[name])) for name in commands}


def cpu_figure(name: str, ours: Times, theirs: Times, limit: float) -> Figure:
    return Figure(name, ours.cpu_ms / theirs.cpu_ms, limit, f"{ours.cpu_ms:.1f} / {theirs.cpu_ms:.1f} ms CPU")


def wall_figure(name: str, ours: Times, theirs: Times, limit: float) -> Figure:
    return Figure(name, ours.wall_ms / theirs.wall_ms, limit, f"{ours.wall_ms:.1f} / {theirs.wall_ms:.1f} ms wall")


def _run(name: str, command: Command) -> tuple[float, float]:
    quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
    started = time.perf_counter()
    pid = os.posix_spawnp(command.arguments[0], list(command.arguments), dict(command.environ), file_actions=quiet)
    _, status, usage = os.wait4(pid, 0)
    wall_ms = (time.perf_counter() - started) * 1000
    if status:
        raise RuntimeError(f"{name} ended with status {os.waitstatus_to_exitcode(status)}")
    return (usage.ru_utime + usage.ru_stime) * 1000, wall_ms
