"""A cold start, measured whole: how long the emulator says that the init phase took, wrapper and imports included.

`PYTHONPATH=tests python -m benchmarks.cold_start [--rounds N]` prints three figures, measured in turn: (a) a bare
handler, (b) the layer with its wrapper, one environment secret, five references and the dispatcher, (c) the same job as
it is usually written. `--page` also draws them and writes them into a table, in `docs/explanation`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cold_start_report
from benchmarks.measure import RUNS, Figure
from benchmarks.packages import package_layer
from benchmarks.resolver import arn, references, server
from lambda_tasks.local.runtime.emulator import emulator
from lambda_tasks.local.runtime.emulator_log import init_durations_ms
from lambda_tasks.local.runtime.process import Function, running
from lambda_tasks.testing import message_body, sqs_event, sqs_record

ROOT = Path(__file__).resolve().parent.parent
LAYER = ROOT / "layer" / "dist" / "lambda-tasks-layer.zip"
FUNCTIONS = ROOT / "benchmarks" / "functions"

GOAL = 0.25
# Together with all that they need; AWS brings boto3.
USUAL_PACKAGES = ("aws-lambda-powertools", "pydantic")


class BenchmarkFailed(Exception):
    """Raised when a side did not do the job that is measured."""


@dataclass(frozen=True)
class Side:
    """One way of doing the job."""

    name: str
    function: Function


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and return 1 where the goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=RUNS, help=f"cold starts of each side (default: {RUNS})")
    parser.add_argument("--layer", type=Path, default=LAYER, help="zip of the layer (default: what `make layer` built)")
    parser.add_argument("--page", action="store_true", help="renew the plot and the table in docs/explanation")
    options = parser.parse_args(arguments)
    samples = measure(options.layer, options.rounds)
    print("\n".join(cold_start_report.lines(samples)))
    cost = cold_start_report.cost(samples)
    print(f"((b) - (a)) / ((c) - (a)) = {cost:.2f} (at most {GOAL})")
    if options.page:
        cold_start_report.renew(samples, cost, GOAL)
    return 0 if cost <= GOAL else 1


def figures() -> list[Figure]:
    """Measure what is promised."""
    samples = measure(LAYER, RUNS)
    detail = " / ".join(f"{statistics.median(values):.0f}" for values in samples.values())
    return [
        Figure("init phase, added by ours / by the usual way", cold_start_report.cost(samples), GOAL, f"{detail} ms")
    ]


def measure(layer: Path, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of each side's init phases; a first one of each, which fills the caches, is left out."""
    binary = emulator(ROOT / "build")
    samples: dict[str, list[float]] = {}
    with server() as port, sides(layer, f"http://127.0.0.1:{port}") as compared:
        for turn in range(rounds + 1):
            for side in compared:
                init_ms = cold_start_ms(side, binary)
                if turn:
                    samples.setdefault(side.name, []).append(init_ms)
    return samples


@contextmanager
def sides(layer: Path, url: str, packages: Sequence[str] = USUAL_PACKAGES) -> Iterator[list[Side]]:
    """Prepare the three functions; what the usual one bundles is a layer with byte code, which spares it compiling."""
    with tempfile.TemporaryDirectory(prefix="lambda-tasks-") as folder:
        bundle = package_layer(packages, Path(folder))
        environ = {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL": url,
        }
        yield [
            Side("(a) bare handler", Function(FUNCTIONS / "bare", "app.handler", environ=environ)),
            Side(
                "(b) lambda-tasks",
                Function(FUNCTIONS / "ours", "lambda_tasks.handler.handler", (layer,), {**environ, **our_settings()}),
            ),
            Side(
                "(c) boto3, Powertools, pydantic",
                Function(FUNCTIONS / "usual", "app.handler", (bundle,), {**environ, **usual_settings()}),
            ),
        ]


def our_settings() -> Mapping[str, str]:
    return {
        "AWS_LAMBDA_EXEC_WRAPPER": "/opt/bin/lambda-tasks-exec",
        "LAMBDA_TASKS_MODULES": "orders",
        **references(secrets=3, variables=5),
    }


def usual_settings() -> Mapping[str, str]:
    return {"POWERTOOLS_SERVICE_NAME": "shop", **{f"SECRET_{number}": arn(number) for number in range(4)}}


def cold_start_ms(side: Side, binary: Path) -> float:
    """Start the function, have it do the job once, and return how long its init phase took."""
    with running(side.function, binary) as runtime:
        invocation = runtime.invoke(event())
        lines = runtime.log_lines()
    if invocation.is_error or invocation.payload != {"batchItemFailures": []}:
        raise BenchmarkFailed(f"{side.name} did not do the job: {invocation.payload}\n" + "\n".join(lines[-20:]))
    (init_ms,) = init_durations_ms(lines)
    return init_ms


def event() -> dict[str, object]:
    """Return an SQS event of one message."""
    return sqs_event(sqs_record(message_body("orders.charge", order_id=42, amount="19.90")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
