"""Values from an environment file, put where a function looks for them: its secrets, its parameters, its variables."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.template.deployment import DeployedFunction
from lambda_tasks.settings import ENVIRONMENT_SECRET, SSM_ENVIRONMENT, VARIABLE_PREFIX

_SECRET_SEGMENTS = 7


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables of a file of ``NAME=value`` lines, or of one JSON object where its name ends in ``.json``.

    Raises:
        LocalError: it cannot be read.

    """
    from dotenv import dotenv_values  # noqa: PLC0415 - only where there is such a file

    source = str(path)
    try:
        if path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
        else:
            with path.open(encoding="utf-8") as stream:
                content = dotenv_values(stream=stream, interpolate=False)
    except OSError as error:
        remedy = "name a file with --env-file"
        raise LocalError(f"the file cannot be read: {error.strerror}", source=source, remedy=remedy) from error
    except ValueError:
        content = None
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise LocalError("the file does not hold names and values", source=source, remedy="write NAME=value lines")
    return content


def put_values(values: Mapping[str, str], function: DeployedFunction, aws: EmbeddedAws) -> DeployedFunction:
    """Put `values` where `function` looks for them, and return it with those that are its own variables.

    A name that the function has a ``LAMBDA_TASKS_SECRET_`` reference for goes there; one that it sets itself replaces
    that; the others go to its environment secret, else to its SSM environment, else to its variables.
    """
    environ = function.environ
    own, rest = {}, {}
    for name, value in values.items():
        reference = environ.get(f"{VARIABLE_PREFIX}{name}")
        if reference is not None:
            _put_reference(reference, name, value, aws)
        elif name in environ or not {ENVIRONMENT_SECRET, SSM_ENVIRONMENT} & environ.keys():
            own[name] = value
        else:
            rest[name] = value
    if rest:
        _put_environment(environ, rest, aws)
    return dataclasses.replace(function, environ={**environ, **own})


def _put_reference(reference: str, name: str, value: str, aws: EmbeddedAws) -> None:
    parts = reference.split(":")
    if ":ssm:" in reference:
        parameter = reference.partition(":parameter/")[2].split(":")[0]
        _put_parameter(aws, f"/{parameter}" if "/" in parameter else parameter, value)
        return
    key = parts[_SECRET_SEGMENTS] if len(parts) > _SECRET_SEGMENTS else ""
    _put_secret(aws, ":".join(parts[:_SECRET_SEGMENTS]), {key: value} if key else value, name)


def _put_environment(environ: Mapping[str, str], values: dict[str, str], aws: EmbeddedAws) -> None:
    if ENVIRONMENT_SECRET in environ:
        arn = ":".join(environ[ENVIRONMENT_SECRET].split(":")[:_SECRET_SEGMENTS])
        _put_secret(aws, arn, values, ENVIRONMENT_SECRET)
    elif environ[SSM_ENVIRONMENT].endswith("/"):
        for name, value in values.items():
            _put_parameter(aws, f"{environ[SSM_ENVIRONMENT]}{name}", value)
    else:
        _put_parameter(aws, environ[SSM_ENVIRONMENT], json.dumps(values))


def _put_secret(aws: EmbeddedAws, arn: str, value: str | dict[str, str], variable: str) -> None:
    client: Any = aws.client("secretsmanager")
    try:
        text = client.get_secret_value(SecretId=arn)["SecretString"]
    except client.exceptions.ResourceNotFoundException as error:
        remedy = "define it in the template"
        raise LocalError("there is no such secret here", variable=variable, source=arn, remedy=remedy) from error
    if isinstance(value, dict):
        try:
            value = json.dumps({**json.loads(text), **value})
        except (TypeError, ValueError):
            value = json.dumps(value)
    client.put_secret_value(SecretId=arn, SecretString=value)


def _put_parameter(aws: EmbeddedAws, name: str, value: str) -> None:
    aws.client("ssm").put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)
