"""``lambda-tasks check`` as a pipeline runs it: a process, with its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from fake_aws import FakeAws
from wrapper import ROOT, base_environ, measuring, secret_arn

TEMPLATE = ROOT / "template.yaml"


def check(*arguments: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lambda_tasks", "check", *arguments],
        env={**base_environ(), "COLUMNS": "200", **(environ or {}), **measuring()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_template_is_checked_without_touching_aws() -> None:
    """The references that a template gives a function are validated, its own secrets known by their logical ids."""
    finished = check("--template", str(TEMPLATE), "--function", "WorkerFunction", "--json")
    assert finished.returncode == 0, finished.stderr
    rows = json.loads(finished.stdout)["references"]
    assert {row["variable"].split(" ")[0] for row in rows} == {
        "LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN",
        "SHOP_API_TOKEN",
        "SHOP_SIGNING_KEY",
    }
    assert {row["status"] for row in rows} == {"valid"}
    assert any("secret:KeysSecret key 'signing_key'" in row["source"] for row in rows)


def test_a_broken_reference_in_a_template_is_an_error(tmp_path: Path) -> None:
    """A reference that the template spells wrong ends in status 1, and is named."""
    path = tmp_path / "template.yaml"
    path.write_text(TEMPLATE.read_text().replace("${KeysSecret}:api_token::", "${KeysSecret}:api_token"))
    finished = check("--template", str(path))
    assert finished.returncode == 1
    assert "InvalidReference" in finished.stdout
    assert "LAMBDA_TASKS_SECRET_SHOP_API_TOKEN" in finished.stdout.replace("\n", "")


def test_a_function_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    """An unknown function, and a template that is not there, are one line and status 2."""
    for arguments in (["--template", str(TEMPLATE), "--function", "Nope"], ["--template", str(tmp_path / "none.yaml")]):
        finished = check(*arguments)
        assert (finished.returncode, len(finished.stderr.splitlines())) == (2, 1), finished.stderr


def test_fetching_resolves_and_shows_no_value(aws: FakeAws) -> None:
    """With --fetch the references of the environment are resolved, and the table tells their names."""
    aws.secrets = {secret_arn("a"): "canary"}
    environ = {"AWS_ENDPOINT_URL": aws.url, "LAMBDA_TASKS_SECRET_A": secret_arn("a")}
    finished = check("--fetch", environ=environ)
    assert (finished.returncode, "resolved" in finished.stdout) == (0, True)
    assert "canary" not in finished.stdout + finished.stderr
    aws.secrets.clear()
    assert check("--fetch", environ=environ).returncode == 1


def test_the_policy_of_a_template() -> None:
    """--policy prints the least IAM policy, with the keys that were given."""
    key = "arn:aws:kms:eu-west-1:123456789012:key/1"
    finished = check("--template", str(TEMPLATE), "--policy", "--kms-key", key, "--json")
    actions = [statement["Action"] for statement in json.loads(finished.stdout)["Statement"]]
    consume = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
    assert actions == [
        ["secretsmanager:GetSecretValue"],
        ["kms:Decrypt"],
        consume,
        ["sqs:SendMessage"],
        ["kms:Decrypt", "kms:GenerateDataKey"],
        ["dynamodb:GetItem", "dynamodb:UpdateItem", "dynamodb:PartiQLInsert"],
        ["scheduler:CreateSchedule"],
        ["iam:PassRole"],
        ["sns:Publish"],
        ["kms:Decrypt", "kms:GenerateDataKey"],
        ["logs:CreateLogStream", "logs:PutLogEvents"],
    ]
    assert "000000000000" not in finished.stdout
    assert "${AWS::AccountId}:secret:" in finished.stdout
    given = check("--template", str(TEMPLATE), "--policy", "--account", "210987654321", "--json").stdout
    assert ":210987654321:table/StateTable" in given
    assert "AccountId" not in given
    assert json.loads(check("--template", str(TEMPLATE), "--policy").stdout)["Statement"]


def test_a_partial_arn_is_hinted_at() -> None:
    """An ARN that may be partial is a hint and no problem, except in a template, whose own secrets have none yet."""
    environ = {"LAMBDA_TASKS_SECRET_A": secret_arn("my-secret")}
    finished = check(environ=environ)
    assert finished.returncode == 0
    assert f"Hint: {secret_arn('my-secret')} may be a partial ARN" in finished.stdout
    assert len(json.loads(check("--json", environ=environ).stdout)["hints"]) == 1
    assert (
        json.loads(check("--template", str(TEMPLATE), "--function", "WorkerFunction", "--json").stdout)["hints"] == []
    )


def test_the_policy_of_an_environment(tmp_path: Path) -> None:
    """Queues, payloads, parameters and schedules of a function's variables are in its policy, each once."""
    variables = {
        "LAMBDA_TASKS_SSM_ENVIRONMENT": "/app/",
        "LAMBDA_TASKS_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs",
        "LAMBDA_TASKS_DEAD_LETTER_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/dead",
        "LAMBDA_TASKS_PAYLOAD_BUCKET": "one, two",
        "LAMBDA_TASKS_SCHEDULER_ROLE_ARN": "arn:aws:iam::123456789012:role/scheduler",
        "NEWS_TOPIC": "arn:aws:sns:eu-west-1:123456789012:news",
    }
    (tmp_path / "env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    finished = check("--env-file", str(tmp_path / "env"), "--policy", "--account", "123456789012", "--json")
    allowed = {tuple(one["Action"]): one["Resource"] for one in json.loads(finished.stdout)["Statement"]}
    queues = "arn:aws:sqs:eu-west-1:123456789012:"
    assert allowed["s3:GetObject",] == ["arn:aws:s3:::one/*", "arn:aws:s3:::two/*"]
    assert allowed["s3:PutObject",] == ["arn:aws:s3:::one/*"]
    assert allowed["sqs:SendMessage",] == [f"{queues}dead", f"{queues}jobs"]
    assert allowed["sns:Publish",] == ["arn:aws:sns:eu-west-1:123456789012:news"]
    assert allowed["iam:PassRole",] == ["arn:aws:iam::123456789012:role/scheduler"]
    assert all(":123456789012:parameter/app" in one for one in allowed["ssm:GetParametersByPath",])
