"""The grammar of references: which variable comes from which secret or parameter. Pure: nothing is fetched here."""

from __future__ import annotations

import re

from lambda_tasks.aws.endpoints import DNS_SUFFIXES, own_region, partition_of
from lambda_tasks.errors import InvalidReference
from lambda_tasks.settings import ENVIRONMENT_SECRET, SSM_ENVIRONMENT, VARIABLE_PREFIX
from lambda_tasks.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias, TypeVar

    from lambda_tasks.errors import LambdaTasksError

    T = TypeVar("T")
    Source: TypeAlias = "SecretVersion | Parameter | ParameterPath"

_SECRET_ARN = "arn:<partition>:secretsmanager:<region>:<account>:secret:<name>"  # noqa: S105 - a form
_PARAMETER_ARN = "arn:<partition>:ssm:<region>:<account>:parameter/<name>"
_STRICT = "with LAMBDA_TASKS_STRICT_REFERENCES "

# Sets, not patterns: compiling these would cost every cold start half a millisecond.
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"
_SECRET_NAME = frozenset(_LETTERS + _LETTERS.upper() + _DIGITS + "/_+=.@!-")
_PARAMETER_NAME = frozenset(_LETTERS + _LETTERS.upper() + _DIGITS + "/_.-")
_REGION_LABEL = frozenset(_LETTERS + _DIGITS + "-")
_MAX_REGION_LENGTH = 32  # far below the 63 characters that a host name's label may have

# A UUID, as AWS makes them; or what Terraform makes: a time of 18 digits, and a count of 8, which is hexadecimal.
_VERSION_ID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|terraform-([0-9]+|[0-9]{18}[0-9a-f]{8})"


class SecretVersion(Value):
    """One version of one secret: what a single ``GetSecretValue`` call returns. Empty strings mean the default."""

    arn: str
    version_stage: str = ""
    version_id: str = ""

    @property
    def partition(self) -> str:
        return self.arn.split(":", 2)[1]

    @property
    def region(self) -> str:
        return self.arn.split(":", 4)[3]

    @property
    def is_pinned(self) -> bool:
        """Whether it has one value for ever."""
        return bool(self.version_id)

    def __str__(self) -> str:
        version = ", ".join(part for part in (self.version_stage, self.version_id) if part)
        return f"secret {self.arn}" + (f" version {version}" if version else "")


class Parameter(Value):
    """One parameter of Parameter Store, by ARN or by name; `selector` is a version or a label, or empty."""

    name: str
    selector: str
    region: str
    partition: str

    @property
    def asked_for(self) -> str:
        """What ``GetParameters`` is asked for: a name or an ARN, with its selector."""
        return f"{self.name}:{self.selector}" if self.selector else self.name

    @property
    def own_name(self) -> str:
        """The name without account, region and leading slash, which an ARN has not: equal ones may be one parameter."""
        return self.name.rpartition(":parameter/")[2].removeprefix("/")

    @property
    def is_pinned(self) -> bool:
        """Whether it has one value for ever: a version is a number, a label can move."""
        return self.selector.isdigit()

    def __str__(self) -> str:
        return f"parameter {self.asked_for}"


class ParameterPath(Value):
    """All parameters below a path, which begins and ends with a slash."""

    path: str
    region: str
    partition: str

    def __str__(self) -> str:
        return f"parameters below {self.path}"


class VariableReference(Value):
    """One variable: the value of `json_key` in a secret, or where that is empty the whole secret or parameter."""

    setting: str
    source: SecretVersion | Parameter
    json_key: str = ""

    @property
    def variable(self) -> str:
        return self.setting[len(VARIABLE_PREFIX) :]


class References(Value):
    """All that an environment refers to."""

    environment_secret: SecretVersion | None
    ssm_environment: Parameter | ParameterPath | None
    variables: tuple[VariableReference, ...]


