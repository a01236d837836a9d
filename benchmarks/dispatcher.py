"""The cost of the dispatcher: its import, a message, waiting together, and memory.

The other side is Powertools' batch utility at the same job: JSON, a pydantic model, and the function by its name.
"""

from __future__ import annotations

import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from pydantic import BaseModel

from benchmarks.measure import Command as Program
from benchmarks.measure import Figure, cpu_figure, in_turn
from events import Context, message_body, sqs_event, sqs_record
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.dispatch.worker import Worker
from lambda_tasks.local.runtime.file_system import make_runtime
from lambda_tasks.settings import Settings
from wrapper import base_environ

ROOT = Path(__file__).resolve().parent.parent
BATCH = 10
ROUNDS = 21
BATCHES_A_ROUND = 100


def figures() -> list[Figure]:
    """Return the figures, each measured in turn."""
    return [import_time(), time_of_a_message(), time_within_limits(), async_tasks(), memory()]


def import_time() -> Figure:
    """Compare what importing the handler adds to the runtime with what importing Powertools' batch utility adds.

    Each side has the runtime and its own requirements on its path, as a layer of it has, and nothing else.
    """
    runtime = "awslambdaric.bootstrap"
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: _packages(Path(folder) / name, required) for name, required in _REQUIRED.items()}
        commands = {
            "our runtime": _import(runtime, paths["ours"]),
            "ours": _import(f"{runtime}, lambda_tasks.handler", paths["ours"]),
            "their runtime": _import(runtime, paths["theirs"]),
            "theirs": _import(f"{runtime}, aws_lambda_powertools.utilities.batch", paths["theirs"]),
        }
        times = in_turn(commands)
    ours = times["ours"].above(times["our runtime"])
    theirs = times["theirs"].above(times["their runtime"])
    return cpu_figure("import, handler / Powertools batch", ours, theirs, 0.33)


_REQUIRED = {"ours": ("awslambdaric", "msgspec"), "theirs": ("awslambdaric", "aws-lambda-powertools")}


def _packages(folder: Path, required: Sequence[str]) -> str:
    make_runtime(folder, required)
    return f"{folder}:{ROOT}/python" if "msgspec" in required else str(folder)


def _import(modules: str, path: str) -> Program:
    return Program([sys.executable, "-S", "-c", f"import {modules}"], {**base_environ(), "PYTHONPATH": path})


def time_of_a_message() -> Figure:
    """Compare a no-op task with two validated kwargs, in batches of ten, without a context and so without limits."""
    return _message("a message, ours / Powertools", 0.65, None)


def time_within_limits() -> Figure:
    """Compare the same within an invocation's end, which our side keeps: it has a time limit for each message."""
    return _message("a message within an invocation's end, ours / Powertools", 0.9, Context())


def _message(name: str, limit: float, context: Context | None) -> Figure:
    """Time both sides at the same job. Neither logs: there is no handler that would show a success."""
    event = sqs_event(*[sqs_record(_body(number)) for number in range(BATCH)])
    worker = Worker(Settings(modules=("benchmarks.dispatcher_tasks",)), base_environ())

    def ours() -> object:
        return dispatch(event, context, worker)

    def theirs() -> object:
        return _powertools(event)

    assert ours() == theirs() == {"batchItemFailures": []}  # noqa: S101 - both do the job
    return _in_turn(name, limit, ours, theirs, calls=BATCHES_A_ROUND)


def async_tasks() -> Figure:
    """Compare ten async tasks of 100 ms in one batch with one of them."""
    records = [sqs_record(message_body("benchmarks.dispatcher_tasks.wait")) for _ in range(BATCH)]
    worker = Worker(Settings(), base_environ())

    def run(count: int) -> Callable[[], object]:
        return lambda: dispatch(sqs_event(*records[:count]), Context(), worker)

    figure = _in_turn("async tasks, ten / one", 1.2, run(BATCH), run(1), calls=1, per=1)
    worker.close()
    return figure


def memory() -> Figure:
    """Compare the memory of a process after 100,000 messages with what it was after 1,000."""
    command = [sys.executable, "-m", "benchmarks.dispatcher_memory"]
    environ = {**base_environ(), "PYTHONPATH": f"{ROOT}:{ROOT}/tests"}
    printed = subprocess.run(command, env=environ, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    early, late = json.loads(printed)
    return Figure("memory, 100,000 messages / 1,000", late / early, 1.05, f"{late / 1024:.1f} / {early / 1024:.1f} MiB")


def _body(number: int) -> str:
    return message_body("benchmarks.dispatcher_tasks.nothing", order_id=number, currency="EUR")


class _Kwargs(BaseModel):
    order_id: int
    currency: str


_PROCESSOR = BatchProcessor(event_type=EventType.SQS)


def _powertools(event: dict[str, Any]) -> object:
    return process_partial_response(event=event, record_handler=_handle, processor=_PROCESSOR)


def _handle(record: SQSRecord) -> object:
    body = record.json_body
    kwargs = _Kwargs.model_validate(body["kwargs"], strict=True)
    module, _, name = body["task_name"].rpartition(".")
    return getattr(importlib.import_module(module), name)(**dict(kwargs))


def _in_turn(
    name: str, limit: float, ours: Callable[[], object], theirs: Callable[[], object], *, calls: int, per: int = BATCH
) -> Figure:
    """Time both sides `ROUNDS` times in turn, each `calls` times a round, after a round that does not count."""
    taken = [(_seconds(ours, calls), _seconds(theirs, calls)) for _ in range(ROUNDS + 1)]
    mine, other = (statistics.median(side) / calls / per * 1000 for side in zip(*taken[1:], strict=True))
    return Figure(name, mine / other, limit, f"{mine:.4f} / {other:.4f} ms")


def _seconds(call: Callable[[], object], calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - started
