"""People copy from README and docs/: every command there is executed, and every example is at least well-formed."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

import documents
from copies import ROOT
from documents import DOCUMENTS, Block, blocks
from lambda_tasks.local.embedded_aws import EmbeddedAws

pytestmark = pytest.mark.usefixtures("uncovered")

README_LINES = 150
LANGUAGES = {"", "console", "dockerfile", "hcl", "json", "python", "sh", "text", "yaml"}
TOOLS = Path(sys.executable).parent
SAM = ROOT / ".venv-sam" / "bin" / "sam"
POLICY_PYTHON = ROOT / ".venv-policy" / "bin" / "python"

EXECUTED_HERE = {
    "make demo",
    "make layer",
    "make verify-layer",
    "make publish REGIONS=eu-west-1,us-east-1 DRY_RUN=1",
    "make publish REGIONS=eu-west-1,us-east-1",
    "sha256sum --check SHA256SUMS",
}
# Each is checked for its syntax, and as far as its reason says.
NOT_HERE = {
    "make test": "it is what runs this test",
    "pip install 'lambda-tasks[local]'": "the tests run where it is installed",
    **dict.fromkeys(
        (
            "lambda-tasks dead-letters redrive --all",
            "lambda-tasks dead-letters redrive --all --yes",
            "lambda-tasks invoke shop.tasks.send_receipt order_id=42",
            "lambda-tasks local --messages messages.txt --once",
            "lambda-tasks send shop.tasks.charge order_id=1 drink=cocoa",
        ),
        "test_tutorial.py runs them, in the folder that the page makes",
    ),
    **dict.fromkeys(
        (
            'eval "$(lambda-tasks local --export)"',
            'aws sqs send-message --queue-url "$LAMBDA_TASKS_QUEUE_URL" --message-body cat.png',
        ),
        "test_local_run_file.py reads what it exports; the other takes AWS's own command line",
    ),
    **dict.fromkeys(
        (
            "lambda-tasks check --fetch",
            "lambda-tasks check --template template.yaml --policy",
            "lambda-tasks dead-letters list",
            "lambda-tasks invoke shop.tasks.send_receipt order_id=42 total=9.90",
            "lambda-tasks local",
            "lambda-tasks local --fire CleanUp",
            "lambda-tasks records --status failed --since 2h",
            "lambda-tasks records ID --follow",
            "lambda-tasks records replay --task shop.tasks.send_receipt --since 1d --yes",
            "lambda-tasks records stats --since 24h --html page.html",
            "lambda-tasks schedules",
            "lambda-tasks schedules --write",
            "lambda-tasks send shop.tasks.send_receipt order_id=42",
        ),
        "test_schedules_command.py, test_check_command.py and test_command_line*.py run them, each against what it needs",
    ),
    "lambda-tasks smoke --stack shop": "test_smoke.py runs it, against a local run and a stack that a server describes",
    "grep -rlE lambda_tasks --include='*.py' . | xargs sed -i -E   "
    "-e 's/\\blambda_tasks\\.(decorators|logging)\\b/lambda_tasks.django/'   "
    "-e 's/\\blambda_tasks\\.timeouts\\b/lambda_tasks/'   "
    '-e "s/^( *)([\\"\'])lambda_tasks\\\\2/\\\\1\\\\2lambda_tasks.django\\\\2/"': "test_moving.py runs it in two apps",
    "sam build": "test_template.py runs it in a copy of the project",
    "sam deploy --guided --capabilities CAPABILITY_IAM": "it takes an AWS account; its options are looked up below",
    "aws dynamodb update-time-to-live --table-name tasks   "
    "--time-to-live-specification Enabled=true,AttributeName=expires_at": "it takes an AWS account",
    "aws dynamodb create-table --cli-input-json   \"$(python -c 'import json; from lambda_tasks.state.table import "
    'create_table_request as r; print(json.dumps(r("tasks")))\')"': (
        "it takes an AWS account; test_dynamodb.py runs the program in it"
    ),
    'gh attestation verify lambda-tasks-layer.zip --owner "$OWNER"': "it takes a release on GitHub",
    **{
        f"sam local invoke WorkerFunction --event examples/events/{event}.json --env-vars examples/events/environment.json": (
            "it takes a container engine; test_examples_events.py runs it until it finds none, and the rest without one"
        )
        for event in ("message", "sqs")
    },
}

needs_setup = pytest.mark.skipif(not (ROOT / ".venv" / ".installed").exists(), reason="make has not set up .venv")


def commands() -> list[str]:
    """Return the commands of the shell blocks."""
    return [command for block in blocks("sh") for command in documents.commands_of(block.text)]


def consoles() -> list[tuple[str, str]]:
    """Return the commands of the console blocks, each with the output that it is said to have."""
    found = []
    for block in blocks("console"):
        head, *rest = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
        assert head == ""
        for one in rest:
            command = re.match(r"(?:.*\\\n> )*.*\n", one)
            assert command
            found.append((command[0].replace("\n> ", "\n"), one[command.end() :]))
    return found


def run(command: str, folder: Path = ROOT, environ: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would: in a shell, without the settings of what runs the tests, or of AWS."""
    ours = ("AWS_", "COVERAGE_", "LAMBDA_TASKS_", "MAKE", "MFLAGS", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        ["/bin/bash", "-euc", command], cwd=folder, env={**kept, **environ}, capture_output=True, text=True
    )


