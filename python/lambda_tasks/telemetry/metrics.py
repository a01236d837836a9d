"""CloudWatch metrics of an invocation, in embedded metric format: JSON lines on standard output, which Lambda collects.

Each task of the invocation has one line, since a line has one value for each dimension. It has more only where a batch
holds more than `MAX_VALUES` messages of it. awslambdaric leaves lines of standard output as they are under both log
formats. What a task, or a program that it runs, has printed last may lack its line break, which nobody can tell here:
so one comes first.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import sys
import time
from typing import TYPE_CHECKING

from lambda_tasks.messages.outcome import GOES_ON, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from lambda_tasks.telemetry.report import Report

MAX_VALUES = 100  # of one metric in one line
UNKNOWN = "(unknown)"  # every name that no task was found for: whoever sends messages must not make dimensions
_MAX_DIMENSION_CHARACTERS = 1024

logger = logging.getLogger("lambda_tasks")


class Metrics:
    """The reports of one invocation, as metrics below `namespace` with the dimensions ``FunctionName`` and ``Task``.

    Each outcome is a count (``Succeeded``, ``Failed``...), and so is ``UnrunDeadLetters``, of messages that failed
    without ever having run; ``StepsFinished`` and ``Continued`` count the work of tasks with steps. ``Duration`` and
    ``QueueLatency`` are milliseconds. All of them are there for each task of the function, and for the function as a
    whole. Messages whose task was not found have `UNKNOWN` for one. A cold start's ``InitDuration``, `init_ms`, is
    written once, for the function alone.
    """

    init_ms: float | None = None

    def __init__(self, namespace: str, function_name: str, *, clock: Callable[[], float] = time.time) -> None:
        self._namespace = namespace
        self._function_name = function_name
        self._clock = clock

    def publish(self, reports: Iterable[Report], request_id: str) -> None:
        """Write the metrics of `reports` to standard output. An error is logged: no message depends on it."""
        try:
            # In one piece: nothing that other threads print may get in between.
            sys.stdout.write("\n" + "".join(self.lines(reports, request_id)))
            sys.stdout.flush()
        except Exception:
            logger.exception("the metrics of the invocation could not be written")

    def lines(self, reports: Iterable[Report], request_id: str) -> Iterator[str]:
        """Return the lines with the metrics of `reports`."""
        init_ms, self.init_ms = self.init_ms, None
        if init_ms is not None:
            of_function = [["FunctionName"]]
            yield self._line({"InitDuration": init_ms}, of_function, {"request_id": request_id})
        by_task: dict[str, list[Report]] = {}
        for report in reports:
            by_task.setdefault((report.is_found and report.task) or UNKNOWN, []).append(report)
        for task, of_task in by_task.items():
            for some in itertools.zip_longest(*[iter(of_task)] * MAX_VALUES):
                values = _values([one for one in some if one is not None])
                about = {"Task": task[:_MAX_DIMENSION_CHARACTERS], "request_id": request_id}
                yield self._line(values, [["FunctionName", "Task"], ["FunctionName"]], about)

    def _line(self, values: Mapping[str, object], dimensions: list[list[str]], about: Mapping[str, str]) -> str:
        metrics = [{"Name": name, "Unit": _UNITS.get(name, "Count")} for name in values]
        directive = {"Namespace": self._namespace, "Dimensions": dimensions, "Metrics": metrics}
        document = {
            "_aws": {"Timestamp": round(self._clock() * 1000), "CloudWatchMetrics": [directive]},
            "FunctionName": self._function_name[:_MAX_DIMENSION_CHARACTERS],
            "process_id": os.getpid(),  # a property, and no dimension: several processes may write into one log
            **about,
            **values,
        }
        return json.dumps(document, separators=(",", ":")) + "\n"


_UNITS = dict.fromkeys(("Duration", "QueueLatency", "InitDuration"), "Milliseconds")
NAMES = frozenset((*(one.value.capitalize() for one in Outcome), "UnrunDeadLetters", *_UNITS))


def _values(reports: list[Report]) -> dict[str, int | list[float]]:
    values: dict[str, int | list[float]] = {}
    for report in reports:
        name = report.outcome.value.capitalize()
        count = values.get(name, 0)
        values[name] = count + 1 if isinstance(count, int) else 1
    unrun = sum(one.is_unrun for one in reports)
    latencies = [one.queue_latency_ms for one in reports if one.queue_latency_ms is not None]
    return {
        **values,
        **({"UnrunDeadLetters": unrun} if unrun else {}),
        **_of_steps(reports),
        "Duration": [one.duration_ms for one in reports],
        **({"QueueLatency": latencies} if latencies else {}),
    }


def _of_steps(reports: list[Report]) -> dict[str, int | list[float]]:
    """Return how many steps were finished, where tasks have any, and how many deliveries put the rest off."""
    finished = [one.steps_finished for one in reports if one.steps_finished is not None]
    continued = sum(one.reason == GOES_ON for one in reports)
    return {"StepsFinished": sum(finished), **({"Continued": continued} if continued else {})} if finished else {}
