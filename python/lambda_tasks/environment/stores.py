"""Fetch from Secrets Manager and Parameter Store, and say in our terms why that did not work."""

from __future__ import annotations

import re

from lambda_tasks.aws.transport import CallFailed, CallTimeout
from lambda_tasks.environment.reference import Parameter, ParameterPath, SecretVersion
from lambda_tasks.errors import (
    InvalidReference,
    InvalidSecret,
    LambdaTasksError,
    ResolveTimeout,
    SecretAccessDenied,
    SecretNotFound,
    ServiceUnavailable,
)

TYPE_CHECKING = False  # that of typing, which costs a cold start 4 ms
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambda_tasks.aws.transport import Transport
    from lambda_tasks.environment.reference import Source

PARAMETERS_PER_CALL = 10  # https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html

_RANDOM_END = re.compile(r"-[A-Za-z0-9]{6}$")
_NOT_FOUND_CODES = {"ResourceNotFoundException", "ParameterNotFound", "ParameterVersionNotFound"}
_DENIED_CODES = {"AccessDeniedException", "AccessDenied"}
_KMS_CODES = {"DecryptionFailure", "InvalidKeyId", "KMSAccessDeniedException"}
_CREDENTIAL_CODES = {
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_REFUSED_CODES = {"InvalidParameterException", "ValidationException"}


def get_secret(transport: Transport, secret: SecretVersion, *, deadline: float) -> str:
    """Return the secret string of one version.

    Raises:
        LambdaTasksError: one of the resolver's errors, naming the secret.

    """
    request = {"SecretId": secret.arn}
    if secret.version_stage:
        request["VersionStage"] = secret.version_stage
    if secret.version_id:
        request["VersionId"] = secret.version_id
    try:
        answer = transport.call(
            "secretsmanager",
            "GetSecretValue",
            request,
            region=secret.region,
            partition=secret.partition,
            deadline=deadline,
        )
    except CallFailed as error:
        raise _explain(error, secret) from error
    value = answer.get("SecretString")
    if isinstance(value, str):
        return value
    if "SecretBinary" in answer:
        raise InvalidSecret("the secret is binary", source=str(secret), remedy="store it as a secret string")
    raise ServiceUnavailable("the answer holds no secret", source=str(secret), remedy="check the endpoint")


def get_parameters(
    transport: Transport, parameters: Sequence[Parameter], *, deadline: float
) -> dict[Parameter, str | LambdaTasksError]:
    """Return the value of each of up to ten parameters of one region, or the resolver's error that names it.

    No two may have the same name: the answer is matched by ARN or name, since AWS leaves the version out there, and
    gives the name also where the ARN was asked for.
    """
    request = {"Names": [parameter.asked_for for parameter in parameters], "WithDecryption": True}
    first = parameters[0]
    try:
        answer = transport.call(
            "ssm", "GetParameters", request, region=first.region, partition=first.partition, deadline=deadline
        )
    except CallFailed as error:
        if len(parameters) > 1 and not error.retryable and error.code:
            # One parameter that may not be read fails the whole call: ask for each, so that the right one is named.
            single = [get_parameters(transport, [parameter], deadline=deadline) for parameter in parameters]
            return {parameter: value for answer in single for parameter, value in answer.items()}
        return {parameter: _explain(error, parameter) for parameter in parameters}
    values: dict[str, str] = {}
    for found in answer.get("Parameters", ()):
        values[found["Name"]] = values[found.get("ARN", "")] = found["Value"]
    return {parameter: _found(parameter, values) for parameter in parameters}


def _found(parameter: Parameter, values: Mapping[str, str]) -> str | LambdaTasksError:
    resource = parameter.name.partition(":parameter/")[2]
    for name in (parameter.name, f"/{resource}", resource):
        if name in values:
            return values[name]
    return _not_found(parameter)


def get_parameters_by_path(transport: Transport, path: ParameterPath, *, deadline: float) -> dict[str, str]:
    """Return the values of all parameters below a path, by the part of their names behind it.

    Raises:
        LambdaTasksError: one of the resolver's errors, naming the path.

    """
    values: dict[str, str] = {}
    request = {"Path": path.path, "Recursive": True, "WithDecryption": True, "MaxResults": PARAMETERS_PER_CALL}
    while True:
        try:
            answer = transport.call(
                "ssm", "GetParametersByPath", request, region=path.region, partition=path.partition, deadline=deadline
            )
        except CallFailed as error:
            raise _explain(error, path) from error
        for found in answer.get("Parameters", ()):
            values[found["Name"].removeprefix(path.path)] = found["Value"]
        if not answer.get("NextToken"):
            break
        request["NextToken"] = answer["NextToken"]
    if not values:
        raise SecretNotFound(
            "there is no parameter below the path", source=str(path), remedy=f"create one in {path.region}"
        )
    return values


def required_permission(source: Source) -> tuple[str, tuple[str, ...]]:
    """Return the IAM action that reading `source` needs, and the ARNs of the resources to allow it on."""
    if isinstance(source, SecretVersion):
        # AWS ends every secret's ARN in six random characters; a reference may leave them out, a policy may not.
        return "secretsmanager:GetSecretValue", (
            source.arn if _RANDOM_END.search(source.arn) else f"{source.arn}-??????",
        )
    if isinstance(source, Parameter) and source.name.startswith("arn:"):
        return "ssm:GetParameters", (source.name,)
    # A name or a path says nothing about the account.
    prefix = f"arn:{source.partition}:ssm:{source.region}:*:parameter/"
    if isinstance(source, Parameter):
        return "ssm:GetParameters", (prefix + source.name.lstrip("/"),)
    path = (prefix + source.path.strip("/")).rstrip("/")
    return "ssm:GetParametersByPath", (path, f"{path}/*")


def timed_out(source: Source, problem: str = "no time left") -> ResolveTimeout:
    """Return the error for a source that was not fetched before the deadline."""
    remedy = (
        "raise LAMBDA_TASKS_RESOLVE_TIMEOUT_SECONDS, or check the network: "
        "in a VPC the function needs a NAT gateway or an interface endpoint of the service"
    )
    return ResolveTimeout(problem, source=str(source), remedy=remedy)


def _not_found(source: Source, problem: str = "there is no such secret, parameter or version") -> SecretNotFound:
    remedy = f"create it in {source.region}, or correct the reference"
    return SecretNotFound(problem, source=str(source), remedy=remedy)


def _explain(error: CallFailed, source: Source) -> LambdaTasksError:
    # AWS's own message is read but never shown: that of a wrong signature holds the session token.
    action, resources = required_permission(source)
    if isinstance(error, CallTimeout):
        return timed_out(source, error.problem)
    if error.code in _NOT_FOUND_CODES:
        return _not_found(source)
    if error.code == "InvalidRequestException" and "delet" in error.detail:
        return SecretNotFound(
            "the secret is scheduled for deletion", source=str(source), remedy="restore it, or refer to another one"
        )
    if error.code in _KMS_CODES or (error.code in _DENIED_CODES and "kms" in error.detail.lower()):
        return SecretAccessDenied(
            f"its KMS key may not be used ({error.code})",
            source=str(source),
            remedy="allow the function's role kms:Decrypt on the key, and check that the key is enabled",
        )
    if error.code in _DENIED_CODES:
        remedy = f"allow the function's role {action} on {' and '.join(resources)}"
        return SecretAccessDenied("access denied", source=str(source), remedy=remedy)
    if error.code in _CREDENTIAL_CODES:
        remedy = "check the AWS credentials (key, secret, session token) and the clock"
        return SecretAccessDenied(f"AWS refused the credentials ({error.code})", source=str(source), remedy=remedy)
    if error.code in _REFUSED_CODES:
        remedy = "correct the reference"
        return InvalidReference(f"AWS refused the reference ({error.code})", source=str(source), remedy=remedy)
    remedy = "check the endpoint, the network and the service's health, then try again"
    return ServiceUnavailable(error.problem, variable=error.variable, source=str(source), remedy=remedy)
