"""The cost of Django: a cold start and a message with records in a database, beside django-lambda-tasks 0.8.1.

Both sides run the same project with the same Python, Django, driver and database, each with its own handler: PostgreSQL
where it is installed, or else SQLite.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Command, Figure, cpu_figure, in_turn, wall_figure
from benchmarks.resolver import arn, base_environ, server
from databases import postgresql
from layer import build

ROOT = Path(__file__).resolve().parent.parent
APP = ROOT / "benchmarks" / "django_app"
PEER = ROOT / ".venv-peer" / "bin" / "python"

OURS, THEIRS = "lambda_tasks.django", "lambda_tasks"
ROUNDS = 21
BATCHES_A_ROUND = 5
BATCH = 10
VERSION = "11111111-2222-3333-4444-555555555555"  # the form that theirs takes has one

BARE = "import awslambdaric.bootstrap, django; django.setup(); import bench_shop.models"
WITH_OURS = "import awslambdaric.bootstrap, lambda_tasks.handler"
# It resolves and sets Django up in the first invocation.
WITH_THEIRS = """
import awslambdaric.bootstrap
from lambda_tasks.handler import handler
handler({"Records": []}, None)
import bench_shop.tasks
"""

RESULT = """
import django; django.setup()
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from bench_shop.jobs import answer
call_command("migrate", verbosity=0)
sent = answer.enqueue()
with CaptureQueriesContext(connection) as queries:
    answer.get_result(sent.id)
print(len(queries))
"""


def figures() -> list[Figure]:
    """Return the figures, each measured in turn."""
    if not PEER.exists():
        raise RuntimeError("django-lambda-tasks is not installed: make setup-peer")
    with tempfile.TemporaryDirectory(prefix="lambda-tasks-") as name:
        folder = Path(name)
        build.main(["--into", str(folder / "opt")], os.environ)
        return [*_cold_start(folder / "opt"), *_messages(folder), _result()]


def _environ(opt: Path | None, *apps: str, **variables: str) -> dict[str, str]:
    path = [str(APP), *([f"{opt}/python"] if opt else []), str(ROOT)]
    return {
        **base_environ("http://127.0.0.1:9"),
        "LAMBDA_TASKS_PYTHON": str(PEER),
        "PYTHONPATH": ":".join(path),
        "DJANGO_SETTINGS_MODULE": "bench_settings",
        "BENCH_APPS": " ".join(apps),
        **variables,
    }


def _cold_start(opt: Path) -> list[Figure]:
    with server() as port:
        references = {"LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN": f"{arn(0)}:{VERSION}"}
        references |= {f"LAMBDA_TASKS_SECRET_VARIABLE_{n}": f"{arn(1 + n % 3)}:KEY_{n}::{VERSION}" for n in range(5)}
        references["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
        python, wrapper = str(PEER), f"{opt}/bin/lambda-tasks-exec"
        ours = {**references, "LAMBDA_TASKS_MODULES": "bench_shop.tasks", "LAMBDA_TASKS_TABLE": "django"}
        times = in_turn(
            {
                "bare": Command([python, "-c", BARE], _environ(None)),
                "ours": Command([wrapper, python, "-c", WITH_OURS], _environ(opt, OURS, **ours)),
                "theirs": Command([python, "-c", WITH_THEIRS], _environ(None, THEIRS, **references)),
            }
        )
    mine, other = (times[side].above(times["bare"]) for side in ("ours", "theirs"))
    return [
        wall_figure("cold start above Django's set-up, ours / theirs", mine, other, 0.75),
        cpu_figure("its CPU", mine, other, 0.75),
    ]


def _messages(folder: Path) -> list[Figure]:
    with contextlib.ExitStack() as stack:
        where = {}
        with contextlib.suppress(BaseException):  # a test is skipped without it
            where = {"BENCH_SOCKET": str(stack.enter_context(postgresql()))}
        sides = {}
        for name, opt in ((OURS, folder / "opt"), (THEIRS, None)):
            own = {"LAMBDA_TASKS_TABLE": "django"} if name is OURS else {}
            environ = _environ(opt, name, BENCH_DATABASE=str(folder / f"{name}.sqlite3"), **where, **own)
            sides[name] = stack.enter_context(_served(environ))
        vendors = {side.vendor for side in sides.values()}
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for _ in range(ROUNDS + 1):
            for name, side in sides.items():
                taken[name].append(side.round())
    wall, cpu = ({name: _median(taken[name][1:], part) for name in taken} for part in (0, 1))
    return [
        _figure(f"a message with a record in {vendors.pop()}, ours / theirs", wall, 0.6),
        _figure("its CPU", cpu, 0.6),
    ]


def _result() -> Figure:
    """Count the queries of ``get_result``, in the environment that has ``django.tasks``."""
    environ = _environ(
        None, OURS, "django_tasks", BENCH_RESULTS="1", LAMBDA_TASKS_TABLE="django", LAMBDA_TASKS_MODE="off"
    )
    printed = subprocess.run([sys.executable, "-c", RESULT], env=environ, check=True, capture_output=True, text=True)
    count = int(printed.stdout)
    return Figure("queries of get_result", count, 1, f"{count} in SQLite")


@dataclasses.dataclass
class _Side:
    process: subprocess.Popen[str]
    vendor: str

    def round(self) -> tuple[float, float]:
        """Return the seconds of a round."""
        assert self.process.stdin is not None and self.process.stdout is not None  # noqa: S101, PT018 - for mypy
        self.process.stdin.write(f"{BATCHES_A_ROUND}\n")
        self.process.stdin.flush()
        wall, cpu = json.loads(self.process.stdout.readline())
        return wall, cpu


@contextlib.contextmanager
def _served(environ: dict[str, str]) -> Iterator[_Side]:
    command = [str(PEER), "-m", "benchmarks.django_side"]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=environ, text=True, **streams) as process:  # type: ignore[call-overload]
        try:
            yield _Side(process, process.stdout.readline().strip())
        finally:
            process.stdin.close()


def _median(taken: list[tuple[float, float]], part: int) -> float:
    return statistics.median(one[part] for one in taken) / BATCHES_A_ROUND / BATCH * 1000


def _figure(name: str, of: dict[str, float], limit: float) -> Figure:
    return Figure(name, of[OURS] / of[THEIRS], limit, f"{of[OURS]:.3f} / {of[THEIRS]:.3f} ms")
