"""From an environment with references to variables, against a server that answers as AWS does."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from fake_aws import FakeAws, Request
from lambda_tasks.aws.credentials import CredentialChain
from lambda_tasks.aws.transport import Transport
from lambda_tasks.environment.fetch import parameter_batches
from lambda_tasks.environment.reference import Parameter
from lambda_tasks.environment.resolver import Resolution, resolve
from lambda_tasks.errors import (
    InvalidReference,
    InvalidSecret,
    LambdaTasksError,
    ReservedVariable,
    ResolveTimeout,
    SecretAccessDenied,
    SecretNotFound,
    ServiceUnavailable,
    VariableConflict,
)
from lambda_tasks.settings import Settings
from wrapper import base_environ, parameter_arn, secret_arn

ENVIRONMENT, SSM = "LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN", "LAMBDA_TASKS_SSM_ENVIRONMENT"
ARN, DB, PARAMETER = secret_arn("env-AbCdEf"), secret_arn("db-AbCdEf"), parameter_arn("app/token")


def run(aws: FakeAws, environ: Mapping[str, str]) -> Resolution:
    environ = {**base_environ(aws.url), **environ}
    transport = Transport(CredentialChain(environ), environ)
    with contextlib.closing(transport):
        return resolve(environ, Settings.from_environ(environ), transport)


def failure(aws: FakeAws, environ: Mapping[str, str]) -> list[tuple[type[LambdaTasksError], str]]:
    with pytest.raises(LambdaTasksError) as caught:
        run(aws, environ)
    assert "canary" not in str(caught.value) + repr(caught.value)
    return [(type(error), str(error)) for error in caught.value.errors]


def test_each_kind_of_source_gives_its_variables(aws: FakeAws) -> None:
    """Secrets, keys of secrets, parameters by ARN, and both environment sources become variables."""
    aws.secrets = {ARN: '{"A": "1"}', DB: '{"user": "u", "password": "p"}'}
    aws.parameters = {"/app/env": '{"B": "2"}', PARAMETER: "t"}
    resolution = run(
        aws,
        {
            ENVIRONMENT: ARN,
            SSM: "/app/env",
            "LAMBDA_TASKS_SECRET_DB": DB,
            "LAMBDA_TASKS_SECRET_USER": f"{DB}:user::",
            "LAMBDA_TASKS_SECRET_PASSWORD": f"{DB}:password::",
            "LAMBDA_TASKS_SECRET_TOKEN": PARAMETER,
        },
    )
    assert resolution.exports == {
        "A": "1",
        "B": "2",
        "DB": '{"user": "u", "password": "p"}',
        "USER": "u",
        "PASSWORD": "p",
        "TOKEN": "t",
    }
    assert resolution.source_count == 4
    assert {name: origin.source.split()[-1] for name, origin in resolution.origins.items()} == {
        "A": ARN,
        "B": "/app/env",
        "DB": DB,
        "USER": DB,
        "PASSWORD": DB,
        "TOKEN": PARAMETER,
    }
    assert repr(resolution) == "Resolution(A, B, DB, PASSWORD, TOKEN, USER)"


def test_a_distinct_version_is_one_call(aws: FakeAws) -> None:
    """References to the same secret, stage and id share a call; another stage is another call."""
    aws.secrets = {DB: '{"a": "1", "b": "2"}', f"{DB}:AWSPREVIOUS": '{"a": "0"}'}
    resolution = run(
        aws,
        {
            "LAMBDA_TASKS_SECRET_A": f"{DB}:a::",
            "LAMBDA_TASKS_SECRET_B": f"{DB}:b::",
            "LAMBDA_TASKS_SECRET_OLD": f"{DB}:a:AWSPREVIOUS:",
        },
    )
    assert resolution.exports == {"A": "1", "B": "2", "OLD": "0"}
    assert sorted(str(request.body) for request in aws.requests) == [
        str({"SecretId": DB, "VersionStage": "AWSPREVIOUS"}),
        str({"SecretId": DB}),
    ]


def test_requests_go_where_the_arn_says_and_are_signed(aws: FakeAws) -> None:
    """A request names its target, is signed for the region of the ARN, and carries the session token."""
    arn = secret_arn("db", region="cn-north-1", partition="aws-cn")
    aws.secrets = {arn: "v"}
    run(aws, {"LAMBDA_TASKS_SECRET_A": arn, "AWS_SESSION_TOKEN": "token"})
    (request,) = aws.requests
    assert request.target == "secretsmanager.GetSecretValue"
    assert request.headers["Content-Type"] == "application/x-amz-json-1.1"
    assert request.headers["X-Amz-Security-Token"] == "token"
    assert "/cn-north-1/secretsmanager/aws4_request" in request.headers["Authorization"]


def test_later_sources_override_earlier_ones(aws: FakeAws) -> None:
    """The environment secret overrides the SSM environment; both override the function's own variables."""
    aws.secrets = {ARN: '{"A": "secret", "OWN": "secret"}'}
    aws.parameters = {"/app/env": '{"A": "ssm", "B": "ssm"}'}
    resolution = run(aws, {ENVIRONMENT: ARN, SSM: "/app/env", "OWN": "own"})
    assert resolution.exports == {"A": "secret", "B": "ssm", "OWN": "secret"}


