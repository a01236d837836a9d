"""Whose answer is whose: any mixture of names, versions, labels and accounts, and no value that was swapped."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_aws import FakeAws
from lambda_tasks.aws.transport import CallFailed, Transport
from lambda_tasks.environment import stores
from lambda_tasks.environment.fetch import Fetch, parameter_batches
from lambda_tasks.environment.reference import Parameter, SecretVersion
from lambda_tasks.errors import LambdaTasksError, SecretAccessDenied, SecretNotFound
from lambda_tasks.local.embedded_aws import EmbeddedAws
from stores import transport
from wrapper import ACCOUNT, REGION, base_environ, parameter_arn, secret_arn

OTHER_ACCOUNT = "210987654321"
NAMES = ("/app/x", "/app/y", "x", "y", "/x", "app.x")
MOTO_NAMES = tuple(name for name in NAMES if name != "/x")  # which moto takes for x
VERSIONS = 3
LABELS = {"live": 2, "old": 1}

SELECTORS = st.sampled_from(["", "1", "2", "3", "9", "live", "old", "none"])
PARAMETERS = st.builds(
    lambda name, selector, account: Parameter(
        f"arn:aws:ssm:{REGION}:{account}:parameter/{name.lstrip('/')}" if account else name, selector, REGION, "aws"
    ),
    st.sampled_from((*NAMES, "/missing")),
    SELECTORS,
    st.sampled_from(["", ACCOUNT, OTHER_ACCOUNT]),
)


def version_of(selector: str) -> int | None:
    """Return the version that `selector` means, or None where there is none."""
    version = int(selector) if selector.isdigit() else LABELS.get(selector, VERSIONS if not selector else 0)
    return version if 1 <= version <= VERSIONS else None


def fetched(transport: Transport, parameters: list[Parameter]) -> dict[Parameter, str | None]:
    """Return the value of each parameter, or None where it was refused."""
    fetch = Fetch(transport, timeout_seconds=20)
    fetch.start(parameters)
    values: dict[Parameter, str | None] = {}
    for parameter in parameters:
        try:
            values[parameter] = fetch.stored(parameter).text
        except LambdaTasksError:
            values[parameter] = None
    return values


@pytest.fixture(scope="module")
def moto(embedded_aws: EmbeddedAws) -> EmbeddedAws:
    """Parameter Store with every name in three versions, two of them labelled."""
    client = embedded_aws.client("ssm")
    for name in MOTO_NAMES:
        for version in range(1, VERSIONS + 1):
            client.put_parameter(Name=name, Value=f"{name} {version}", Type="SecureString", Overwrite=True)
        for label, version in LABELS.items():
            client.label_parameter_version(Name=name, ParameterVersion=version, Labels=[label])
    return embedded_aws


@settings(max_examples=60)
@given(st.lists(PARAMETERS, max_size=14, unique=True))
def test_moto_serves_each_reference_its_own_value(moto: EmbeddedAws, parameters: list[Parameter]) -> None:
    """In any mixture, each reference gets the value of its own name and version, and none that of another account."""
    with transport(moto.environ()) as connections:
        values = fetched(connections, parameters)
    for parameter, value in values.items():
        names = [name for name in MOTO_NAMES if name.lstrip("/") == parameter.own_name]
        version = version_of(parameter.selector)
        if f":{OTHER_ACCOUNT}:" in parameter.name or not names or not version:
            assert value is None
        elif parameter.name in MOTO_NAMES:
            assert value == f"{parameter.name} {version}"
        elif names in (["/app/x"], ["/app/y"]):  # the others moto does not find by their ARN
            assert value == f"{names[0]} {version}"
        else:
            assert value in {None, *(f"{name} {version}" for name in names)}


@dataclass
class Documented:
    """Parameter Store as its API reference documents it, with two accounts, and parts of the answer left out."""

    left_out: frozenset[str]
    seed: int
    calls: int = 0

    def call(self, service: str, operation: str, request: dict[str, Any], **_: Any) -> dict[str, Any]:
        assert (service, operation) == ("ssm", "GetParameters")
        assert len(request["Names"]) <= 10
        self.calls += 1
        found, invalid = [], []
        for asked in request["Names"]:
            name, _, selector = asked.rpartition(":parameter/")[2].partition(":")
            account = asked.split(":")[4] if asked.startswith("arn:") else ACCOUNT
            name = next((one for one in NAMES if one == name or (asked[:4] == "arn:" and one == f"/{name}")), "")
            version = version_of(selector)
            if not name or version is None:
                invalid.append(asked)
                continue
            arn = f"arn:aws:ssm:{REGION}:{account}:parameter/{name.lstrip('/')}"
            answer = {"Name": name, "ARN": arn, "Version": version, "Value": f"{account} {name} {version}"}
            answer |= {"Selector": f":{selector}"} if selector else {}
            found.append({key: value for key, value in answer.items() if key not in self.left_out})
        random.Random(self.seed).shuffle(found)  # noqa: S311 - the order of an answer
        return {"Parameters": found, "InvalidParameters": invalid}


@settings(max_examples=300)
@given(
    st.lists(PARAMETERS, max_size=25, unique=True),
    st.frozensets(st.sampled_from(["Name", "ARN", "Version", "Selector"])),
    st.integers(0, 9),
)
def test_an_answer_serves_the_reference_that_it_names(
    parameters: list[Parameter], left_out: frozenset[str], seed: int
) -> None:
    """Whatever AWS leaves out and in whichever order it answers, no reference gets another's value."""
    store = Documented(left_out, seed)
    values = fetched(store, parameters)  # type: ignore[arg-type]
    for parameter, value in values.items():
        version = version_of(parameter.selector)
        account = parameter.name.split(":")[4] if parameter.name.startswith("arn:") else ACCOUNT
        names = [one for one in NAMES if one.lstrip("/") == parameter.own_name]
        right = {f"{account} {name} {version}" for name in names if version}
        assert value in {None, *right}
        if not left_out:
            assert (value is not None) == bool(right)
        if not left_out and parameter.name in NAMES and version:
            assert value == f"{account} {parameter.name} {version}"


