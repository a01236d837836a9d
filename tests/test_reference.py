"""The grammar of references."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_tasks.environment import reference
from lambda_tasks.environment.reference import Parameter, ParameterPath, SecretVersion, VariableReference
from lambda_tasks.errors import InvalidReference
from wrapper import parameter_arn, secret_arn

ARN = secret_arn("db/prod-AbCdEf")
UUID = "01234567-89ab-CDEF-0123-456789abcdef"
PARAMETER = parameter_arn("app/db")
SECRET_FORMS = (
    "use arn:<partition>:secretsmanager:<region>:<account>:secret:<name> "
    "or arn:<partition>:ssm:<region>:<account>:parameter/<name>"
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (ARN, SecretVersion(ARN)),
        (f"{ARN}:AWSPREVIOUS", SecretVersion(ARN, "AWSPREVIOUS")),
        (f"{ARN}:{UUID}", SecretVersion(ARN, "", UUID)),
        (f"{ARN}:AWSCURRENT:{UUID}", SecretVersion(ARN, "AWSCURRENT", UUID)),
        (f"{ARN}:{UUID}x", SecretVersion(ARN, f"{UUID}x")),
        (f"{ARN}:terraform-20241016155130123400000001", SecretVersion(ARN, "", "terraform-20241016155130123400000001")),
        (f"{ARN}:terraform-2024101615513012340000000a", SecretVersion(ARN, "", "terraform-2024101615513012340000000a")),
        (f"{ARN}:terraform-1", SecretVersion(ARN, "", "terraform-1")),
        (f"{ARN}:terraform-", SecretVersion(ARN, "terraform-")),
        (f"{ARN}:terraform-2024x", SecretVersion(ARN, "terraform-2024x")),
        (f"{ARN}:terraform-live", SecretVersion(ARN, "terraform-live")),
        (f"{ARN}:AWSCURRENT:terraform-1", SecretVersion(ARN, "AWSCURRENT", "terraform-1")),
    ],
)
def test_forms_of_the_environment_secret(value: str, expected: SecretVersion) -> None:
    """An environment secret's ARN may have a stage, an id (a UUID), or both."""
    assert reference.parse_environment_secret(value, strict=False) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (ARN, VariableReference("LAMBDA_TASKS_SECRET_X", SecretVersion(ARN))),
        (f"{ARN}:key::", VariableReference("LAMBDA_TASKS_SECRET_X", SecretVersion(ARN), "key")),
        (f"{ARN}::AWSCURRENT:", VariableReference("LAMBDA_TASKS_SECRET_X", SecretVersion(ARN, "AWSCURRENT"))),
        (f"{ARN}:::{UUID}", VariableReference("LAMBDA_TASKS_SECRET_X", SecretVersion(ARN, "", UUID))),
        (f"{ARN}:::", VariableReference("LAMBDA_TASKS_SECRET_X", SecretVersion(ARN))),
        (
            f"{ARN}:a key:stage:{UUID}",
            VariableReference("LAMBDA_TASKS_SECRET_X", SecretVersion(ARN, "stage", UUID), "a key"),
        ),
        (PARAMETER, VariableReference("LAMBDA_TASKS_SECRET_X", Parameter(PARAMETER, "", "eu-west-1", "aws"))),
        (f"{PARAMETER}:3", VariableReference("LAMBDA_TASKS_SECRET_X", Parameter(PARAMETER, "3", "eu-west-1", "aws"))),
    ],
)
def test_forms_of_a_variable(value: str, expected: VariableReference) -> None:
    """A variable comes from a secret, with the suffix of Amazon ECS, or from a parameter with a version or label."""
    assert reference.parse_variable("LAMBDA_TASKS_SECRET_X", value, strict=False) == expected
    assert expected.variable == "X"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/app/env", Parameter("/app/env", "", "eu-west-1", "aws")),
        ("env:2", Parameter("env", "2", "eu-west-1", "aws")),
        (f"{PARAMETER}:label", Parameter(PARAMETER, "label", "eu-west-1", "aws")),
        ("/app/prod/", ParameterPath("/app/prod/", "eu-west-1", "aws")),
        (
            parameter_arn("env", region="cn-north-1", partition="aws-cn"),
            Parameter(parameter_arn("env", region="cn-north-1", partition="aws-cn"), "", "cn-north-1", "aws-cn"),
        ),
    ],
)
def test_forms_of_the_ssm_environment(value: str, expected: Parameter | ParameterPath) -> None:
    """The SSM environment is a parameter by name or ARN, or a path."""
    assert reference.parse_ssm_environment(value, region="eu-west-1", strict=False) == expected


