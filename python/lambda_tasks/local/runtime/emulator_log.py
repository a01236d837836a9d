"""Readers of the emulator's log, and of the records that a function logs in the JSON format."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_INIT_REPORT = re.compile(r"\(rapid\) INIT REPORT\(durationMs: ([0-9.]+)\)")
_REPORT = re.compile(r"REPORT RequestId: (\S+)\t(?:Init Duration: [^\t]*\t)?Duration: ([0-9.]+) ms\t")


_INIT_DONE = re.compile(r"\(rapid\) INIT RTDONE\(status: (\w+)\)")
_INVOKE_DONE = re.compile(r"\(rapid\) INVOKE RTDONE\(.*duration: ([0-9.]+)ms\)")


@dataclass
class Phases:
    """The state of an execution environment, as the emulator's log tells it line by line."""

    init_failed: bool = False
    invoke_duration_ms: float | None = None

    def read(self, line: str) -> float | None:
        """Read one line. Return the duration of an init phase that it reports, in milliseconds, if that succeeded."""
        if found := _INIT_DONE.search(line):
            self.init_failed = found[1] != "success"
        elif found := _INVOKE_DONE.search(line):
            self.invoke_duration_ms = float(found[1])
        elif (found := _INIT_REPORT.search(line)) and not self.init_failed:
            return float(found[1])
        return None


@dataclass(frozen=True)
class Report:
    """How long one invocation took, a cold start included."""

    request_id: str
    duration_ms: float


def init_durations_ms(lines: Iterable[str]) -> list[float]:
    """Return how long each init phase took, exec wrapper included: the first one, and those after the runtime died."""
    return [float(found[1]) for line in lines if (found := _INIT_REPORT.search(line))]


def reports(lines: Iterable[str]) -> list[Report]:
    """Return the report of each invocation that the runtime survived, in order."""
    return [Report(found[1], float(found[2])) for line in lines if (found := _REPORT.match(line))]


def json_records(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Return the JSON objects among the lines, in order: what was logged with ``AWS_LAMBDA_LOG_FORMAT=JSON``."""
    records = []
    for line in lines:
        if line.startswith("{"):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            records.append(record)
    return records
