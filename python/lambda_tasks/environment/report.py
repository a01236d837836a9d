"""One line on stderr, and where it failed the Runtime API's init error: names, versions and times, never a value."""

from __future__ import annotations

import json
import sys
import time

from lambda_tasks.aws import runtime_api

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from lambda_tasks.environment.resolver import Resolution
    from lambda_tasks.errors import LambdaTasksError

_LEVELS_ABOVE_INFO = {"WARN", "ERROR", "FATAL"}
_LEVELS_ABOVE_WARN = {"ERROR", "FATAL"}


class Report:
    """Report as the function's logging controls say.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._as_json = environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
        self._level = environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
        self._runtime_api = environ.get("AWS_LAMBDA_RUNTIME_API")

    def success(self, resolution: Resolution) -> None:
        """Say which variables were resolved, from which versions of how many secrets, in how many milliseconds."""
        if self._level in _LEVELS_ABOVE_INFO:
            return
        names, sources = resolution.names, resolution.source_count
        versions = [(_plain(arn), _plain(version)) for arn, version in resolution.versions]
        known = ", ".join(f"version {version} of {arn}" for arn, version in versions if version)
        message = f"resolved {_count(len(names), 'variable')} from {_count(sources, 'secret')}"
        message += (f" in {known}" if known else "") + f" in {resolution.duration_ms:.0f} ms"
        details = {
            "resolved": names,
            "variables": len(names),
            "secrets": sources,
            "duration_ms": round(resolution.duration_ms, 1),
            "sources": [{"source": arn, "version_id": version or None} for arn, version in versions],
        }
        self._write("INFO", message, ": " + ", ".join(map(_plain, names)), details)

    def warning(self, message: str, error: LambdaTasksError) -> None:
        """Say what did not work, and does not keep the function from going on."""
        if self._level not in _LEVELS_ABOVE_WARN:
            details = {"errorType": f"LambdaTasks.{type(error).__name__}"}
            self._write("WARN", f"{message}: {type(error).__name__}: {error}", "", details)

    def failure(self, error: LambdaTasksError) -> None:
        """Say what is wrong: on stderr, and to whoever invokes the function."""
        error_type = f"LambdaTasks.{type(error).__name__}"
        problems = [
            {"errorType": f"LambdaTasks.{type(one).__name__}", "errorMessage": str(one)} for one in error.errors
        ]
        details = {"errorType": error_type, "errors": problems}
        self._write("ERROR", str(error), "", details, text_prefix=f"{type(error).__name__}: ")
        if self._runtime_api:
            runtime_api.post_init_error(self._runtime_api, error_type, str(error))

    def _write(
        self, level: str, message: str, text_suffix: str, details: dict[str, Any], text_prefix: str = ""
    ) -> None:
        if self._as_json:
            timestamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            head = {"timestamp": timestamp, "level": level, "message": message, "logger": "lambda_tasks.environment"}
            line = json.dumps({**head, **details})
        else:
            line = " ".join(f"[{level}] lambda-tasks: {text_prefix}{message}{text_suffix}".splitlines())
        sys.stderr.write(line + "\n")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _plain(name: str) -> str:
    return ascii(name)[1:-1]  # one line, whatever a name holds
