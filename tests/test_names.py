"""Which variables a secret's writer may set, and which the function's owner lists."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_aws import FakeAws
from lambda_tasks.aws.credentials import CredentialChain
from lambda_tasks.aws.transport import Transport
from lambda_tasks.environment.names import is_reserved
from lambda_tasks.environment.resolver import resolve
from lambda_tasks.errors import ExportNotAllowed, InvalidSetting, LambdaTasksError, ReservedVariable
from lambda_tasks.settings import Settings
from wrapper import base_environ, secret_arn

ENVIRONMENT, SSM = "LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN", "LAMBDA_TASKS_SSM_ENVIRONMENT"
ARN, DB = secret_arn("env-AbCdEf"), secret_arn("db-AbCdEf")

RESERVED = [
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_EXEC_WRAPPER",
    "_LAMBDA_TELEMETRY_LOG_FD",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASKS_RESOLVED",
    "LAMBDA_TASKS_PROVENANCE",
    "LAMBDA_TASKS_NEXT_WRAPPER",
    "LAMBDA_TASKS_PYTHON",
    "LD_PRELOAD",
    "LD_ANYTHING_NEW",
    "BASH_ENV",
    "BASH_FUNC_exec%%",
    "GCONV_PATH",
    "PYTHONHOME",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
]
FREE = ["ENV", "PATH", "PYTHONPATH", "LAMBDA_TASKS_MODULES", "AWS_MAX_ATTEMPTS", "BASH", "LD", "A.b", "é"]


def exports(aws: FakeAws, environ: Mapping[str, str]) -> dict[str, str]:
    environ = {**base_environ(aws.url), **environ}
    with contextlib.closing(Transport(CredentialChain(environ), environ)) as transport:
        return resolve(environ, Settings.from_environ(environ), transport).exports


def problems(aws: FakeAws, environ: Mapping[str, str]) -> list[tuple[type[LambdaTasksError], str | None]]:
    with pytest.raises(LambdaTasksError) as caught:
        exports(aws, environ)
    assert "canary" not in str(caught.value)
    return [(type(error), error.variable) for error in caught.value.errors]


@pytest.mark.parametrize("name", RESERVED)
def test_a_name_that_runs_code_or_finds_credentials_is_refused(aws: FakeAws, name: str) -> None:
    """No environment source sets it, no reference inside one, and no path of parameters."""
    aws.secrets = {ARN: json.dumps({name: "canary"})}
    assert problems(aws, {ENVIRONMENT: ARN}) == [(ReservedVariable, name)]
    aws.parameters = {f"/app/{name}": "canary"}
    assert problems(aws, {SSM: "/app/"}) == [(ReservedVariable, name)]
    if "%" not in name:
        aws.secrets = {ARN: json.dumps({f"LAMBDA_TASKS_SECRET_{name}": DB}), DB: "canary"}
        assert (ReservedVariable, name) in problems(aws, {ENVIRONMENT: ARN})
        assert problems(aws, {f"LAMBDA_TASKS_SECRET_{name}": DB}) == [(ReservedVariable, name)]


@pytest.mark.parametrize("name", FREE)
def test_other_names_are_exported(aws: FakeAws, name: str) -> None:
    """Every other name is the secret's writer's to choose, as long as there is no list."""
    assert not is_reserved(name)
    aws.secrets = {ARN: json.dumps({name: "v"})}
    assert exports(aws, {ENVIRONMENT: ARN}) == {name: "v"}


def test_what_is_not_listed_is_an_error_that_lists_the_names(aws: FakeAws) -> None:
    """With LAMBDA_TASKS_EXPORTS both environment sources may set what it names, and nothing else."""
    listed = {ENVIRONMENT: ARN, SSM: "/app/", "LAMBDA_TASKS_EXPORTS": " DB_*, API_KEY "}
    aws.secrets = {ARN: json.dumps({"DB_HOST": "h", "DB_": "d", "API_KEY": "k"})}
    aws.parameters = {"/app/DB/USER": "u"}
    assert exports(aws, listed) == {"DB_HOST": "h", "DB_": "d", "API_KEY": "k", "DB_USER": "u"}
    aws.secrets = {ARN: json.dumps({"API_KEYS": "canary", "DB": "canary", "db_host": "canary", "PATH": "canary"})}
    aws.parameters = {"/app/X/DB_HOST": "canary"}
    assert problems(aws, listed) == [(ExportNotAllowed, "API_KEYS, DB, PATH, X_DB_HOST, db_host")]


def test_a_source_can_neither_widen_the_list_nor_go_round_it(aws: FakeAws) -> None:
    """The list is that of the function's own configuration, and references inside a source are the source's doing."""
    aws.secrets = {ARN: json.dumps({"LAMBDA_TASKS_EXPORTS": "*", "OTHER": "canary"})}
    environ = {ENVIRONMENT: ARN, "LAMBDA_TASKS_EXPORTS": "DB_*,LAMBDA_TASKS_SECRET_*"}
    assert problems(aws, environ) == [(ExportNotAllowed, "LAMBDA_TASKS_EXPORTS, OTHER")]
    aws.secrets = {ARN: json.dumps({"LAMBDA_TASKS_SECRET_OTHER": DB, "LAMBDA_TASKS_SECRET_DB_X": DB}), DB: "v"}
    assert problems(aws, environ) == [(ExportNotAllowed, "OTHER")]
    environ["LAMBDA_TASKS_EXPORTS"] = "DB_*"
    assert problems(aws, environ) == [(ExportNotAllowed, "LAMBDA_TASKS_SECRET_DB_X, LAMBDA_TASKS_SECRET_OTHER, OTHER")]


def test_the_functions_own_references_need_not_be_listed(aws: FakeAws) -> None:
    """The list is for environment sources: whoever writes a reference writes the function's configuration."""
    aws.secrets = {DB: "v", ARN: "{}"}
    environ = {ENVIRONMENT: ARN, "LAMBDA_TASKS_SECRET_OTHER": DB, "LAMBDA_TASKS_EXPORTS": ""}
    assert exports(aws, environ) == {"OTHER": "v"}
    aws.secrets[ARN] = '{"A": "canary"}'
    assert problems(aws, environ) == [(ExportNotAllowed, "A")]


@given(st.lists(st.text("AB_*", min_size=1, max_size=4), max_size=3), st.text("AB_", min_size=1, max_size=4))
def test_a_list_holds_names_and_beginnings(patterns: list[str], name: str) -> None:
    """A star stands for any end of a name, and anywhere else the list is refused."""
    environ = {"LAMBDA_TASKS_EXPORTS": ",".join(patterns)}
    if any("*" in pattern[:-1] for pattern in patterns):
        with pytest.raises(InvalidSetting, match="beginnings such as DB_"):
            Settings.from_environ(environ)
        return
    allowed = any(name == one or (one.endswith("*") and name.startswith(one[:-1])) for one in patterns)
    assert Settings.from_environ(environ).allows_export(name) == allowed
    assert Settings().allows_export(name)