def parse(environ: Mapping[str, str], *, strict: bool) -> tuple[References, list[LambdaTasksError]]:
    """Return the references in `environ`, and an error for each that is not valid."""
    errors: list[LambdaTasksError] = []

    def attempt(setting: str, parse_value: Callable[[str], T]) -> T | None:
        if setting not in environ:
            return None
        try:
            return parse_value(environ[setting])
        except InvalidReference as error:
            errors.append(error.concerning(ascii(setting)[1:-1]))
            return None

    def variable(setting: str) -> VariableReference | None:
        return attempt(setting, lambda value: parse_variable(setting, value, strict=strict))

    region = own_region(environ) or ""
    references = References(
        attempt(ENVIRONMENT_SECRET, lambda value: parse_environment_secret(value, strict=strict)),
        attempt(SSM_ENVIRONMENT, lambda value: parse_ssm_environment(value, region=region, strict=strict)),
        tuple(filter(None, map(variable, sorted(name for name in environ if name.startswith(VARIABLE_PREFIX))))),
    )
    return references, errors


def parse_environment_secret(value: str, *, strict: bool) -> SecretVersion:
    """Parse the value of ``LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN``.

    Raises:
        InvalidReference: it does not follow the grammar.

    """
    arn, suffix = _split_secret_arn(value, remedy=f"use {_SECRET_ARN}")
    source = str(SecretVersion(arn))
    if strict and (len(suffix) != 2 or not all(suffix)):
        remedy = f"{_STRICT}use <arn>:<version-stage>:<version-id>, both non-empty"
        raise InvalidReference("the version stage or id is missing", source=source, remedy=remedy)
    if len(suffix) > 2 or not all(suffix):
        problem = f"the ARN has {len(suffix)} suffixes" if len(suffix) > 2 else "a suffix of the ARN is empty"
        remedy = "use <arn>, <arn>:<version-stage>, <arn>:<version-id> or <arn>:<version-stage>:<version-id>"
        raise InvalidReference(problem, source=source, remedy=remedy)
    if len(suffix) == 1 and re.fullmatch(_VERSION_ID, suffix[0]):
        return SecretVersion(arn, version_id=suffix[0])
    return SecretVersion(arn, *suffix)


def parse_ssm_environment(value: str, *, region: str, strict: bool) -> Parameter | ParameterPath:
    """Parse the value of ``LAMBDA_TASKS_SSM_ENVIRONMENT``; a name or path lies in `region`.

    Raises:
        InvalidReference: it does not follow the grammar.

    """
    if value.startswith("arn:"):
        return _parse_parameter_arn(value, strict=strict)
    if not region:
        raise InvalidReference("the region is unknown", remedy="set AWS_REGION, or refer to the parameter by its ARN")
    if not _consists_of(region, _REGION_LABEL) or region.strip("-") != region or len(region) > _MAX_REGION_LENGTH:
        raise InvalidReference("AWS_REGION is no region", remedy="set AWS_REGION to one such as eu-west-1")
    if value.endswith("/"):
        if not (value.startswith("/") and _consists_of(value, _PARAMETER_NAME) and "//" not in value):
            raise InvalidReference("the value is not a path", remedy="use /<path>/, or a parameter's name or ARN")
        return ParameterPath(value, region, partition_of(region))
    name, separator, selector = value.partition(":")
    return _parameter(name, selector if separator else None, region, partition_of(region), strict=strict)


def parse_variable(setting: str, value: str, *, strict: bool) -> VariableReference:
    """Parse one ``LAMBDA_TASKS_SECRET_<NAME>`` setting.

    A secret's suffix is that of Amazon ECS
    (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html).

    Raises:
        InvalidReference: it does not follow the grammar.

    """
    if setting == VARIABLE_PREFIX:
        raise InvalidReference("the variable's name is empty", remedy=f"name the setting {VARIABLE_PREFIX}<NAME>")
    if not (setting.isascii() and setting[len(VARIABLE_PREFIX) :].isidentifier()):
        remedy = f"name the setting {VARIABLE_PREFIX}<NAME>, with letters, digits and underscores, not a digit first"
        raise InvalidReference("the variable's name is none that a shell can hold", remedy=remedy)
    if value.split(":")[2:3] == ["ssm"]:
        return VariableReference(setting, _parse_parameter_arn(value, strict=strict))
    arn, suffix = _split_secret_arn(value, remedy=f"use {_SECRET_ARN} or {_PARAMETER_ARN}")
    if strict and (len(suffix) != 3 or not all(suffix)):
        remedy = f"{_STRICT}use <arn>:<json-key>:<version-stage>:<version-id>, all three non-empty"
        problem = "the JSON key, version stage or version id is missing"
        raise InvalidReference(problem, source=str(SecretVersion(arn)), remedy=remedy)
    if len(suffix) not in (0, 3):
        remedy = "use <arn> or <arn>:<json-key>:<version-stage>:<version-id>, where any of the three may be empty"
        raise InvalidReference(
            f"the ARN has {len(suffix)} suffix segments where none or 3 are possible",
            source=str(SecretVersion(arn)),
            remedy=remedy,
        )
    json_key, version_stage, version_id = suffix or ("", "", "")
    return VariableReference(setting, SecretVersion(arn, version_stage, version_id), json_key)