@given(st.lists(PARAMETERS, max_size=40, unique=True))
def test_a_call_has_no_two_names_that_may_be_one(parameters: list[Parameter]) -> None:
    """Names are compared without account, version and leading slash, and every parameter is in one call."""
    batches = parameter_batches(parameters)
    assert sorted(map(str, parameters)) == sorted(str(one) for batch in batches for one in batch)
    for batch in batches:
        assert 1 <= len(batch) <= 10
        assert len({one.own_name for one in batch}) == len(batch)


SIGNER = "prod/kms-signer-AbCdEf"
USER = "User: arn:aws:sts::123456789012:assumed-role/KMS/kms is not authorized to perform"


@pytest.mark.parametrize(
    ("detail", "is_about_the_key"),
    [
        (f"{USER}: secretsmanager:GetSecretValue on resource: prod/kms-signer because no policy allows it", False),
        (f"{USER}: secretsmanager:GetSecretValue on resource: {secret_arn(SIGNER)}", False),
        (f"{USER}: ssm:GetParameters on resource: arn:aws:ssm:eu-west-1:1:parameter/kms", False),
        ("Access to secret prod/kms-signer is denied", False),
        ("Access to kms-signer is denied", False),
        (f"{USER}: kms:Decrypt on resource: arn:aws:kms:eu-west-1:123456789012:key/1 because no policy", True),
        ("Access to KMS is not allowed", True),
        ("The ciphertext refers to a customer master key that does not exist, or you are not allowed to access", True),
    ],
)
def test_a_denial_asks_for_what_was_denied(aws: FakeAws, detail: str, *, is_about_the_key: bool) -> None:
    """The key is asked for where AWS says that it was the key, and never for the sake of a name."""
    aws.answers = [lambda _: (400, {"__type": "AccessDeniedException", "message": detail})]
    with transport(base_environ(aws.url)) as connections, pytest.raises(SecretAccessDenied) as caught:
        stores.get_secret(connections, SecretVersion(secret_arn(SIGNER)), deadline=time.monotonic() + 20)
    assert ("kms:Decrypt" in str(caught.value)) == is_about_the_key
    assert ("allow the function's role secretsmanager:GetSecretValue" in str(caught.value)) != is_about_the_key


@pytest.mark.parametrize(
    ("name", "resources"),
    [
        ("db-AbCdEf", ["db-AbCdEf"]),
        ("db-x9Yz0Q", ["db-x9Yz0Q"]),
        ("db", ["db-??????"]),
        ("my-secret", ["my-secret", "my-secret-??????"]),
        ("Db-Master", ["Db-Master", "Db-Master-??????"]),
        ("release-202611", ["release-202611", "release-202611-??????"]),
    ],
)
def test_a_policy_allows_an_arn_that_may_be_partial(name: str, resources: list[str]) -> None:
    """An end that may be a word of the name does not make an ARN whole: both are allowed."""
    action, allowed = stores.required_permission(SecretVersion(secret_arn(name)))
    assert (action, list(allowed)) == ("secretsmanager:GetSecretValue", [secret_arn(one) for one in resources])


def test_a_failed_call_of_several_is_one_error_each(aws: FakeAws) -> None:
    """If a call of several fails for good, each is asked for alone, and a missing one does not hide the others."""
    good, gone = parameter_arn("app/good"), parameter_arn("app/gone")
    aws.parameters = {good: "v"}
    aws.answers = [lambda _: (400, {"__type": "ParameterNotFound"})]
    asked = [Parameter(one, "", REGION, "aws") for one in (good, gone)]
    with transport(base_environ(aws.url)) as connections:
        found = stores.get_parameters(connections, asked, deadline=time.monotonic() + 20)
    assert isinstance(found[asked[0]], stores.Stored)
    assert isinstance(found[asked[1]], SecretNotFound)
    assert "v" not in repr(found[asked[0]]).removeprefix("Stored(").replace("version", "")
    assert not isinstance(found[asked[1]], CallFailed)
