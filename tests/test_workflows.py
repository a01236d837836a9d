"""The workflows of GitHub are judged by their form, their permissions, their actions, and their commands."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from copies import ROOT
from layer.interpreters import VERSIONS

pytestmark = pytest.mark.usefixtures("uncovered")

FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
TOOLS = Path(sys.executable).parent
MAKE = shutil.which("make") or ""
ACTIONLINT = shutil.which("actionlint") or shutil.which("actionlint", path=ROOT / ".venv-actionlint" / "bin")

# Its faults: a permission too many, text from outside in a script, an action by its tag, an unknown key.
FAULTY = """
on: issues
permissions: write-all
jobs:
  job:
    runs-on: ubuntu-24.04
    steps:
      - uses: someone/action@v1
      - run: echo "${{ github.event.issue.title }}"
        unknown: key
"""


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def path(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture
def workflow(path: Path) -> dict[str, Any]:
    return read(path)


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    (tmp_path / "workflows").mkdir()
    path = tmp_path / "workflows" / "faulty.yml"
    path.write_text(FAULTY)
    return path


def read(path: Path) -> dict[str, Any]:
    """Read a workflow; in YAML 1.1 the key "on" is True."""
    content = yaml.safe_load(path.read_text())
    content["on"] = content.pop(True)
    return dict(content)


def run(program: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)


def zizmor(path: Path) -> "subprocess.CompletedProcess[str]":
    return run(str(TOOLS / "zizmor"), "--offline", "--no-progress", "--persona=pedantic", "--format=plain", path)


def schema(*paths: Path) -> "subprocess.CompletedProcess[str]":
    return run(str(TOOLS / "check-jsonschema"), "--builtin-schema", "vendor.github-workflows", *paths)


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def permissions(workflow: dict[str, Any]) -> set[str]:
    granted = [workflow["permissions"], *(job.get("permissions", {}) for job in workflow["jobs"].values())]
    return {f"{scope}: {level}" for one in granted for scope, level in one.items()}


def test_form_is_githubs() -> None:
    """Each workflow follows the schema that GitHub's own editor uses."""
    process = schema(*WORKFLOWS)

    assert process.returncode == 0, process.stdout


def test_nothing_is_given_away(path: Path) -> None:
    """zizmor finds no permission, credential, cache or injected text that somebody else could use."""
    process = zizmor(path)

    assert process.returncode == 0, process.stdout


def test_faults_would_be_found(faulty: Path) -> None:
    """Neither check is one that accepts everything."""
    found = zizmor(faulty)

    assert schema(faulty).returncode == 1
    assert found.returncode != 0
    for rule in ("excessive-permissions", "template-injection", "unpinned-uses"):
        assert rule in found.stdout


@pytest.mark.skipif(ACTIONLINT is None, reason="actionlint is not installed: make setup-actionlint, which downloads it")
def test_actionlint_finds_no_fault(path: Path, faulty: Path) -> None:
    """actionlint, which knows expressions, contexts and runners, has nothing to say; of a faulty workflow it has."""
    program = str(ACTIONLINT)

    assert run(program, faulty).returncode == 1
    process = run(program, f"-shellcheck={TOOLS / 'shellcheck'}", path)
    assert process.returncode == 0, process.stdout


def test_scripts_pass_shellcheck(workflow: dict[str, Any]) -> None:
    """Each step's script is sound as bash, its expressions aside."""
    scripts = [step["run"] for step in steps(workflow) if "run" in step]

    assert scripts
    for script in scripts:
        plain = re.sub(r"\$\{\{.*?\}\}", "expression", script)
        process = subprocess.run(
            [TOOLS / "shellcheck", "--shell=bash", "-"], input=plain, capture_output=True, text=True
        )
        assert process.returncode == 0, process.stdout