def test_references_inside_environment_sources_are_resolved(aws: FakeAws) -> None:
    """An environment source may hold references, which are resolved and override those of the function."""
    nested = {"LAMBDA_TASKS_SECRET_A": f"{DB}:a::", "LAMBDA_TASKS_SECRET_B": f"{DB}:b::"}
    aws.secrets = {ARN: json.dumps(nested), DB: '{"a": "1", "b": "2", "c": "3"}'}
    resolution = run(aws, {ENVIRONMENT: ARN, "LAMBDA_TASKS_SECRET_A": f"{DB}:c::"})
    assert resolution.exports == {**nested, "A": "1", "B": "2"}


def test_parameters_below_a_path_are_variables(aws: FakeAws) -> None:
    """Below a path every parameter, on however many pages, is a variable named by the rest of its name."""
    aws.page_size = 2
    aws.parameters = {"/app/prod/DB/HOST": "h", "/app/prod/A": "1", "/app/prod/B": "2", "/app/other": "no"}
    resolution = run(aws, {SSM: "/app/prod/"})
    assert resolution.exports == {"DB_HOST": "h", "A": "1", "B": "2"}
    assert {origin.source for origin in resolution.origins.values()} == {"parameters below /app/prod/"}
    assert resolution.origins.keys() == resolution.exports.keys()
    assert [request.body.get("NextToken") for request in aws.requests] == [None, "2"]
    assert aws.requests[0].body["Recursive"] is aws.requests[0].body["WithDecryption"] is True


def test_parameters_are_asked_for_in_tens(aws: FakeAws) -> None:
    """Twenty-three parameters of one region are three calls; a version of a parameter keeps its own value."""
    arns = [parameter_arn(f"p{number}") for number in range(22)]
    aws.parameters = {arn: arn[-3:] for arn in arns} | {f"{arns[0]}:2": "old"}
    references = {f"LAMBDA_TASKS_SECRET_P{number}": arn for number, arn in enumerate(arns)}
    exports = run(aws, {**references, "LAMBDA_TASKS_SECRET_OLD": f"{arns[0]}:2"}).exports
    assert exports == {f"P{number}": arn[-3:] for number, arn in enumerate(arns)} | {"OLD": "old"}
    assert sorted(len(request.body["Names"]) for request in aws.requests) == [3, 10, 10]