def test_every_command_is_accounted_for() -> None:
    """Each command of the documents is executed below, or is on the list of those that are not, with the reason."""
    assert set(commands()) == EXECUTED_HERE | NOT_HERE.keys()


def test_every_block_has_a_language_that_is_checked() -> None:
    """Each code block is of a language that a test here knows; one without a language is a picture."""
    for page in documents.PAGES:
        assert {block.language for block in documents.blocks_of(page)} <= LANGUAGES, page


def test_readme_is_one_page() -> None:
    """The README stays short, since the rest has pages of its own in docs/."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


@pytest.mark.parametrize("command", sorted(NOT_HERE))
def test_command_is_well_formed(command: str) -> None:
    """A command that is not executed is at least sound shell."""
    script = f"OWNER=somebody\necho $OWNER >/dev/null\n{command}\n"
    process = subprocess.run([TOOLS / "shellcheck", "--shell=bash", "-"], input=script, capture_output=True, text=True)

    assert process.returncode == 0, process.stdout


@needs_setup
def test_demo() -> None:
    """`make demo` ends as the documents say."""
    process = run("make demo")

    assert process.returncode == 0, process.stdout + process.stderr
    assert "24 messages ended as expected" in process.stdout


@needs_setup
def test_layer_is_built_and_verified() -> None:
    """`make layer` and `make verify-layer` print what the documents say."""
    built, verified = run("make layer"), run("make verify-layer")

    assert built.returncode == verified.returncode == 0, built.stderr + verified.stderr
    assert all(word in built.stdout for word in ("size", "sha256", "byte code", "files"))
    assert "nothing compiled, nothing written" in verified.stdout


@needs_setup
@pytest.mark.parametrize("options", [" DRY_RUN=1", ""])
def test_layer_is_published(options: str, embedded_aws: EmbeddedAws) -> None:
    """`make publish` verifies the layer and names the ARN of each region, or would, in an account of this machine."""
    command = f"make publish REGIONS=eu-west-1,us-east-1{options}"
    process = run(command, environ=embedded_aws.environ())

    assert command in EXECUTED_HERE
    assert process.returncode == 0, process.stderr
    assert "nothing compiled, nothing written" in process.stdout
    arn = r"would publish lambda-tasks \S+ to (\S+)" if options else r"arn:aws:lambda:(\S+?):\d+:layer:lambda-tasks:\d+"
    assert re.findall(arn, process.stdout) == ["eu-west-1", "us-east-1"]


def test_checksums_are_checked(layer_zip: Path, tmp_path: Path) -> None:
    """The checksums that a release writes are those that the documented command reads."""
    shutil.copy(layer_zip, tmp_path / "lambda-tasks-layer.zip")
    (written,) = re.findall(
        r"run: (sha256sum .*)", (ROOT / ".github/workflows/release.yml").read_text().split("jobs:")[1]
    )[:1]
    assert run(written, tmp_path).returncode == 0

    assert run("sha256sum --check SHA256SUMS", tmp_path).returncode == 0
    (tmp_path / "lambda-tasks-layer.zip").write_bytes(b"other")
    assert run("sha256sum --check SHA256SUMS", tmp_path).returncode == 1


@pytest.mark.skipif(not SAM.exists(), reason="aws-sam-cli is not installed: make setup-sam")
@pytest.mark.parametrize("command", sorted(command for command in NOT_HERE if command.startswith("sam ")))
def test_sam_knows_the_options(command: str, tmp_path: Path) -> None:
    """Each option that the documents give to sam is one of that command's."""
    words = shlex.split(command)
    verbs = [word for word in words[1:3] if word in {"build", "deploy", "local", "invoke"}]
    process = subprocess.run(
        [SAM, *verbs, "--help"],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "SAM_CLI_TELEMETRY": "0"},
        capture_output=True,
        text=True,
    )

    assert process.returncode == 0
    assert all(re.search(rf"{word}\b", process.stdout) for word in words if word.startswith("--"))


