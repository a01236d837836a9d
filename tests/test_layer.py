"""The layer, as it lies in /opt, under every Python that it supports: wrapper, resolver, dispatcher."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from events import message_body, sqs_event, sqs_record
from fake_aws import FakeAws
from wrapper import base_environ, parameter_arn, secret_arn

# As the managed runtime does: /opt/python on the path, then import the handler and call it.
RUNTIME = """
import json, os, sys
sys.path[:0] = [os.environ["LAYER_PYTHON"], os.environ["LAMBDA_TASK_ROOT"]]
import lambda_tasks.handler
answer = lambda_tasks.handler.handler(json.loads(sys.argv[1]), None)
print(json.dumps([answer, lambda_tasks.__file__, sorted(set(sys.modules) & {"boto3", "botocore", "lambda_tasks.local"})]))
"""
TASKS = """
import os
from lambda_tasks import task

@task
def greet(*, name: str) -> None:
    print(os.environ["GREETING"], os.environ["TOKEN"], name, file=open(os.environ["WRITTEN"], "a"))
"""


def run_layer(python: Path, wrapper: Path | None, environ: dict[str, str], event: object) -> list[object]:
    command = [str(python), "-B", "-c", RUNTIME, json.dumps(event)]
    finished = subprocess.run(
        [wrapper, *command] if wrapper else command,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert finished.returncode == 0, finished.stderr
    return list(json.loads(finished.stdout))


def function_environ(aws: FakeAws, layer: Path, folder: Path) -> dict[str, str]:
    """Write a function, its secrets and its configuration."""
    (folder / "shop.py").write_text(TASKS)
    aws.secrets = {secret_arn("env"): '{"GREETING": "good $(day)"}'}
    aws.parameters = {parameter_arn("token"): "t o k e n"}
    return base_environ(
        aws.url,
        LAYER_PYTHON=str(layer / "python"),
        LAMBDA_TASK_ROOT=str(folder),
        WRITTEN=str(folder / "written"),
        LAMBDA_TASKS_MODULES="shop",
        LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN=secret_arn("env"),
        LAMBDA_TASKS_SECRET_TOKEN=parameter_arn("token"),
    )


def test_a_secret_reaches_a_task_through_the_wrapper(
    aws: FakeAws, layer_folder: Path, each_python: Path, tmp_path: Path
) -> None:
    """The wrapper resolves, the handler dispatches, the task reads its secret; a bad message is kept, nothing else."""
    environ = function_environ(aws, layer_folder, tmp_path)
    bad = sqs_record("{")
    event = sqs_event(sqs_record(message_body("shop.greet", name="Ada")), bad)
    answer, origin, heavy = run_layer(each_python, layer_folder / "bin" / "lambda-tasks-exec", environ, event)
    assert answer == {"batchItemFailures": [{"itemIdentifier": bad["messageId"]}]}
    assert (tmp_path / "written").read_text() == "good $(day) t o k e n Ada\n"
    assert origin == str(layer_folder / "python" / "lambda_tasks" / "__init__.py")
    assert heavy == []
    asked = [request.target for request in aws.requests]
    assert sorted(asked[:2]) == ["AmazonSSM.GetParameters", "secretsmanager.GetSecretValue"]
    assert asked[2:] == ["AmazonSQS.GetQueueAttributes"]  # where is the bad message to go?


def test_without_the_wrapper_the_handler_resolves(
    aws: FakeAws, layer_folder: Path, each_python: Path, tmp_path: Path
) -> None:
    """Importing the handler resolves the same references in the process if no wrapper did."""
    environ = function_environ(aws, layer_folder, tmp_path)
    answer, _, _ = run_layer(each_python, None, environ, sqs_event(sqs_record(message_body("shop.greet", name="Ada"))))
    assert answer == {"batchItemFailures": []}
    assert (tmp_path / "written").read_text() == "good $(day) t o k e n Ada\n"


def test_what_the_wrapper_resolved_is_not_resolved_again(
    aws: FakeAws, layer_folder: Path, each_python: Path, tmp_path: Path
) -> None:
    """LAMBDA_TASKS_RESOLVED tells the handler that the references are resolved."""
    environ = function_environ(aws, layer_folder, tmp_path)
    environ |= {"LAMBDA_TASKS_RESOLVED": "GREETING,TOKEN", "GREETING": "hi", "TOKEN": "t"}
    run_layer(each_python, None, environ, sqs_event(sqs_record(message_body("shop.greet", name="Ada"))))
    assert (tmp_path / "written").read_text() == "hi t Ada\n"
    assert aws.requests == []