def test_an_answer_that_does_not_say_whose_it_is_serves_nobody(aws: FakeAws) -> None:
    """Without its ARN an answer serves no reference by ARN, and no name that does not exist."""
    aws.answers = [
        lambda _: (200, {"Parameters": [{"Name": "/app/token", "Value": "canary"}, {"Value": "canary"}]})
    ] * 2
    problem = "the answer is for another account, region or version"
    assert failure(aws, {SSM: "/missing", "LAMBDA_TASKS_SECRET_T": PARAMETER}) == [
        (
            SecretNotFound,
            f"there is no such secret, parameter or version (variable {SSM}, parameter /missing): {CREATE}",
        ),
        (ServiceUnavailable, f"{problem} (variable T, parameter {PARAMETER}): check the endpoint"),
    ]


@pytest.mark.parametrize(
    ("reference", "wrong"),
    [
        (DB, {"ARN": ARN}),
        (DB, {"ARN": None}),
        (DB, {"ARN": f"{DB}-AbCdE"}),
        (f"{DB}:::1111", {"VersionId": "2222"}),
        (f"{DB}:::1111", {"VersionId": None}),
        (f"{DB}::AWSPREVIOUS:", {"VersionStages": ["AWSCURRENT"]}),
        (secret_arn("db", region="us-east-1"), {"ARN": secret_arn("db-AbCdEf")}),
    ],
)
def test_a_secret_that_was_not_asked_for_is_not_exported(aws: FakeAws, reference: str, wrong: dict[str, Any]) -> None:
    """An answer with another ARN, version id or stage than was asked for, or without them, is no answer."""
    right = {"ARN": ":".join(reference.split(":")[:7]), "SecretString": "canary"}
    aws.answers = [lambda _: (200, {**right, **wrong})]
    ((error, message),) = failure(aws, {"LAMBDA_TASKS_SECRET_D": reference})
    assert (error, message.partition(" (")[0]) == (
        ServiceUnavailable,
        "the answer does not say that it is this secret and version",
    )


def test_a_partial_arn_is_answered_by_the_whole_one(aws: FakeAws) -> None:
    """AWS answers an ARN without its random end with the whole ARN, which the origin of the variable names."""
    aws.answers = [lambda _: (200, {"ARN": DB, "VersionId": "1", "SecretString": "v"})]
    resolution = run(aws, {"LAMBDA_TASKS_SECRET_D": secret_arn("db")})
    assert (resolution.exports, resolution.versions) == ({"D": "v"}, ((DB, "1"),))


@pytest.mark.parametrize("found", [None, "x", [None], [{"Name": "/other", "Value": "canary"}], [{"Name": "/app/A"}]])
def test_a_path_is_answered_by_what_lies_there(aws: FakeAws, found: Any) -> None:
    """Only parameters below the path that have a value become variables."""
    aws.answers = [lambda _: (200, {"Parameters": found})]
    ((error, _),) = failure(aws, {SSM: "/app/"})
    assert error in (SecretNotFound, ServiceUnavailable)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AWS_CA_BUNDLE", "/nope"),
        ("AWS_ENDPOINT_URL", "nope"),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "nope"),
        ("HTTPS_PROXY", "socks5://127.0.0.1:9"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "nope"),
    ],
)
def test_a_setting_that_is_wrong_is_named_once_and_not_the_variables(aws: FakeAws, variable: str, value: str) -> None:
    """A setting that keeps every secret from being fetched is blamed by its own name, and once."""
    environ = {ENVIRONMENT: ARN, "LAMBDA_TASKS_SECRET_A": DB, "LAMBDA_TASKS_SECRET_B": secret_arn("b")}
    environ |= {"AWS_ENDPOINT_URL": "https://127.0.0.1:9", variable: value}
    if "CREDENTIALS" in variable:
        environ["AWS_ACCESS_KEY_ID"] = ""
    ((_, message),) = failure(aws, environ)
    assert f"(variable {variable})" in message


def test_parameter_batches_hold_one_region_and_no_name_twice() -> None:
    """A call asks for at most ten parameters of one region, and never for two versions of one."""
    one, two = Parameter("a", "1", "eu-west-1", "aws"), Parameter("a", "2", "eu-west-1", "aws")
    far = Parameter("b", "", "us-east-1", "aws")
    assert parameter_batches([one, two, far]) == [[one], [two], [far]]
    shared = [Parameter(f"arn:aws:ssm:eu-west-1:{account}:parameter/a", "", "eu-west-1", "aws") for account in (1, 2)]
    assert parameter_batches(shared) == [[shared[0]], [shared[1]]]