@pytest.mark.parametrize(("command", "output"), consoles())
def test_console_shows_what_is_printed(command: str, output: str) -> None:
    """A console block shows the output of its command, to the letter."""
    process = run(command)

    assert process.stdout + process.stderr == output


def test_targets_exist() -> None:
    """Every `make` in the documents is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    for path in DOCUMENTS:
        named = set(re.findall(r"(?:`|^|`\S+ )make ([a-z-]+)", path.read_text(), re.MULTILINE))
        assert named <= targets, path


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """Each link to a file of the project, or to a heading of a document, has something at its end."""
    for link in re.findall(r"\]\(([^)\s]+)\)", documents.prose(path)):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.is_file(), link
        assert not anchor or anchor in documents.anchors(target), link


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_is_python(block: Block) -> None:
    """Each example in Python can be compiled."""
    assert ast.parse(block.text).body


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json_is_json(block: Block) -> None:
    """Each example in JSON can be read."""
    assert json.loads(block.text)


class CloudFormation(yaml.SafeLoader):  # type: ignore[misc]
    """YAML with the short forms of CloudFormation's functions."""


CloudFormation.add_multi_constructor("!", lambda _, suffix, node: f"!{suffix} {node.value}")


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_yaml_is_yaml(block: Block) -> None:
    """Each example in YAML can be read."""
    assert isinstance(yaml.load(block.text, CloudFormation), dict)  # noqa: S506 - it is a safe loader


@pytest.mark.skipif(not POLICY_PYTHON.exists(), reason="checkov, which brings a reader, is not installed")
def test_terraform_is_hcl() -> None:
    """The example for Terraform can be read, and checkov's reader of it is one that can refuse."""
    (block,) = blocks("hcl")
    read = [str(POLICY_PYTHON), "-c", "import hcl2, sys; print(len(hcl2.loads(sys.stdin.read())['resource']))"]

    assert subprocess.run(read, input=block.text, capture_output=True, text=True).stdout == "3\n"
    assert subprocess.run(read, input=block.text[:-3], capture_output=True, text=True).returncode == 1


@pytest.mark.parametrize(
    ("language", "reports"),
    [
        ("yaml", "ReportBatchItemFailures"),
        ("python", "report_batch_item_failures=True"),
        ("hcl", "ReportBatchItemFailures"),
    ],
)
def test_attaching_takes_layer_handler_wrapper_and_mapping(language: str, reports: str) -> None:
    """Each way to attach the layer has the four things that it takes."""
    (block,) = blocks(language, "layer:lambda-tasks:1", "docs/how-to/deploying.md")

    for part in ("lambda_tasks.handler.handler", "/opt/bin/lambda-tasks-exec", "LAMBDA_TASKS_MODULES", reports):
        assert part in block.text


@pytest.mark.skipif(not shutil.which("unzip"), reason="unzip is not installed")
def test_container_image_has_the_layer_at_opt(layer_zip: Path, tmp_path: Path) -> None:
    """The stage of both images unpacks the zip with its permissions, and they have it where a layer would lie."""
    function, worker = (block.text for block in blocks("dockerfile"))
    (unpack,) = {re.findall(r"^RUN (.*)$", text, re.MULTILINE)[0] for text in (function, worker)}
    shutil.copy(layer_zip, tmp_path / "lambda-tasks-layer.zip")
    process = run(unpack.replace(" /", f" {tmp_path}/"))
    with zipfile.ZipFile(layer_zip) as layer:
        names = layer.namelist()

    assert process.returncode == 0, process.stderr
    assert all((tmp_path / "layer" / name).is_file() for name in names)
    assert os.access(tmp_path / "layer" / "bin" / "lambda-tasks-exec", os.X_OK)
    assert all("COPY --from=layer /layer /opt\n" in text for text in (function, worker))
    assert "ENV AWS_LAMBDA_EXEC_WRAPPER=/opt/bin/lambda-tasks-exec\n" in function
    assert 'CMD ["lambda_tasks.handler.handler"]\n' in function
    assert 'ENTRYPOINT ["/opt/bin/lambda-tasks-exec"]\n' in worker
