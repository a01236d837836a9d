"""The wheel and the source distribution, as PyPI gets them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

import pytest

from copies import ROOT
from layer import sbom
from layer.archive import Files

pytestmark = pytest.mark.usefixtures("uncovered")


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both, built by the backend that pyproject.toml names."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    (path,) = distributions.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def source(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    (path,) = distributions.glob("*.tar.gz")
    folder = tmp_path_factory.mktemp("source")
    with tarfile.open(path) as archive:
        archive.extractall(folder)  # noqa: S202 - our own archive
    (unpacked,) = folder.iterdir()
    return unpacked


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode())


def test_wheel_names_the_projects_addresses(wheel: Path) -> None:
    """Source, documentation, changes and issues are addresses of one repository."""
    addresses = dict(value.split(", ") for value in metadata(wheel).get_all("Project-URL", []))

    assert {"Source", "Documentation", "Changelog", "Issues"} <= addresses.keys()
    assert all(address.startswith(addresses["Source"]) for address in addresses.values())
    assert addresses["Source"].startswith("https://")


def test_release_refuses_addresses_of_another_repository() -> None:
    """The workflow compares the line of pyproject.toml with the repository that it runs in."""
    workflow = (ROOT / ".github" / "workflows" / "release.yml").read_text()

    assert r'grep -qxF "Source = \"$GITHUB_SERVER_URL/$GITHUB_REPOSITORY\"" pyproject.toml' in workflow
    assert (
        sum(line.startswith('Source = "https://') for line in (ROOT / "pyproject.toml").read_text().splitlines()) == 1
    )


def test_wheel_holds_the_package_alone(wheel: Path) -> None:
    """Nothing but the package, its types and its licence is installed."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    assert {name.split("/")[0].split("-")[0] for name in names} == {"lambda_tasks"}
    assert "lambda_tasks/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_source_distribution_builds_the_layer(source: Path, layer_files: Files, tmp_path: Path) -> None:
    """The layer that is built from it has the files of the layer that is built here."""
    shutil.copytree(ROOT / "layer" / "cache", source / "layer" / "cache")  # wheels, so that no index is asked
    process = subprocess.run(
        [sys.executable, "-m", "layer.build", "--into", tmp_path / "opt"],
        cwd=source,
        env={**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    built = {path.relative_to(tmp_path / "opt").as_posix(): path for path in (tmp_path / "opt").rglob("*")}

    assert {name for name, path in built.items() if path.is_file()} == layer_files.keys()
    assert all(built[name].read_bytes() == file.data for name, file in layer_files.items())
    assert all(built[name].stat().st_mode & 0o777 == file.mode for name, file in layer_files.items())


@pytest.mark.parametrize("target", ["layer", "verify-layer", "test"])
def test_source_distribution_has_what_make_needs(target: str, source: Path) -> None:
    """Each prerequisite of the main targets is there, or has a rule."""
    make = shutil.which("make") or ""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    process = subprocess.run([make, "--dry-run", target], cwd=source, env=environ, capture_output=True, text=True)

    assert process.returncode == 0, process.stderr
    assert "layer.build" in process.stdout


def test_version_takes_no_extra(wheel: Path, tmp_path: Path) -> None:
    """`lambda-tasks --version` needs the wheel alone, none of its requirements, by script and as a module."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)  # noqa: S202 - our own archive
    for program in (
        "import lambda_tasks.__main__ as program; program.main()",
        "import runpy; runpy.run_module('lambda_tasks', run_name='__main__')",
    ):
        process = subprocess.run(
            [
                sys.executable,
                "-I",
                "-S",
                "-c",
                f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv[1:] = ['--version']; {program}",
            ],
            capture_output=True,
            text=True,
        )

        assert process.stdout == f"lambda-tasks, version {sbom.version(ROOT)}\n", process.stderr