def test_what_is_known_does_not_wait_for_the_environment_secret(aws: FakeAws) -> None:
    """References of the function are fetched while the environment secret is still awaited, and at the same time."""
    aws.secrets = {ARN: '{"E": "e"}', DB: "d", secret_arn("third"): "t"}
    all_are_here = threading.Barrier(3, timeout=20)

    def wait_for_the_others(_: Request) -> None:
        all_are_here.wait()

    aws.answers = [wait_for_the_others] * 3
    environ = {ENVIRONMENT: ARN, "LAMBDA_TASKS_SECRET_D": DB, "LAMBDA_TASKS_SECRET_T": secret_arn("third")}
    assert run(aws, environ).exports == {"E": "e", "D": "d", "T": "t"}


def answering(status: int, code: str, message: str = "canary") -> Callable[[Request], Any]:
    return lambda _: (status, {"__type": f"com.amazonaws#{code}", "Message": message})


RESTORE = "restore it, or refer to another one"
CREATE = "create it in eu-west-1, or correct the reference"
KMS = "allow the function's role kms:Decrypt on the key, and check that the key is enabled"
CREDENTIALS = "check the AWS credentials (key, secret, session token) and the clock"
HEALTH = "check the endpoint, the network and the service's health, then try again"


@pytest.mark.parametrize(
    ("status", "code", "aws_message", "error", "problem", "remedy"),
    [
        (400, "ResourceNotFoundException", "", SecretNotFound, "there is no such secret, parameter or version", CREATE),
        (400, "InvalidRequestException", "it was marked for deletion", SecretNotFound, "the secret is scheduled for deletion", RESTORE),
        (400, "AccessDeniedException", "no policy", SecretAccessDenied, "access denied", f"allow the function's role secretsmanager:GetSecretValue on {DB}"),
        (400, "AccessDeniedException", "Access to KMS is not allowed", SecretAccessDenied, "its KMS key may not be used (AccessDeniedException)", KMS),
        (400, "DecryptionFailure", "", SecretAccessDenied, "its KMS key may not be used (DecryptionFailure)", KMS),
        (403, "ExpiredTokenException", "", SecretAccessDenied, "AWS refused the credentials (ExpiredTokenException)", CREDENTIALS),
        (400, "ValidationException", "", InvalidReference, "AWS refused the reference (ValidationException)", "correct the reference"),
        (418, "Teapot", "", ServiceUnavailable, "{server} answered 418 Teapot", HEALTH),
        (302, "", "", ServiceUnavailable, "{server} answered 302", HEALTH),
    ],
)  # fmt: skip
def test_answers_of_secrets_manager_become_errors(
    aws: FakeAws, status: int, code: str, aws_message: str, error: type[LambdaTasksError], problem: str, remedy: str
) -> None:
    """Each refusal of AWS becomes one error that names variable, secret and remedy, at once and without a retry."""
    aws.answers = [answering(status, code, aws_message)]
    problem = problem.format(server=aws.runtime_api)
    expected = [(error, f"{problem} (variable D, E, secret {DB}): {remedy}")]
    assert failure(aws, {"LAMBDA_TASKS_SECRET_D": DB, "LAMBDA_TASKS_SECRET_E": DB}) == expected
    assert len(aws.requests) == 1


