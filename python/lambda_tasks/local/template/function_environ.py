"""The variables that a template gives a function, as far as they are known before there is a stack."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.template.document import Template, read

_FUNCTION_TYPES = ("AWS::Serverless::Function", "AWS::Lambda::Function")


def function_environ(
    path: Path, function: str | None, parameters: Mapping[str, str], *, region: str, account_id: str
) -> dict[str, str]:
    """Return the environment variables of `function` (a logical id; None where the template has only one).

    A secret or parameter that the template itself creates is known by its logical id.

    Raises:
        LocalError: the template cannot be read, there is no such function, or a variable has no value.

    """
    template = read(path, parameters, region, account_id)
    _learn_secrets(template, region, account_id)
    functions = template.resources(*_FUNCTION_TYPES)
    chosen = function or (next(iter(functions)) if len(functions) == 1 else "")
    if chosen not in functions:
        problem = f"there is no function {function}" if function else f"there are {len(functions)} functions"
        remedy = f"name one with --function: {', '.join(functions) or 'the template has none'}"
        raise LocalError(problem, source=str(path), remedy=remedy)
    properties = template.function_properties(functions[chosen])
    variables = template.resolve(properties.get("Environment", {}).get("Variables", {}))
    return {"AWS_REGION": region, **{name: str(value) for name, value in variables.items()}}


def _learn_secrets(template: Template, region: str, account_id: str) -> None:
    for name, resource in template.resources("AWS::SecretsManager::Secret").items():
        own_name = template.resolve(resource.get("Properties", {}).get("Name", name))
        arn = f"arn:aws:secretsmanager:{region}:{account_id}:secret:{own_name}"
        template.learn(name, arn, Id=arn)
    for name, resource in template.resources("AWS::SSM::Parameter").items():
        properties = resource.get("Properties", {})
        template.learn(name, template.resolve(properties.get("Name", f"/{name}")), Type="String", Value="")
