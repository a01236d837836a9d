"""`template.yaml` is there to be copied: AWS's own tool judges it, and each statement that it allows is read."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from copies import ROOT, copy_tree

SAM_FOLDER = ROOT / ".venv-sam" / "bin"
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"

# sam's own reader, since YAML alone does not know !Ref and its like.
READ_TEMPLATE = """
import json, sys
from samcli.yamlhelper import yaml_parse
print(json.dumps(yaml_parse(sys.stdin.read())))
"""

pytestmark = pytest.mark.skipif(not SAM_FOLDER.exists(), reason="aws-sam-cli is not installed: make setup-sam")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, so that nothing appears in the real one."""
    folder = copy_tree(tmp_path_factory.mktemp("sam") / "project", "examples", "template.yaml")
    (folder / "home").mkdir()
    return folder


@pytest.fixture(scope="module")
def built(tree: Path) -> Path:
    process = sam(tree, "build", "--parameter-overrides", f"PythonRuntime={RUNTIME}")
    assert process.returncode == 0, process.stderr
    return tree / ".aws-sam" / "build"


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    parsed = subprocess.run(
        [SAM_FOLDER / "python", "-c", READ_TEMPLATE],
        input=(ROOT / "template.yaml").read_text(),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(parsed.stdout))


def sam(tree: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run sam without AWS settings, credentials or telemetry, with this interpreter as the one that builds."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SAM_", "COVERAGE_"))}
    ours = {
        "AWS_DEFAULT_REGION": "eu-west-1",
        "HOME": str(tree / "home"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        # The interpreters that add byte code are found there where HOME is another one.
        "PYENV_ROOT": os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv")),
        "SAM_CLI_TELEMETRY": "0",
    }
    return subprocess.run([SAM_FOLDER / "sam", *arguments], cwd=tree, env=kept | ours, capture_output=True, text=True)


def properties(template: dict[str, Any], name: str) -> dict[str, Any]:
    return dict(template["Resources"][name]["Properties"])


def statements(template: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for resource in template["Resources"].values():
        for policy in resource["Properties"].get("Policies", []):
            yield from policy["PolicyDocument"]["Statement"]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_sam_finds_no_fault(tree: Path) -> None:
    """`sam validate --lint` has nothing to say against the template."""
    process = sam(tree, "validate", "--lint")

    assert process.returncode == 0, process.stdout + process.stderr
    assert "is a valid SAM Template" in process.stdout


def test_sam_builds_the_layer_that_make_builds(tree: Path, built: Path) -> None:
    """The folder that `sam build` makes of the layer holds the files of the zip, the exec wrapper executable."""
    environ = {**os.environ, "PIP_NO_INDEX": "1"}
    subprocess.run([sys.executable, "-m", "layer.build"], cwd=tree, env=environ, check=True, capture_output=True)
    folder = built / "TasksLayer"
    with zipfile.ZipFile(tree / "layer" / "dist" / "lambda-tasks-layer.zip") as layer:
        expected = {name: layer.read(name) for name in layer.namelist()}
    files = [path for path in folder.rglob("*") if path.is_file()]

    assert {path.relative_to(folder).as_posix(): path.read_bytes() for path in files} == expected
    assert [path.name for path in files if os.access(path, os.X_OK) and path.stat().st_mode & 0o111] == [
        "lambda-tasks-exec"
    ]


def test_function_holds_the_modules_it_may_run(template: dict[str, Any], built: Path) -> None:
    """Each module that the function's allow-list names in full is in the built function, without caches."""
    modules = properties(template, "WorkerFunction")["Environment"]["Variables"]["LAMBDA_TASKS_MODULES"].split(",")

    for module in modules:
        assert (built / "WorkerFunction" / (module.replace(".", "/") + ".py")).is_file()
    assert list((built / "WorkerFunction").rglob("*.pyc")) == []


def test_function_uses_wrapper_and_handler_of_the_layer(template: dict[str, Any]) -> None:
    """The function needs the layer and two settings: the exec wrapper and the handler."""
    function = properties(template, "WorkerFunction")

    assert function["Layers"] == [{"Ref": "TasksLayer"}]
    assert function["Handler"] == "lambda_tasks.handler.handler"
    assert function["Environment"]["Variables"]["AWS_LAMBDA_EXEC_WRAPPER"] == "/opt/bin/lambda-tasks-exec"


def test_failed_messages_are_reported_one_by_one(template: dict[str, Any]) -> None:
    """The event source mapping reads partial batch responses; without that, one failure repeats the whole batch."""
    (event,) = properties(template, "WorkerFunction")["Events"].values()

    assert event["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_messages_stay_hidden_long_enough(template: dict[str, Any]) -> None:
    """The queue hides a message for 6 times the function's timeout, and gives it up to the dead-letter queue."""
    parameters = template["Parameters"]
    queue = properties(template, "TaskQueue")

    assert parameters["QueueVisibilityTimeoutSeconds"]["Default"] >= 6 * parameters["FunctionTimeoutSeconds"]["Default"]
    assert queue["VisibilityTimeout"] == {"Ref": "QueueVisibilityTimeoutSeconds"}
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}


def test_policies_name_their_resources(template: dict[str, Any]) -> None:
    """No statement allows every action or every resource: each names those of this template."""
    found = list(statements(template))

    assert found
    for statement in found:
        for action in listed(statement["Action"]):
            assert "*" not in action
        for resource in listed(statement["Resource"]):
            (function,) = resource
            name = resource[function][0] if function == "Fn::GetAtt" else resource[function]
            assert name in template["Resources"]


def test_role_is_the_only_source_of_permissions(template: dict[str, Any]) -> None:
    """The function names its role, so that SAM adds none of its managed policies, which allow every queue."""
    assert properties(template, "WorkerFunction")["Role"] == {"Fn::GetAtt": ["WorkerRole", "Arn"]}
    assert "ManagedPolicyArns" not in properties(template, "WorkerRole")


def test_every_secret_referred_to_may_be_read(template: dict[str, Any]) -> None:
    """The role may read exactly the secrets that the template makes, and the function refers to each of them."""
    secrets = {
        name for name, resource in template["Resources"].items() if resource["Type"] == "AWS::SecretsManager::Secret"
    }
    (readable,) = (
        {resource["Ref"] for resource in listed(statement["Resource"])}
        for statement in statements(template)
        if statement["Action"] == "secretsmanager:GetSecretValue"
    )
    variables = json.dumps(properties(template, "WorkerFunction")["Environment"]["Variables"])

    assert readable == secrets
    for secret in secrets:
        assert secret in variables


def test_logs_are_json_and_expire(template: dict[str, Any]) -> None:
    """The function logs JSON lines into a log group of its own that does not grow for ever."""
    logging = properties(template, "WorkerFunction")["LoggingConfig"]

    assert logging["LogFormat"] == "JSON"
    assert properties(template, logging["LogGroup"]["Ref"])["RetentionInDays"] == 30