@pytest.mark.parametrize(
    ("content", "environ", "error", "message"),
    [
        ({DB: b"AAEC"}, {"LAMBDA_TASKS_SECRET_D": DB}, InvalidSecret, f"the secret is binary (variable D, secret {DB}): store it as a secret string"),
        ({DB: "canary"}, {"LAMBDA_TASKS_SECRET_D": f"{DB}:k::"}, InvalidSecret, f'the content is not JSON (variable D, secret {DB}): store a JSON object of strings, such as {{"NAME": "value"}}'),
        ({DB: "canary\0"}, {"LAMBDA_TASKS_SECRET_D": DB}, InvalidSecret, f"values of 'D' cannot be exported (variable D, secret {DB}): store them without NUL characters and halves of surrogate pairs, for example as base64"),
        ({ARN: '{"A": 1}'}, {ENVIRONMENT: ARN}, InvalidSecret, f"values of 'A' are not strings (variable {ENVIRONMENT}, secret {ARN}): make every value a JSON string, as in {{\"A\": \"...\"}}; the object must be flat"),
        ({ARN: '{"D": "canary"}', DB: "d"}, {ENVIRONMENT: ARN, "LAMBDA_TASKS_SECRET_D": DB}, VariableConflict, "referenced and also set (variable D): remove the variable, or the reference to it"),
        ({ARN: '{"LD_PRELOAD": "canary", "AWS_LAMBDA_X": ""}'}, {ENVIRONMENT: ARN}, ReservedVariable, "a reserved variable in an environment source (variable AWS_LAMBDA_X, LD_PRELOAD): Lambda, or the program loader, gives it its meaning: use another name"),
        ({ARN: '{"LAMBDA_TASKS_SECRET_N": "canary"}'}, {ENVIRONMENT: ARN}, InvalidReference, "the value is not an ARN (variable LAMBDA_TASKS_SECRET_N): use arn:<partition>:secretsmanager:<region>:<account>:secret:<name> or arn:<partition>:ssm:<region>:<account>:parameter/<name>"),
    ],
)  # fmt: skip
def test_contents_become_errors(
    aws: FakeAws, content: dict[str, str | bytes], environ: dict[str, str], error: type[LambdaTasksError], message: str
) -> None:
    """Each content that cannot be exported becomes one error that names variable and secret, never the value."""
    aws.secrets = content
    assert failure(aws, environ) == [(error, message)]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            {"LAMBDA_TASKS_SECRET_B": DB, "LAMBDA_TASKS_SECRET_A": DB, "A": "1", "B": "2"},
            (VariableConflict, "referenced and also set (variable A, B): remove the variable, or the reference to it"),
        ),
        (
            {"LAMBDA_TASKS_SECRET_AWS_REGION": DB, "LAMBDA_TASKS_SECRET_LD_AUDIT": DB},
            (
                ReservedVariable,
                "a reserved variable in a reference (variable AWS_REGION, LD_AUDIT): "
                "Lambda, or the program loader, gives it its meaning: use another name",
            ),
        ),
    ],
)
def test_conflicts_are_seen_before_anything_is_fetched(
    aws: FakeAws, environ: dict[str, str], expected: tuple[type[LambdaTasksError], str]
) -> None:
    """Names that are also set, or reserved, are listed together, and nothing is fetched."""
    assert failure(aws, environ) == [expected]
    assert aws.requests == []


def test_problems_are_reported_together(aws: FakeAws) -> None:
    """One resolution reports every secret that is missing, denied or unusable, and the class of the first."""
    aws.secrets = {ARN: "canary", DB: '{"a": "canary"}'}
    environ = {ENVIRONMENT: ARN, "LAMBDA_TASKS_SECRET_X": f"{DB}:b::", "LAMBDA_TASKS_SECRET_Y": secret_arn("none")}
    assert [error for error, _ in failure(aws, environ)] == [InvalidSecret, InvalidSecret, SecretNotFound]


def test_a_missing_parameter_is_named_and_the_others_are_not(aws: FakeAws) -> None:
    """Of several parameters in one call, the error names those that do not exist."""
    aws.parameters = {PARAMETER: "v"}
    missing = parameter_arn("none")
    environ = {"LAMBDA_TASKS_SECRET_A": PARAMETER, "LAMBDA_TASKS_SECRET_B": missing}
    message = f"there is no such secret, parameter or version (variable B, parameter {missing}): {CREATE}"
    assert failure(aws, environ) == [(SecretNotFound, message)]