ENVIRONMENT, SSM, VARIABLE = (
    "LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN",
    "LAMBDA_TASKS_SSM_ENVIRONMENT",
    "LAMBDA_TASKS_SECRET_X",
)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        (VARIABLE, "", f"the value is empty (variable {VARIABLE}): {SECRET_FORMS}"),
        (VARIABLE, "hunter2", f"the value is not an ARN (variable {VARIABLE}): {SECRET_FORMS}"),
        (VARIABLE, "arn:aws:secretsmanager", f"the ARN has 3 segments, which is too few (variable {VARIABLE}): {SECRET_FORMS}"),
        (VARIABLE, ARN.rpartition(":")[0], f"the ARN has 6 segments where a secret's has 7 (variable {VARIABLE}): {SECRET_FORMS}"),
        (VARIABLE, secret_arn(""), f"the ARN's secret name is empty or has characters that none has (variable {VARIABLE}): {SECRET_FORMS}"),
        (VARIABLE, ARN.replace("secretsmanager", "s3"), f"the ARN is not that of a secret (variable {VARIABLE}): {SECRET_FORMS}"),
        (VARIABLE, ARN.replace(":aws:", ":aws-x:"), f"the ARN's partition is unknown (variable {VARIABLE}): use one of aws, aws-cn, aws-us-gov, aws-iso, aws-iso-b, aws-iso-e, aws-iso-f, aws-eusc"),
        (VARIABLE, ARN.replace("eu-west-1", "evil.example/"), f"the ARN's region is not one (variable {VARIABLE}): {SECRET_FORMS}"),
        (VARIABLE, ARN.replace("123456789012", "1234"), f"the ARN's account is not a number of 12 digits (variable {VARIABLE}): {SECRET_FORMS}"),
        (VARIABLE, ARN.replace("123456789012", "12345678901\u0662"), f"the ARN's account is not a number of 12 digits (variable {VARIABLE}): {SECRET_FORMS}"),
        (VARIABLE, ARN.replace("eu-west-1", "west-1"), f"the ARN's region is not one (variable {VARIABLE}): {SECRET_FORMS}"),
        (VARIABLE, ARN.replace("eu-west-1", "eu-west-\u0661"), f"the ARN's region is not one (variable {VARIABLE}): {SECRET_FORMS}"),
        (VARIABLE, ARN.replace("eu-west-1", f"{'e' * 64}-west-1"), f"the ARN's region is not one (variable {VARIABLE}): {SECRET_FORMS}"),
        (f"{VARIABLE}.y", ARN, f"the variable's name is none that a shell can hold (variable {VARIABLE}.y): name the setting LAMBDA_TASKS_SECRET_<NAME>, with letters, digits and underscores, not a digit first"),
        (VARIABLE, f"{ARN}:key", f"the ARN has 1 suffix segments where none or 3 are possible (variable {VARIABLE}, secret {ARN}): use <arn> or <arn>:<json-key>:<version-stage>:<version-id>, where any of the three may be empty"),
        (VARIABLE, f"{ARN}:k:s:i:x", f"the ARN has 4 suffix segments where none or 3 are possible (variable {VARIABLE}, secret {ARN}): use <arn> or <arn>:<json-key>:<version-stage>:<version-id>, where any of the three may be empty"),
        (VARIABLE, f"{ARN}:k:st age:", f"the version has characters that none has (variable {VARIABLE}): use the version's stage, label, number or id as AWS shows it"),
        (VARIABLE, f"{PARAMETER}:", f"the version or label is missing (variable {VARIABLE}, parameter {PARAMETER}): use <name or ARN>:<version or label>"),
        (VARIABLE, f"{PARAMETER}/", f"the ARN's parameter name ends in a slash (variable {VARIABLE}): use arn:<partition>:ssm:<region>:<account>:parameter/<name> or arn:<partition>:ssm:<region>:<account>:parameter/<name>:<version or label>"),
        (VARIABLE, f"{PARAMETER}:1:2", f"the ARN is not that of a parameter (variable {VARIABLE}): use arn:<partition>:ssm:<region>:<account>:parameter/<name> or arn:<partition>:ssm:<region>:<account>:parameter/<name>:<version or label>"),
        ("LAMBDA_TASKS_SECRET_", ARN, "the variable's name is empty (variable LAMBDA_TASKS_SECRET_): name the setting LAMBDA_TASKS_SECRET_<NAME>"),
        (ENVIRONMENT, "", f"the value is empty (variable {ENVIRONMENT}): use arn:<partition>:secretsmanager:<region>:<account>:secret:<name>"),
        (ENVIRONMENT, f"{ARN}:", f"a suffix of the ARN is empty (variable {ENVIRONMENT}, secret {ARN}): use <arn>, <arn>:<version-stage>, <arn>:<version-id> or <arn>:<version-stage>:<version-id>"),
        (ENVIRONMENT, f"{ARN}:stage:", f"a suffix of the ARN is empty (variable {ENVIRONMENT}, secret {ARN}): use <arn>, <arn>:<version-stage>, <arn>:<version-id> or <arn>:<version-stage>:<version-id>"),
        (ENVIRONMENT, f"{ARN}:k:s:i", f"the ARN has 3 suffixes (variable {ENVIRONMENT}, secret {ARN}): use <arn>, <arn>:<version-stage>, <arn>:<version-id> or <arn>:<version-stage>:<version-id>"),
        (SSM, "", f"the parameter's name is empty or has characters that none has (variable {SSM}): use a parameter's name or ARN"),
        (SSM, "app/", f"the value is not a path (variable {SSM}): use /<path>/, or a parameter's name or ARN"),
        (SSM, "a b", f"the parameter's name is empty or has characters that none has (variable {SSM}): use a parameter's name or ARN"),
    ],
)  # fmt: skip
def test_invalid_references(setting: str, value: str, message: str) -> None:
    """An invalid reference is an error that says what is wrong, which setting, and what to write instead."""
    _, errors = reference.parse({setting: value, "AWS_REGION": "eu-west-1"}, strict=False)
    assert [(type(error), str(error)) for error in errors] == [(InvalidReference, message)]