def test_actions_are_pinned(path: Path) -> None:
    """Each action is named by a commit, which nobody can move, and by the version that it is."""
    uses = re.findall(r"uses: (.*)", path.read_text())

    assert uses
    for action in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_targets_exist(workflow: dict[str, Any]) -> None:
    """Every `make` that a workflow calls is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = {name for step in steps(workflow) for name in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))}

    assert called
    assert called <= targets


def test_jobs_end(workflow: dict[str, Any]) -> None:
    """No job runs for hours."""
    assert all(job["timeout-minutes"] <= 30 for job in workflow["jobs"].values())


def test_every_python_is_tested_on_both_processors() -> None:
    """The matrix is that of the layer."""
    workflow = read(FOLDER / "test.yml")
    matrix = workflow["jobs"]["test"]["strategy"]["matrix"]

    assert matrix == {"python": list(VERSIONS), "machine": ["x86_64", "arm64"]}
    assert permissions(workflow) == {"contents: read"}


def test_release_verifies_before_it_publishes() -> None:
    """A release is built with every Python, verified and attested, and is published without a stored key."""
    workflow = read(FOLDER / "release.yml")
    jobs = workflow["jobs"]
    order = [step.get("run") or step["uses"] for step in jobs["build"]["steps"]]
    places = [
        next(place for place, what in enumerate(order) if wanted in what)
        for wanted in ("make layer", "make verify-layer", "sha256sum", "attest-build-provenance", "upload-artifact")
    ]

    assert workflow["on"] == {"push": {"tags": ["v*"]}}
    assert f"LAMBDA_TASKS_PYC={','.join(VERSIONS)} make layer" in order
    assert places == sorted(places)
    assert [jobs[name]["needs"] for name in ("release", "publish")] == ["build", "release"]
    assert jobs["publish"]["permissions"] == {"contents": "read", "id-token": "write"}
    assert "secrets." not in (FOLDER / "release.yml").read_text()


def test_published_zip_is_verified_itself() -> None:
    """The job that publishes has every Python, and verifies the very zip that was handed over, before it has a role."""
    steps = read(FOLDER / "release.yml")["jobs"]["publish"]["steps"]
    order = [step.get("run") or step["uses"] for step in steps]
    verified, assumed, published = (
        next(place for place, what in enumerate(order) if wanted in what)
        for wanted in ("layer.verify lambda-tasks-layer.zip", "configure-aws-credentials", "layer.publish")
    )

    assert verified < assumed < published
    assert pythons(steps) == set(VERSIONS)


def test_package_is_published_without_a_token() -> None:
    """PyPI trusts the workflow itself: wheel and source distribution are attested, and go there after the release."""
    jobs = read(FOLDER / "release.yml")["jobs"]
    (publication,) = (step for step in jobs["package"]["steps"] if "pypi-publish" in step["uses"])
    (attested,) = (step["with"] for step in jobs["build"]["steps"] if "attest" in step.get("uses", ""))

    assert jobs["package"]["needs"] == "release"
    assert jobs["package"]["permissions"] == {"id-token": "write"}
    assert jobs["package"]["environment"] == "pypi"
    assert publication["with"] == {"attestations": True}
    assert attested["subject-path"].split() == ["layer/dist/lambda-tasks-layer.zip", "dist/*"]
    assert "make dist" in [step.get("run") for step in jobs["build"]["steps"]]


def test_release_gets_the_arns() -> None:
    """The ARN of each region becomes a file of the release."""
    jobs = read(FOLDER / "release.yml")["jobs"]

    assert jobs["arns"]["needs"] == "publish"
    assert "--arns layer-arns.json" in jobs["publish"]["steps"][-2]["run"]
    assert "gh release upload" in jobs["arns"]["steps"][-1]["run"]
    assert jobs["arns"]["steps"][-1]["run"].endswith(" layer-arns.json")


def test_every_run_builds_all_byte_code() -> None:
    """The tests' workflow builds and verifies the layer with every Python, on both processors, as a release does."""
    job = read(FOLDER / "test.yml")["jobs"]["layer"]
    commands = [step["run"] for step in job["steps"] if "run" in step]

    assert "if" not in job
    assert job["strategy"]["matrix"] == {"machine": ["x86_64", "arm64"]}
    assert pythons(job["steps"]) == set(VERSIONS)
    assert commands[:2] == [f"LAMBDA_TASKS_PYC={','.join(VERSIONS)} make layer", "make verify-layer"]
    assert "tests/test_layer_contents.py" in commands[2]


def pythons(steps: list[dict[str, Any]]) -> set[str]:
    (setup,) = (step["with"] for step in steps if "setup-python" in step.get("uses", ""))
    return set(setup["python-version"].split())


def test_permissions_are_asked_for_job_by_job() -> None:
    """By default a release may do nothing; writing is allowed where something is written."""
    workflow = read(FOLDER / "release.yml")

    assert workflow["permissions"] == {}
    assert jobs_that_write(workflow) == {
        "build": {"attestations", "id-token"},
        "release": {"contents"},
        "package": {"id-token"},
        "publish": {"id-token"},
        "arns": {"contents"},
    }


def jobs_that_write(workflow: dict[str, Any]) -> dict[str, set[str]]:
    return {
        name: {scope for scope, level in job["permissions"].items() if level == "write"}
        for name, job in workflow["jobs"].items()
    }


def audit(*settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [MAKE, "--no-print-directory", "audit", "AUDIT_OPTIONS=--dry-run", *settings],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "COVERAGE_"))},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("text", ["", "# nothing is pinned\n", "--require-hashes\n"])
def test_audit_of_nothing_fails(text: str, tmp_path: Path) -> None:
    """A lock that pins nothing was not audited, and neither was a dependency that pip-audit skips."""
    (tmp_path / "requirements.txt").write_text(text)
    process = audit(f"LOCKS={tmp_path / 'requirements.txt'}")

    assert process.returncode != 0
    assert f"{tmp_path / 'requirements.txt'} pins nothing, so nothing is audited" in process.stderr
    assert "pip_audit --strict" in (ROOT / "Makefile").read_text()
    assert audit("LOCKS=").returncode != 0


def test_audit_reads_every_lock() -> None:
    """The scheduled audit looks up each pinned dependency of each lock."""
    workflow = read(FOLDER / "audit.yml")
    locks = [path for folder in ("layer", "tests") for path in sorted((ROOT / folder).glob("requirements*.txt"))]
    process = audit()

    assert workflow["on"]["schedule"]
    assert process.returncode == 0, process.stderr
    assert sorted(process.stdout.split()) == sorted(path.relative_to(ROOT).as_posix() for path in locks)
    assert all(int(count) > 0 for count in re.findall(r"would have audited (\d+) packages", process.stderr))