def _split_secret_arn(value: str, *, remedy: str) -> tuple[str, list[str]]:
    segments = _split_arn(value, remedy=remedy)
    if segments[2] != "secretsmanager" or segments[5:6] != ["secret"]:
        raise InvalidReference("the ARN is not that of a secret", remedy=remedy)
    if len(segments) < 7:
        raise InvalidReference(f"the ARN has {len(segments)} segments where a secret's has 7", remedy=remedy)
    if not _consists_of(segments[6], _SECRET_NAME):
        raise InvalidReference("the ARN's secret name is empty or has characters that none has", remedy=remedy)
    for version in segments[7:][-2:]:
        _check_version(version)
    return ":".join(segments[:7]), segments[7:]


def _parse_parameter_arn(value: str, *, strict: bool) -> Parameter:
    remedy = f"use {_PARAMETER_ARN} or {_PARAMETER_ARN}:<version or label>"
    segments = _split_arn(value, remedy=remedy)
    if segments[2] != "ssm" or len(segments) not in (6, 7) or not segments[5].startswith("parameter/"):
        raise InvalidReference("the ARN is not that of a parameter", remedy=remedy)
    if segments[5].endswith("/"):
        raise InvalidReference("the ARN's parameter name ends in a slash", remedy=remedy)
    selector = segments[6] if len(segments) == 7 else None
    return _parameter(":".join(segments[:6]), selector, segments[3], segments[1], strict=strict)


def _parameter(name: str, selector: str | None, region: str, partition: str, *, strict: bool) -> Parameter:
    if not _consists_of(name.rpartition(":")[2], _PARAMETER_NAME):
        raise InvalidReference(
            "the parameter's name is empty or has characters that none has", remedy="use a parameter's name or ARN"
        )
    if selector == "" or (strict and selector is None):
        remedy = f"{_STRICT if strict else ''}use <name or ARN>:<version or label>"
        raise InvalidReference("the version or label is missing", source=f"parameter {name}", remedy=remedy)
    _check_version(selector or "")
    return Parameter(name, selector or "", region, partition)


def _split_arn(value: str, *, remedy: str) -> list[str]:
    segments = value.split(":")
    if segments[0] != "arn":
        # The value is not shown: it may be the secret itself, set here by mistake.
        raise InvalidReference("the value is not an ARN" if value else "the value is empty", remedy=remedy)
    if len(segments) < 6:
        raise InvalidReference(f"the ARN has {len(segments)} segments, which is too few", remedy=remedy)
    _, partition, _, region, account = segments[:5]
    if partition not in DNS_SUFFIXES:
        raise InvalidReference("the ARN's partition is unknown", remedy=f"use one of {', '.join(DNS_SUFFIXES)}")
    if not _is_region(region):
        raise InvalidReference("the ARN's region is not one", remedy=remedy)
    if not (len(account) == 12 and _consists_of(account, frozenset(_DIGITS))):
        raise InvalidReference("the ARN's account is not a number of 12 digits", remedy=remedy)
    return segments


def _is_region(text: str) -> bool:
    *words, number = text.split("-")
    alphabet, digits = frozenset(_LETTERS), frozenset(_DIGITS)
    spelt_right = len(words) > 1 and all(_consists_of(word, alphabet) for word in words)
    return spelt_right and _consists_of(number, digits) and len(text) <= _MAX_REGION_LENGTH


def _consists_of(text: str, characters: frozenset[str]) -> bool:
    return bool(text) and characters.issuperset(text)


def _check_version(version: str) -> None:
    if not (version.isascii() and version.isprintable() and " " not in version):
        remedy = "use the version's stage, label, number or id as AWS shows it"
        raise InvalidReference("the version has characters that none has", remedy=remedy)
