"""Run the exec wrapper as Lambda does: as a process, with an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WRAPPER = ROOT / "bin" / "lambda-tasks-exec"
REGION = "eu-west-1"
ACCOUNT = "123456789012"

# Prints its own arguments and environment, byte for byte, as a command of the wrapper sees them.
SHOW = "import json,os,sys;print(json.dumps([sys.argv[1:],[[k.decode('latin-1'),v.decode('latin-1')] for k,v in os.environb.items()]]))"


@dataclass(frozen=True)
class Run:
    """A finished run of the wrapper."""

    status: int
    stdout: str
    stderr: str

    @property
    def arguments(self) -> list[str]:
        """The arguments that the command saw."""
        return list(json.loads(self.stdout)[0])

    @property
    def environ(self) -> dict[str, str]:
        """The environment that the command saw."""
        pairs = json.loads(self.stdout)[1]
        return {_utf8(name): _utf8(value) for name, value in pairs}

    @property
    def was_launched(self) -> bool:
        """Whether the command was started at all."""
        return bool(self.stdout)

    @property
    def report(self) -> dict[str, Any]:
        """The one line that was written to stderr, as JSON."""
        (line,) = self.stderr.splitlines()
        return dict(json.loads(line))


def _utf8(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "surrogateescape")


def secret_arn(name: str, *, region: str = REGION, partition: str = "aws") -> str:
    return f"arn:{partition}:secretsmanager:{region}:{ACCOUNT}:secret:{name}"


def parameter_arn(name: str, *, region: str = REGION, partition: str = "aws") -> str:
    return f"arn:{partition}:ssm:{region}:{ACCOUNT}:parameter/{name}"


def base_environ(aws_url: str = "http://127.0.0.1:9", **variables: str) -> dict[str, str]:
    """Return a function's environment: credentials and region, an endpoint on this machine, and what a test adds."""
    return {
        "PATH": os.environ["PATH"],
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        "AWS_ENDPOINT_URL": aws_url,
        **variables,
    }


def measuring() -> dict[str, str]:
    """Return the variables by which a process takes part where coverage is measured; none elsewhere."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


def run_wrapper(
    environ: Mapping[str, str],
    command: Sequence[str] = (sys.executable, "-I", "-S", "-c", SHOW, "one", "two words"),
    *,
    wrapper: Path = WRAPPER,
    **options: Any,
) -> Run:
    """Run ``lambda-tasks-exec COMMAND`` with exactly `environ`, plus what measures coverage while tests are measured."""
    measured = measuring()
    if measured and "LAMBDA_TASKS_PYTHON" not in environ:
        # The wrapper starts Python without site-packages, where coverage would begin.
        measured["LAMBDA_TASKS_PYTHON"] = str(ROOT / "tests" / "covered-python")
        measured["COVERED_PYTHON"] = sys.executable
    finished = subprocess.run(
        [wrapper, *command], env={**environ, **measured}, capture_output=True, timeout=60, check=False, **options
    )
    return Run(finished.returncode, finished.stdout.decode(), finished.stderr.decode())