def test_a_denied_parameter_is_named_and_the_others_are_not(aws: FakeAws) -> None:
    """AWS refuses a whole call for one parameter: each is then asked for alone, so that the error names that one."""
    aws.parameters = {PARAMETER: "v"}
    denied = parameter_arn("denied")

    def deny(request: Request) -> Any:
        return answering(400, "AccessDeniedException")(request) if denied in request.body["Names"] else None

    aws.answers = [deny] * 3
    environ = {"LAMBDA_TASKS_SECRET_A": PARAMETER, "LAMBDA_TASKS_SECRET_B": denied}
    message = f"access denied (variable B, parameter {denied}): allow the function's role ssm:GetParameters on {denied}"
    assert failure(aws, environ) == [(SecretAccessDenied, message)]


def test_an_empty_path_and_two_parameters_of_one_name_are_errors(aws: FakeAws) -> None:
    """A path without parameters is not found; two parameters that would be the same variable are a conflict."""
    source = f"(variable {SSM}, parameters below /app/)"
    message = f"there is no parameter below the path {source}: create one in eu-west-1"
    assert failure(aws, {SSM: "/app/"}) == [(SecretNotFound, message)]
    aws.parameters = {"/app/A/B": "canary", "/app/A_B": "canary"}
    message = f"two parameters would become A_B {source}: rename one of the parameters"
    assert failure(aws, {SSM: "/app/"}) == [(VariableConflict, message)]
    aws.answers = [answering(400, "AccessDeniedException")]
    remedy = "allow the function's role ssm:GetParametersByPath on arn:aws:ssm:eu-west-1:*:parameter/app "
    remedy += "and arn:aws:ssm:eu-west-1:*:parameter/app/*"
    assert failure(aws, {SSM: "/app/"}) == [(SecretAccessDenied, f"access denied {source}: {remedy}")]


@pytest.mark.parametrize("status_and_code", [(400, "ThrottlingException"), (500, ""), (503, "Busy"), (429, "")])
def test_throttling_and_server_errors_are_tried_again(aws: FakeAws, status_and_code: tuple[int, str]) -> None:
    """Throttling and 5xx answers are retried until one is good."""
    aws.secrets = {DB: "v"}
    aws.answers = [answering(*status_and_code)] * 3
    assert run(aws, {"LAMBDA_TASKS_SECRET_D": DB}).exports == {"D": "v"}
    assert len(aws.requests) == 4


def test_the_budget_ends_the_retries(aws: FakeAws) -> None:
    """A service that stays unavailable is given up when the budget is spent, and the last answer is named."""
    aws.answers = [answering(500, "InternalFailure")] * 10_000
    environ = {"LAMBDA_TASKS_SECRET_D": DB, "LAMBDA_TASKS_RESOLVE_TIMEOUT_SECONDS": "0.3"}
    message = f"{aws.runtime_api} answered 500 InternalFailure (variable D, secret {DB}): {HEALTH}"
    assert failure(aws, environ) == [(ServiceUnavailable, message)]
    assert len(aws.requests) > 1


def test_an_answer_that_never_comes_is_a_timeout(aws: FakeAws) -> None:
    """Where no answer comes the resolution ends with its budget."""
    release = threading.Event()

    def wait(_: Request) -> None:
        release.wait(20)

    aws.answers = [wait] * 9
    environ = {"LAMBDA_TASKS_SECRET_D": DB, "LAMBDA_TASKS_RESOLVE_TIMEOUT_SECONDS": "0.2"}
    ((error, message),) = failure(aws, environ)
    release.set()
    assert error is ResolveTimeout
    assert message.startswith("no time left")
    assert message.endswith(
        f"(variable D, secret {DB}): raise LAMBDA_TASKS_RESOLVE_TIMEOUT_SECONDS, or check the network: "
        "in a VPC the function needs a NAT gateway or an interface endpoint of the service"
    )