@pytest.mark.parametrize("region", ["a..b", "x" * 64, "eu-west-\u0661", "-eu", "eu/../"])
def test_a_name_in_a_region_that_is_none_is_invalid(region: str) -> None:
    """AWS_REGION becomes part of a host name: what cannot be one is refused by its name."""
    _, (error,) = reference.parse({SSM: "/app/db", "AWS_REGION": region}, strict=False)
    assert str(error) == f"AWS_REGION is no region (variable {SSM}): set AWS_REGION to one such as eu-west-1"


@pytest.mark.parametrize(
    ("value", "is_pinned"),
    [
        (ARN, False),
        (f"{ARN}::AWSCURRENT:", False),
        (f"{ARN}:::{UUID}", True),
        (f"{ARN}:k:AWSCURRENT:1", True),
        (PARAMETER, False),
        (f"{PARAMETER}:3", True),
        (f"{PARAMETER}:live", False),
    ],
)
def test_what_has_one_value_for_ever_is_pinned(value: str, *, is_pinned: bool) -> None:
    """A version id and a version's number never change their value; stages and labels move."""
    assert reference.parse_variable(VARIABLE, value, strict=False).source.is_pinned is is_pinned


def test_a_name_without_a_region_is_invalid() -> None:
    """A parameter's name alone does not say where it lies."""
    _, (error,) = reference.parse({SSM: "/app/db"}, strict=False)
    assert str(error) == (
        f"the region is unknown (variable {SSM}): set AWS_REGION, or refer to the parameter by its ARN"
    )


@pytest.mark.parametrize(
    ("setting", "valid", "invalid"),
    [
        (ENVIRONMENT, f"{ARN}:stage:{UUID}", [ARN, f"{ARN}:stage", f"{ARN}:{UUID}", f"{ARN}::{UUID}", f"{ARN}:stage:"]),
        (VARIABLE, f"{ARN}:k:s:{UUID}", [ARN, f"{ARN}:k::", f"{ARN}:k:s:", f"{ARN}:k::{UUID}", f"{ARN}::s:{UUID}"]),
        (VARIABLE, f"{PARAMETER}:3", [PARAMETER, f"{PARAMETER}:"]),
        (SSM, "/app/env:3", ["/app/env"]),
    ],
)
def test_strict_references_pin_everything(setting: str, valid: str, invalid: list[str]) -> None:
    """In strict mode every suffix must be there and non-empty."""
    environ = {"AWS_REGION": "eu-west-1"}
    assert not reference.parse({**environ, setting: valid}, strict=True)[1]
    for value in invalid:
        _, (error,) = reference.parse({**environ, setting: value}, strict=True)
        assert "LAMBDA_TASKS_STRICT_REFERENCES" in str(error), value


SEGMENTS = st.sampled_from(["", "arn", "aws", "secretsmanager", "ssm", "eu-west-1", "123456789012", "secret", UUID])
MANGLED = st.lists(SEGMENTS | st.text(max_size=8), max_size=12).map(":".join) | st.text()


@given(value=MANGLED, strict=st.booleans())
def test_any_value_is_parsed_or_refused(value: str, *, strict: bool) -> None:
    """No value, however mangled, makes the parser fail otherwise than with an error that does not show it."""
    canary = f"{value}canary"
    for setting in (ENVIRONMENT, SSM, VARIABLE):
        references, errors = reference.parse({setting: canary, "AWS_REGION": "eu-west-1"}, strict=strict)
        parsed = [references.environment_secret, references.ssm_environment, *references.variables]
        assert len([one for one in parsed if one]) + len(errors) == 1
        if setting != SSM and not canary.startswith("arn:"):  # there a bare name is what may be meant
            assert all("canary" not in str(error) for error in errors)


@given(
    st.builds(
        SecretVersion,
        st.from_regex(r"[A-Za-z0-9/_+=.@!-]{1,40}", fullmatch=True).map(secret_arn),
        st.just("") | st.from_regex(r"[A-Za-z0-9_]{1,20}", fullmatch=True),
        st.just("") | st.uuids().map(str),
    ),
    st.text(st.characters(codec="utf-8", exclude_characters=":"), max_size=20),
)
def test_what_is_written_is_what_is_read(version: SecretVersion, json_key: str) -> None:
    """Every valid secret, version and JSON key is read back from the reference that spells it."""
    value = f"{version.arn}:{json_key}:{version.version_stage}:{version.version_id}"
    assert reference.parse_variable(VARIABLE, value, strict=False) == VariableReference(VARIABLE, version, json_key)
