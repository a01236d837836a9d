"""Fetch the wheels that the layer bundles: one for each Python and processor, each of a pinned hash."""

import hashlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from layer.interpreters import VERSIONS

MACHINES = ("x86_64", "aarch64")


class WheelError(Exception):
    """Raised when a pinned wheel can be had neither from the cache nor from the package index."""


@dataclass(frozen=True)
class Target:
    """One place where the layer runs: a Python version on a processor."""

    python: str
    machine: str

    @property
    def platform(self) -> str:
        """glibc 2.17, which every Amazon Linux below a Lambda runtime has (2.26 below Python 3.10 and 3.11)."""
        return f"manylinux2014_{self.machine}"

    def runs(self, wheel: Path) -> bool:
        """Tell by its file name (PEP 427) whether a wheel is made for this target."""
        tag = "cp" + self.python.replace(".", "")
        python, abi, platforms = wheel.stem.split("-")[-3:]
        return (python, abi) == (tag, tag) and self.platform in platforms.split(".")


TARGETS = tuple(Target(python, machine) for python in VERSIONS for machine in MACHINES)


def fetch(requirements: Path, cache: Path) -> list[Path]:
    """Return one wheel a target, in the order of `TARGETS`; use the package index only for what the cache lacks.

    Raises:
        WheelError: pip could not download a wheel of a pinned hash.
    """
    hashes = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", requirements.read_text()))
    missing = [target for target in TARGETS if not _cached(target, cache, hashes)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda target: _download(target, requirements, cache), missing))
    wheels = [_cached(target, cache, hashes) for target in TARGETS]
    for target, wheel in zip(TARGETS, wheels, strict=True):
        if wheel is None:
            raise WheelError(
                f"no wheel for Python {target.python} on {target.machine} in {cache}: check {requirements}"
            )
    return [wheel for wheel in wheels if wheel]


def _cached(target: Target, cache: Path, hashes: frozenset[str]) -> Path | None:
    for wheel in sorted(cache.glob("*.whl")):
        if target.runs(wheel) and hashlib.sha256(wheel.read_bytes()).hexdigest() in hashes:
            return wheel
    return None


def _download(target: Target, requirements: Path, cache: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    wanted = ["--python-version", target.python, "--implementation", "cp", "--platform", target.platform]
    exactly = ["--only-binary", ":all:", "--no-deps", "--require-hashes", "--requirement", str(requirements)]
    process = subprocess.run([*pip, *wanted, *exactly, "--dest", str(cache)], capture_output=True, text=True)
    if process.returncode != 0:
        raise WheelError(f"pip found no wheel for Python {target.python} on {target.machine}:\n{process.stderr}")
