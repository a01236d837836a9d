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

    @property
    def pip_options(self) -> tuple[str, ...]:
        return "--python-version", self.python, "--implementation", "cp", "--platform", self.platform

    def __str__(self) -> str:
        return f"Python {self.python} on {self.machine}"

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
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda target: _fetch_one(requirements, cache, target), TARGETS))


def fetch_one(requirements: Path, cache: Path, target: Target) -> Path:
    """Return the one wheel for a target.

    Raises:
        WheelError: pip could not download a wheel of a pinned hash.
    """
    return _fetch_one(requirements, cache, target)


def fetch_pure(requirements: Path, cache: Path) -> Path:
    """Return the one wheel that `requirements` pins, which holds Python and data alone.

    Raises:
        WheelError: pip could not download a wheel of a pinned hash.
    """
    return _fetch_one(requirements, cache, None)


def _fetch_one(requirements: Path, cache: Path, target: Target | None) -> Path:
    hashes = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", requirements.read_text()))
    if wheel := _cached(target, cache, hashes):
        return wheel
    _download(requirements, cache, target)
    if wheel := _cached(target, cache, hashes):
        return wheel
    raise WheelError(f"no wheel for {target or 'every Python'} in {cache}: check {requirements}")


def _cached(target: Target | None, cache: Path, hashes: frozenset[str]) -> Path | None:
    for wheel in sorted(cache.glob("*.whl")):
        fits = target.runs(wheel) if target else wheel.stem.endswith("-none-any")
        if fits and hashlib.sha256(wheel.read_bytes()).hexdigest() in hashes:
            return wheel
    return None


def _download(requirements: Path, cache: Path, target: Target | None) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    exactly = ["--only-binary", ":all:", "--no-deps", "--require-hashes", "--requirement", str(requirements)]
    process = subprocess.run(
        [*pip, *(target.pip_options if target else ()), *exactly, "--dest", str(cache)], capture_output=True, text=True
    )
    if process.returncode != 0:
        raise WheelError(f"pip found no wheel for {target or 'every Python'}:\n{process.stderr}")
