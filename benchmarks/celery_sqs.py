"""The speed of `enqueue` and of `lambda-tasks worker` against Celery's: a local SQS, a process each, in turn."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measure import Figure
from benchmarks.producers import sqs_server

ROOT = Path(__file__).resolve().parent.parent
CELERY = ROOT / ".venv-celery" / "bin" / "python"
ROUNDS = 5
COUNTS = {"send": 2_000, "consume": 1_000}


def figures() -> list[Figure]:
    """Measure the figures: messages sent one at a time, and messages consumed by one process."""
    with sqs_server() as url:
        environ = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_ENDPOINT_URL": url}
        environ |= {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1", "PATH": "/usr/bin:/bin"}
        ours = [sys.executable, "-m", "benchmarks.our_side"]
        theirs = [str(CELERY), str(ROOT / "benchmarks" / "celery_side.py")]
        taken: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for _ in range(ROUNDS):
            for role, count in COUNTS.items():
                for side, command in (("ours", ours), ("theirs", theirs)):
                    taken.setdefault((role, side), []).append(_taken([*command, role, url, str(count)], environ))
    return [
        _figure("CPU of messages sent one at a time: enqueue / Celery", "send", 1, taken, 0.9),
        _figure("messages consumed: lambda-tasks worker / celery worker", "consume", 0, taken, 0.2),
        _figure("CPU of messages consumed: the same", "consume", 1, taken, 0.2),
    ]


def _taken(command: Sequence[str], environ: Mapping[str, str]) -> tuple[float, float]:
    done = subprocess.run(command, env=dict(environ), cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    wall, cpu = done.stdout.split()[-2:]
    return float(wall), float(cpu)


def _figure(
    name: str, role: str, kind: int, taken: Mapping[tuple[str, str], Sequence[tuple[float, float]]], limit: float
) -> Figure:
    """Return the ratio of wall time (`kind` 0) or of CPU time (1)."""
    ours, theirs = (
        statistics.median(one[kind] for one in taken[role, side]) / COUNTS[role] for side in ("ours", "theirs")
    )
    return Figure(name, ours / theirs, limit, f"{ours * 1000:.2f} and {theirs * 1000:.2f} ms a message")
