"""``{{resolve:ssm:...}}`` and ``{{resolve:secretsmanager:...}}`` in variables, resolved in the embedded AWS.

Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/dynamic-references.html
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from botocore.exceptions import ClientError

from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.template.deployment import DeployedFunction

_REFERENCE = re.compile(r"\{\{resolve:(ssm|ssm-secure|secretsmanager):([^}]+)\}\}")
_SECRET = re.compile(
    r"(?P<id>arn:[^:]*:secretsmanager:[^:]*:[^:]*:secret:[^:]+|[^:]+)"
    r"(?::SecretString)?(?::(?P<key>[^:]*))?(?::(?P<stage>[^:]*))?(?::(?P<version>[^:]*))?$"
)


def with_references(function: DeployedFunction, aws: EmbeddedAws) -> DeployedFunction:
    """Return `function` with every reference of its variables replaced by what it names.

    Raises:
        LocalError: the parameter or secret is not there, or has no such key.

    """
    environ = {}
    for name, value in function.environ.items():
        try:
            environ[name] = _REFERENCE.sub(lambda found: _value(found[1], found[2], aws), value)
        except (ClientError, LookupError, TypeError, ValueError) as error:
            problem = f"there is no {value} here"
            remedy = f"add {name}=VALUE to the file that --env-file names, or define it in the template"
            raise LocalError(problem, variable=name, source=f"function {function.name}", remedy=remedy) from error
    return dataclasses.replace(function, environ=environ)


def _value(service: str, rest: str, aws: EmbeddedAws) -> str:
    if service != "secretsmanager":
        answer = aws.client("ssm").get_parameter(Name=rest.strip(), WithDecryption=True)
        return str(answer["Parameter"]["Value"])
    found = _SECRET.match(rest.strip())
    if found is None:
        raise LookupError(rest)
    version: dict[str, Any] = {"VersionStage": found["stage"], "VersionId": found["version"]}
    answer = aws.client("secretsmanager").get_secret_value(
        SecretId=found["id"], **{key: one for key, one in version.items() if one}
    )
    text = str(answer["SecretString"])
    if not found["key"]:
        return text
    value = json.loads(text)[found["key"]]
    return value if isinstance(value, str) else json.dumps(value)
