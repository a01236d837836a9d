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
from lambda_tasks.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from lambda_tasks.aws.transport import Transport
    from lambda_tasks.environment.reference import Source

PARAMETERS_PER_CALL = 10  # https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html

# Patterns are compiled where they are needed, which most cold starts do not.
_RANDOM_END = r"-[A-Za-z0-9]{6}$"
_WORD_END = r"-([A-Za-z][a-z0-9]{5}|[A-Z0-9]{6})$"  # one random end in ten; most often part of a name
_ACTION = r"not authorized to perform: *([a-z0-9-]+):"
_KMS = r"(?i)(?<![\w/:.+=@-])(KMS|ciphertext)(?![\w/:+=@-])"  # no part of a name
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


class Stored(Value):
    """A value as a store gave it: whose it is (`arn`, or its name where there is none) and which version."""

    text: str
    arn: str
    version: str

    def __repr__(self) -> str:
        return f"Stored(arn={self.arn!r}, version={self.version!r})"  # without the value


def get_secret(transport: Transport, secret: SecretVersion, *, deadline: float) -> Stored:
    """Return the secret string of one version.

    Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html

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
    if not isinstance(value, str) and "SecretBinary" not in answer:
        raise _no_answer("the answer holds no secret", secret)
    if not _is_secret(answer, secret):
        raise _no_answer("the answer does not say that it is this secret and version", secret)
    if not isinstance(value, str):
        raise InvalidSecret("the secret is binary", source=str(secret), remedy="store it as a secret string")
    return Stored(value, answer["ARN"], str(answer.get("VersionId") or ""))


def _is_secret(answer: dict[str, Any], secret: SecretVersion) -> bool:
    arn = str(answer.get("ARN"))
    stages = answer.get("VersionStages")
    return (
        (arn == secret.arn or (arn.startswith(secret.arn) and bool(re.fullmatch(_RANDOM_END, arn[len(secret.arn) :]))))
        and (not secret.version_id or answer.get("VersionId") == secret.version_id)
        and (not secret.version_stage or not isinstance(stages, list) or secret.version_stage in stages)
    )


def get_parameters(
    transport: Transport, parameters: Sequence[Parameter], *, deadline: float
) -> dict[Parameter, Stored | LambdaTasksError]:
    """Return the value of each of up to ten parameters of one region, or the resolver's error that names it.

    No two may have the same `own_name`: an answer need not hold the version or label that was asked for.

    Source: https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html
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
    found = _parameters_in(answer)
    return {parameter: _found(parameter, found) for parameter in parameters}


def _found(parameter: Parameter, answers: list[dict[str, Any]]) -> Stored | LambdaTasksError:
    for answer in answers:
        if _is_parameter(answer, parameter):
            return Stored(answer["Value"], answer.get("ARN") or answer["Name"], str(answer.get("Version") or ""))
    about = {name.rpartition(":parameter/")[2].removeprefix("/") for one in answers for name in _names_in(one)}
    if parameter.own_name in about:
        return _no_answer("the answer is for another account, region or version", parameter)
    return _not_found(parameter)


def _is_parameter(answer: dict[str, Any], parameter: Parameter) -> bool:
    """Tell whether `answer` says that it is `parameter`: by ARN, or by name where that was asked for; and by version.

    AWS gives name and ARN, whichever was asked for, and the version or label that was asked for as ``Selector``.
    """
    names = _names_in(answer)
    arns = [name for name in names if name.startswith("arn:")]
    asked_by_arn = parameter.name.startswith("arn:")
    if not names or (asked_by_arn and parameter.name not in arns):
        return False
    where = f"arn:{parameter.partition}:ssm:{parameter.region}:"
    if any(name.rpartition(":parameter/")[2].removeprefix("/") != parameter.own_name for name in names):
        return False
    if not all(arn == parameter.name if asked_by_arn else arn.startswith(where) for arn in arns):
        return False
    version, selector = answer.get("Version"), str(answer.get("Selector") or "").rpartition(":")[2]
    if selector and selector != parameter.selector:
        return False
    if not parameter.is_pinned:
        return True
    return bool(selector) if version is None else str(version) == parameter.selector


def _names_in(answer: dict[str, Any]) -> list[str]:
    return [name for name in (answer.get("Name"), answer.get("ARN")) if isinstance(name, str) and name]


def _parameters_in(answer: dict[str, Any]) -> list[dict[str, Any]]:
    found = answer.get("Parameters")
    parameters = found if isinstance(found, list) else []
    return [one for one in parameters if isinstance(one, dict) and isinstance(one.get("Value"), str)]


def get_parameters_by_path(transport: Transport, path: ParameterPath, *, deadline: float) -> dict[str, Stored]:
    """Return the values of all parameters below a path, by the part of their names behind it.

    Source: https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParametersByPath.html

    Raises:
        LambdaTasksError: one of the resolver's errors, naming the path.

    """
    values: dict[str, Stored] = {}
    request = {"Path": path.path, "Recursive": True, "WithDecryption": True, "MaxResults": PARAMETERS_PER_CALL}
    where = f"arn:{path.partition}:ssm:{path.region}:"
    while True:
        try:
            answer = transport.call(
                "ssm", "GetParametersByPath", request, region=path.region, partition=path.partition, deadline=deadline
            )
        except CallFailed as error:
            raise _explain(error, path) from error
        for found in _parameters_in(answer):
            name, arn = str(found.get("Name")), str(found.get("ARN") or "")
            if not name.startswith(path.path) or not (arn or where).startswith(where):
                raise _no_answer("the answer holds a parameter that does not lie there", path)
            values[name.removeprefix(path.path)] = Stored(found["Value"], arn or name, str(found.get("Version") or ""))
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
        whole, partial = (source.arn,), (f"{source.arn}-??????",)
        if not may_be_partial(source):
            return "secretsmanager:GetSecretValue", whole
        return "secretsmanager:GetSecretValue", whole + partial if re.search(_RANDOM_END, source.arn) else partial
    if isinstance(source, Parameter) and source.name.startswith("arn:"):
        return "ssm:GetParameters", (source.name,)
    # A name or a path says nothing about the account.
    prefix = f"arn:{source.partition}:ssm:{source.region}:*:parameter/"
    if isinstance(source, Parameter):
        return "ssm:GetParameters", (prefix + source.name.lstrip("/"),)
    path = (prefix + source.path.strip("/")).rstrip("/")
    return "ssm:GetParametersByPath", (path, f"{path}/*")


def may_be_partial(secret: SecretVersion) -> bool:
    """Tell whether the six random characters are missing at the end of a secret's ARN, or may be a word of its name."""
    return not re.search(_RANDOM_END, secret.arn) or bool(re.search(_WORD_END, secret.arn))


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


def _no_answer(problem: str, source: Source) -> ServiceUnavailable:
    return ServiceUnavailable(problem, source=str(source), remedy="check the endpoint")


def _is_about_kms(detail: str) -> bool:
    action = re.search(_ACTION, detail)
    return action.group(1) == "kms" if action else bool(re.search(_KMS, detail))


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
    if error.code in _KMS_CODES or (error.code in _DENIED_CODES and _is_about_kms(error.detail)):
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
