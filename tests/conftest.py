"""Fixtures that more than one module of tests uses."""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from coverage import Coverage
from hypothesis import HealthCheck, settings

import fake_aws
from layer import build
from layer.archive import File, Files, zipped
from layer.interpreters import VERSIONS, installed
from workers import close_workers

# It needs its own settings of Django: tests/test_django.py runs its tests.
collect_ignore = ["django_project"]

pytest_plugins = ["fixtures_aws", "fixtures_producers", "fixtures_tasks"]

# A process an example: slow by design, and no measure of the code.
settings.register_profile("processes", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("processes")

# Code that finds no credentials asks this machine alone, and no address of a cloud.
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"

INTERPRETERS = installed(os.environ)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files of few tests first: those are the long ones, and at the end one process would wait for them."""
    counts = Counter(item.path for item in items)
    items.sort(key=lambda item: counts[item.path])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the table of guarantees, where it was checked."""
    for report in terminalreporter.getreports("passed"):
        if report.nodeid.endswith("::test_the_table_is_published"):
            terminalreporter.write_sep("=", "what the resolver guarantees")
            terminalreporter.write(report.capstdout)


@pytest.fixture
def aws() -> Iterator[fake_aws.FakeAws]:
    """Secrets Manager, Parameter Store and the Runtime API's init error, on a free loopback port."""
    with fake_aws.serve() as fake:
        yield fake


@pytest.fixture(autouse=True)
def _workers_are_closed() -> Iterator[None]:
    yield
    close_workers()


@pytest.fixture(scope="module")
def uncovered() -> Iterator[None]:
    """Let a module's tests, and the programs that they start, run without coverage, which doubles their time.

    What these run of the package, tests of its own run as well.
    """
    measuring = Coverage.current()
    if measuring is not None:
        measuring.stop()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
            patch.delenv(name)
        yield
    if measuring is not None:
        measuring.start()


@pytest.fixture(scope="session")
def layer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layer as it lies in /opt: one for all processes of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "opt"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = folder.with_suffix(".tmp")
            unfinished.mkdir(exist_ok=True)
            build.main(["--into", str(unfinished)], os.environ)
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def layer_files(layer_folder: Path) -> Files:
    """The files of the layer."""
    paths = [path for path in layer_folder.rglob("*") if path.is_file()]
    return {
        path.relative_to(layer_folder).as_posix(): File(path.read_bytes(), path.stat().st_mode & 0o777)
        for path in paths
    }


@pytest.fixture(scope="session")
def layer_zip(layer_files: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layer as it is published."""
    path = tmp_path_factory.mktemp("layer") / "layer.zip"
    path.write_bytes(zipped(layer_files))
    return path


@pytest.fixture(params=VERSIONS)
def each_python(request: pytest.FixtureRequest) -> Path:
    """Every Python that the layer supports; one that is not installed is skipped by name."""
    interpreter = INTERPRETERS[request.param]
    if interpreter is None:
        pytest.skip(f"Python {request.param} is not installed")
    return interpreter
