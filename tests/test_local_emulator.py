"""Where the emulator comes from: the pinned wheel, checked by hash, for this machine's processor."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.runtime.emulator import REQUIREMENT, binary_name, emulator

PROGRAM = """
import pathlib, sys
from lambda_tasks.local.runtime.emulator import emulator
print(emulator(*map(pathlib.Path, sys.argv[1:])))
"""


def fetch(cache: Path, wheels: Path, requirement: Path = REQUIREMENT) -> subprocess.CompletedProcess[str]:
    """Run `emulator` where pip knows no index but a folder."""
    offline = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    command = [sys.executable, "-c", PROGRAM, str(cache), str(requirement)]
    return subprocess.run(command, env=offline, capture_output=True, text=True, check=False)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel of the emulator's name and layout."""
    path = tmp_path / "wheels" / "aws_sam_cli-1.170.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("samcli/local/rapid/aws-lambda-rie-x86_64", "for x86_64")
        archive.writestr("samcli/local/rapid/aws-lambda-rie-arm64", "for arm64")
        information = "aws_sam_cli-1.170.0.dist-info"
        archive.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: aws-sam-cli\nVersion: 1.170.0\n")
        archive.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    return path


def test_pinned_wheel_is_fetched_once(tmp_path: Path, wheel: Path) -> None:
    """The binary for this machine is put into the cache, executable, and found there from then on."""
    requirement, cache = tmp_path / "requirement.txt", tmp_path / "cache"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    requirement.write_text(f"aws-sam-cli==1.170.0 --hash=sha256:{digest}\n")

    result = fetch(cache, wheel.parent, requirement)

    assert result.returncode == 0, result.stderr
    [binary] = cache.iterdir()
    assert Path(result.stdout.strip()) == binary == emulator(cache, requirement)
    assert binary.read_text() == binary.name.rpartition("-")[0].replace("aws-lambda-rie-", "for ")
    assert os.access(binary, os.X_OK)


def test_wheel_of_another_hash_is_refused(tmp_path: Path, wheel: Path) -> None:
    """A wheel of the right name and version but of other content is not used, and nothing is left half done."""
    result = fetch(tmp_path / "cache", wheel.parent)

    assert result.returncode == 1
    assert "DO NOT MATCH THE HASHES" in result.stderr
    assert list((tmp_path / "cache").iterdir()) == []


def test_missing_wheel_says_what_to_do(tmp_path: Path) -> None:
    """Where pip finds nothing the error gives pip's reason and what to check."""
    result = fetch(tmp_path / "cache", tmp_path)

    assert result.returncode == 1
    assert "the runtime interface emulator could not be downloaded: ERROR: " in result.stderr
    assert "check pip's package index" in result.stderr


@pytest.mark.parametrize(("machine", "expected"), [("x86_64", "x86_64"), ("aarch64", "arm64"), ("AMD64", "x86_64")])
def test_binary_is_that_of_the_processor(machine: str, expected: str) -> None:
    """Every spelling of a processor leads to AWS's name for it."""
    assert binary_name("linux", machine) == f"aws-lambda-rie-{expected}"


@pytest.mark.parametrize(("system", "machine"), [("darwin", "arm64"), ("linux", "riscv64")])
def test_other_machines_have_none(system: str, machine: str) -> None:
    """Elsewhere the error says where it runs."""
    with pytest.raises(LocalError, match=f"does not run on {system}, {machine}: use Linux"):
        binary_name(system, machine)
