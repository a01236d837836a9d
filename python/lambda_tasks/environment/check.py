"""Check a function's references before it is deployed: grammar, permissions, and whether they resolve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from lambda_tasks.environment import names, reference, resolver, stores
from lambda_tasks.environment.reference import Parameter, SecretVersion
from lambda_tasks.errors import LambdaTasksError
from lambda_tasks.settings import ENVIRONMENT_SECRET, SSM_ENVIRONMENT, VARIABLE_PREFIX, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lambda_tasks.aws.transport import Transport
    from lambda_tasks.environment.reference import References, Source


class Row(NamedTuple):
    """One reference: the variable, where its value comes from, and how it stands. Never a value."""

    variable: str
    source: str
    version: str
    status: str


class Check(NamedTuple):
    """The references of a function, every problem with them, and hints: what works, and may not be meant."""

    rows: tuple[Row, ...]
    problems: tuple[LambdaTasksError, ...]
    hints: tuple[str, ...] = ()


def check(environ: Mapping[str, str], transport: Transport | None) -> Check:
    """Validate the references in `environ`; with a `transport` resolve them too."""
    settings, problems = Settings.parse(environ)
    references, errors = reference.parse(environ, strict=settings.strict_references)
    problems += errors + names.check_references(references.variables, environ)
    status, found, whole_arns = "valid", "", set[str]()
    if transport and not problems:
        try:
            resolution = resolver.resolve(environ, settings, transport)
            status, found = "resolved", ", ".join(resolution.names)
            whole_arns = {arn for arn, _ in resolution.versions}
        except LambdaTasksError as error:
            problems = list(error.errors)
    wrong = _wrong_variables(problems)
    rows = [
        Row(variable, source, version, "error" if {variable, setting} & wrong else status)
        for setting, variable, source, version in _described(environ, references, found)
    ]
    return Check(tuple(rows), tuple(problems), tuple(_hints(references, whole_arns)))


def policy(environ: Mapping[str, str], kms_keys: Iterable[str] = ()) -> dict[str, Any]:
    """Return the least-privilege IAM policy that the references in `environ` need.

    `kms_keys` are the ARNs of customer managed keys that encrypt the secrets; the keys of AWS need no permission.
    Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/auth-and-access_examples.html

    Raises:
        LambdaTasksError: a reference is not valid.

    """
    references, problems = reference.parse(environ, strict=False)
    if problems:
        raise problems[0]
    sources = resolver.sources_of(references)
    resources: dict[str, set[str]] = {}
    for source in sources:
        action, allowed = stores.required_permission(source)
        resources.setdefault(action, set()).update(allowed)
    statements = [_statement([action], allowed) for action, allowed in sorted(resources.items())]
    keys = set(kms_keys)
    if keys and sources:
        services = {f"{_service(source)}.{source.region}.{_dns_suffix(source)}" for source in sources}
        decrypt = _statement(["kms:Decrypt"], keys)
        statements.append({**decrypt, "Condition": {"StringEquals": {"kms:ViaService": sorted(services)}}})
    return {"Version": "2012-10-17", "Statement": statements}


def _statement(actions: list[str], resources: Iterable[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": sorted(resources)}


def _service(source: Source) -> str:
    return "secretsmanager" if isinstance(source, SecretVersion) else "ssm"


def _dns_suffix(source: Source) -> str:
    return "amazonaws.com.cn" if source.partition == "aws-cn" else "amazonaws.com"


def _hints(references: References, whole_arns: set[str]) -> Iterable[str]:
    secrets = [one for one in resolver.sources_of(references) if isinstance(one, SecretVersion)]
    for arn in dict.fromkeys(one.arn for one in secrets if stores.may_be_partial(one)):
        if arn not in whole_arns:
            yield (
                f"{arn} may be a partial ARN: AWS ends each in a hyphen and six random characters; with the whole ARN "
                "no other secret can be meant, and a policy needs no -??????"
            )


def _wrong_variables(problems: Iterable[LambdaTasksError]) -> set[str]:
    return {name for problem in problems for name in (problem.variable or "").split(", ")}


def _described(environ: Mapping[str, str], references: References, found: str) -> Iterable[tuple[str, str, str, str]]:
    """Yield setting, variable, source and version of each reference, invalid ones too."""
    environment: dict[str, Source | None] = {
        SSM_ENVIRONMENT: references.ssm_environment,
        ENVIRONMENT_SECRET: references.environment_secret,
    }
    for setting, source in environment.items():
        if setting in environ:
            yield setting, f"{setting} ({found})" if found else setting, *_source_and_version(source)
    valid = {one.setting: one for one in references.variables}
    for setting in sorted(name for name in environ if name.startswith(VARIABLE_PREFIX)):
        one = valid.get(setting)
        origin, version = _source_and_version(one.source if one else None)
        key = f" key {one.json_key!r}" if one and one.json_key else ""
        yield setting, setting[len(VARIABLE_PREFIX) :], origin + key, version


def _source_and_version(source: Source | None) -> tuple[str, str]:
    if isinstance(source, SecretVersion):
        return source.arn, ", ".join(filter(None, (source.version_stage, source.version_id))) or "AWSCURRENT"
    if isinstance(source, Parameter):
        return source.name, source.selector or "latest"
    return (source.path, "latest") if source else ("", "")
