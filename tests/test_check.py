"""Checking a function's references before it is deployed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import pytest

from fake_aws import FakeAws
from lambda_tasks.aws.credentials import CredentialChain
from lambda_tasks.aws.transport import Transport
from lambda_tasks.environment.check import Check, Row, check, policy
from lambda_tasks.errors import ExportNotAllowed, InvalidReference, InvalidSetting
from wrapper import base_environ, parameter_arn, secret_arn

ENVIRONMENT, SSM = "LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN", "LAMBDA_TASKS_SSM_ENVIRONMENT"
ARN, DB, PARAMETER = secret_arn("env-AbCdEf"), secret_arn("db-AbCdEf"), parameter_arn("app/token")
REFERENCES = {
    ENVIRONMENT: f"{ARN}:AWSPREVIOUS",
    SSM: "/app/prod/",
    "LAMBDA_TASKS_SECRET_PASSWORD": f"{DB}:password::",
    "LAMBDA_TASKS_SECRET_TOKEN": f"{PARAMETER}:3",
    "AWS_REGION": "eu-west-1",
}


def fetched(aws: FakeAws, environ: Mapping[str, str]) -> Check:
    environ = {**base_environ(aws.url), **environ}
    with contextlib.closing(Transport(CredentialChain(environ), environ)) as transport:
        return check(environ, transport)


def test_valid_references_are_listed_without_touching_aws(aws: FakeAws) -> None:
    """Each reference has a row with its variable, source, version and status; nothing is fetched."""
    assert check({**base_environ(aws.url), **REFERENCES}, None) == Check(
        (
            Row(SSM, "/app/prod/", "latest", "valid"),
            Row(ENVIRONMENT, ARN, "AWSPREVIOUS", "valid"),
            Row("PASSWORD", f"{DB} key 'password'", "AWSCURRENT", "valid"),
            Row("TOKEN", PARAMETER, "3", "valid"),
        ),
        (),
    )
    assert aws.requests == []


def test_resolved_references_tell_their_names_and_no_value(aws: FakeAws) -> None:
    """With a transport the references are resolved; the names are told, the values are not."""
    aws.secrets = {ARN: '{"A": "canary"}', DB: '{"password": "canary"}'}
    aws.parameters = {"/app/prod/B": "canary", f"{PARAMETER}:3": "canary"}
    result = fetched(aws, REFERENCES)
    assert [row.status for row in result.rows] == ["resolved"] * 4
    assert result.rows[1].variable == f"{ENVIRONMENT} (A, B, PASSWORD, TOKEN)"
    assert "canary" not in str(result)


def test_what_is_wrong_is_marked_and_said(aws: FakeAws) -> None:
    """Invalid references, and those that do not resolve, are errors in the table and problems beside it."""
    environ = {"LAMBDA_TASKS_SECRET_A": "hunter2", "LAMBDA_TASKS_SECRET_B": DB}
    result = check(environ, None)
    assert [(row.variable, row.status) for row in result.rows] == [("A", "error"), ("B", "valid")]
    assert [type(problem) for problem in result.problems] == [InvalidReference]
    result = fetched(aws, {"LAMBDA_TASKS_SECRET_B": DB})
    assert [row.status for row in result.rows] == ["error"]
    assert "there is no such secret" in str(result.problems[0])
    result = check({"LAMBDA_TASKS_STRICT_REFERENCES": "perhaps"}, None)
    assert (result.rows, len(result.problems)) == ((), 1)


def test_the_policy_allows_exactly_what_the_references_need() -> None:
    """The policy names each action and resource, and the keys only for the services that decrypt with them."""
    key = "arn:aws:kms:eu-west-1:123456789012:key/1234"
    assert policy(REFERENCES, [key]) == {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["secretsmanager:GetSecretValue"], "Resource": [DB, ARN]},
            {"Effect": "Allow", "Action": ["ssm:GetParameters"], "Resource": [PARAMETER]},
            {
                "Effect": "Allow",
                "Action": ["ssm:GetParametersByPath"],
                "Resource": [
                    "arn:aws:ssm:eu-west-1:*:parameter/app/prod",
                    "arn:aws:ssm:eu-west-1:*:parameter/app/prod/*",
                ],
            },
            {
                "Effect": "Allow",
                "Action": ["kms:Decrypt"],
                "Resource": [key],
                "Condition": {
                    "StringEquals": {
                        "kms:ViaService": ["secretsmanager.eu-west-1.amazonaws.com", "ssm.eu-west-1.amazonaws.com"]
                    }
                },
            },
        ],
    }
    assert policy({}, [key])["Statement"] == []
    china = {"LAMBDA_TASKS_SECRET_A": secret_arn("a", region="cn-north-1", partition="aws-cn")}
    assert policy(china)["Statement"][0]["Resource"] == [f"{china['LAMBDA_TASKS_SECRET_A']}-??????"]
    condition = policy(china, [key])["Statement"][1]["Condition"]["StringEquals"]
    assert condition == {"kms:ViaService": ["secretsmanager.cn-north-1.amazonaws.com.cn"]}
    with pytest.raises(InvalidReference):
        policy({"LAMBDA_TASKS_SECRET_A": "hunter2"})


def test_settings_and_references_are_checked_together() -> None:
    """A setting that cannot be read does not hide a reference that cannot be resolved."""
    environ = {"LAMBDA_TASKS_EXPORTS": "A*B", "LAMBDA_TASKS_SECRET_A": "hunter2", "LAMBDA_TASKS_SECRET_b.c": DB}
    assert [type(problem) for problem in check(environ, None).problems] == [
        InvalidSetting,
        InvalidReference,
        InvalidReference,
    ]


def test_an_arn_that_may_be_partial_is_hinted_at() -> None:
    """An end that may be a word of the name is said, once for each secret; a whole ARN is not."""
    partial, none = secret_arn("my-secret"), secret_arn("db")
    references = {"LAMBDA_TASKS_SECRET_A": f"{partial}:a::", "LAMBDA_TASKS_SECRET_B": f"{partial}:b::"}
    found = check({**references, ENVIRONMENT: none, "LAMBDA_TASKS_SECRET_C": DB}, None)
    assert [hint.partition(" ")[0] for hint in found.hints] == [none, partial]
    assert (found.problems, {row.status for row in found.rows}) == ((), {"valid"})


def test_a_whole_arn_that_was_resolved_is_not_hinted_at(aws: FakeAws) -> None:
    """An ARN with which AWS answers is known to be whole."""
    aws.secrets = {secret_arn("my-secret"): "v"}
    assert fetched(aws, {"LAMBDA_TASKS_SECRET_A": secret_arn("my-secret")}).hints == ()


def test_an_export_that_is_not_listed_is_a_problem(aws: FakeAws) -> None:
    """Resolving tells what an environment source may not set."""
    aws.secrets = {ARN: '{"A": "canary"}'}
    found = fetched(aws, {ENVIRONMENT: ARN, "LAMBDA_TASKS_EXPORTS": "B"})
    assert [type(problem) for problem in found.problems] == [ExportNotAllowed]
    assert "canary" not in str(found)
