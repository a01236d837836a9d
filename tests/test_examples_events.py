"""`sam local invoke` of the example: a container engine is not at hand, so the same parts run under the emulator.

These are the template's variables with those of `--env-vars` over them, the event file, the layer and the bootstrap.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from copies import ROOT
from fake_aws import FakeAws
from lambda_tasks.local.runtime.emulator_log import json_records
from lambda_tasks.local.runtime.process import Function, Runtime, running
from shop.signature import sign
from wrapper import base_environ, secret_arn

EVENTS = ROOT / "examples" / "events"
SAM = ROOT / ".venv-sam" / "bin" / "sam"
ENVIRONMENT = json.loads((EVENTS / "environment.json").read_text())["WorkerFunction"]

READ_VARIABLES = """
import json, sys
from samcli.yamlhelper import yaml_parse
template = yaml_parse(sys.stdin.read())
print(json.dumps(template["Resources"]["WorkerFunction"]["Properties"]["Environment"]["Variables"]))
"""

pytestmark = [
    pytest.mark.skipif(not SAM.exists(), reason="aws-sam-cli is not installed: make setup-sam"),
    pytest.mark.usefixtures("uncovered"),
]


@pytest.fixture(scope="module")
def variables() -> dict[str, Any]:
    """The function's variables as the template has them, some of them still to be resolved by CloudFormation."""
    read = [str(SAM.parent / "python"), "-c", READ_VARIABLES]
    template = (ROOT / "template.yaml").read_text()
    return dict(json.loads(subprocess.run(read, input=template, capture_output=True, text=True, check=True).stdout))


@pytest.fixture
def function(variables: dict[str, Any], aws: FakeAws, layer_zip: Path) -> Function:
    """The worker as `sam local invoke` configures it, with its secrets on this machine."""
    aws.secrets = {
        secret_arn("shop/environment-AbCdEf"): json.dumps({"SHOP_CURRENCY": "EUR", "SHOP_DATABASE_PASSWORD": "p"}),
        secret_arn("shop/keys-AbCdEf"): json.dumps({"api_token": "t", "signing_key": "k"}),
    }
    environ = base_environ(aws.url, **{**variables, **ENVIRONMENT})
    return Function(ROOT / "examples", "lambda_tasks.handler.handler", (layer_zip,), environ, "WorkerFunction")


def invoke(runtime: Runtime, name: str) -> Any:
    invocation = runtime.invoke(json.loads((EVENTS / name).read_text()))
    assert not invocation.is_error, invocation
    return invocation.payload


def test_environment_file_says_all_that_only_a_stack_knows(variables: dict[str, Any]) -> None:
    """Every variable that refers to a resource has a value in the file, which names no other variable."""
    assert {name for name, value in variables.items() if isinstance(value, dict)} == ENVIRONMENT.keys()


def test_one_message(function: Function, emulator_path: Path) -> None:
    """One message as the event runs its task with the secrets, and the result is the answer."""
    with running(function, emulator_path) as runtime:
        answer = invoke(runtime, "message.json")
        (record,) = [record for record in json_records(runtime.log_lines()) if "signature" in record]

    assert answer == "order 42: 19.90 EUR"
    assert record["signature"] == sign("k", answer)


def test_sqs_event(function: Function, emulator_path: Path) -> None:
    """An SQS event runs the task of each record, and all of them may be deleted."""
    with running(function, emulator_path) as runtime:
        answer = invoke(runtime, "sqs.json")
        outcomes = [record["outcome"] for record in json_records(runtime.log_lines()) if "outcome" in record]

    assert answer == {"batchItemFailures": []}
    assert outcomes == ["succeeded", "succeeded"]


def test_sqs_event_is_one_that_sqs_could_send() -> None:
    """Each record has the fields of a real one, and the hash of its body."""
    records = json.loads((EVENTS / "sqs.json").read_text())["Records"]
    generated = subprocess.run(
        [SAM, "local", "generate-event", "sqs", "receive-message"],
        env={"HOME": "/nonexistent", "PATH": os.environ["PATH"], "SAM_CLI_TELEMETRY": "0"},
        capture_output=True,
        text=True,
    )
    (wanted,) = json.loads(generated.stdout)["Records"]

    for record in records:
        assert record.keys() == wanted.keys()
        assert record["attributes"].keys() == wanted["attributes"].keys()
        assert record["md5OfBody"] == hashlib.md5(record["body"].encode(), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("event", ["message.json", "sqs.json"])
def test_sam_lacks_nothing_but_a_container_engine(event: str, tmp_path: Path) -> None:
    """The documented command gets as far as the container engine, of which there is none at this address."""
    command = ["local", "invoke", "WorkerFunction", "--event", f"examples/events/{event}"]
    process = subprocess.run(
        [SAM, *command, "--env-vars", "examples/events/environment.json"],
        cwd=ROOT,
        env={
            "AWS_DEFAULT_REGION": "eu-west-1",
            "DOCKER_HOST": "tcp://127.0.0.1:9",
            "HOME": str(tmp_path),
            "PATH": os.environ["PATH"],
            "SAM_CLI_TELEMETRY": "0",
        },
        capture_output=True,
        text=True,
    )

    assert process.returncode == 1
    assert "requires a container runtime" in process.stderr
