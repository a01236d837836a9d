"""Addresses of services, compared with botocore's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import EndpointResolutionError, EndpointVariantError
from botocore.utils import ensure_boolean

from lambda_tasks.aws import endpoints
from lambda_tasks.aws.url import Url
from lambda_tasks.errors import InvalidSetting

pytestmark = pytest.mark.usefixtures("uncovered")

PARTITIONS = json.loads((Path(botocore.session.__file__).parent / "data" / "partitions.json").read_text())["partitions"]
REGIONS = [
    (region, partition["id"])
    for partition in PARTITIONS
    for region in partition["regions"]
    if not region.endswith("-global")
]


def test_partitions_are_those_of_botocore() -> None:
    """Every partition that botocore knows has its DNS suffix here, and every region is found in its partition."""
    assert {one["id"]: one["outputs"]["dnsSuffix"] for one in PARTITIONS} == endpoints.DNS_SUFFIXES
    assert {region: endpoints.partition_of(region) for region, _ in REGIONS} == dict(REGIONS)


class Sent(Exception):
    """The address of a request that would have been sent."""


OPERATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "secretsmanager": ("get_secret_value", {"SecretId": "a"}),
    "ssm": ("get_parameters", {"Names": ["a"]}),
    "sqs": ("list_queues", {}),
    "dynamodb": ("list_tables", {}),
    "s3": ("get_object", {"Bucket": "a.bucket", "Key": "a"}),
    "scheduler": ("list_schedules", {}),
    "sns": ("list_topics", {}),
    "sts": ("get_caller_identity", {}),
    "batch": ("list_jobs", {}),
    "ecs": ("list_clusters", {}),
    "events": ("list_event_buses", {}),
}
# Regions that are too new for this botocore: one that looks like those of AWS, and one that does not.
NEW_REGIONS = [("eu-west-9", "aws"), ("xx-new-1", "aws")]


def sent_to(session: botocore.session.Session, service: str, region: str, *, fips: bool, dual_stack: bool) -> str:
    """Return scheme and host of the request that botocore would send, or ``none`` where it knows no endpoint.

    ``client.meta.endpoint_url`` is no oracle: it is what older rules say, and requests go elsewhere. For Secrets
    Manager with dual stack it names a host that does not exist.
    """
    config = Config(
        use_fips_endpoint=fips, use_dualstack_endpoint=dual_stack, s3={"addressing_style": "path"}
    )  # as for buckets with a dot, and as our own requests are

    def stop(request: Any, **_: object) -> None:
        raise Sent(request.url)

    operation, request = OPERATIONS[service]
    try:
        client = session.create_client(
            service, region_name=region, config=config, aws_access_key_id="id", aws_secret_access_key="key"
        )
        client.meta.events.register_first("before-send", stop)
        getattr(client, operation)(**request)
    except Sent as sent:
        url = urlsplit(str(sent))
        return f"{url.scheme}://{url.netloc}"
    except (EndpointVariantError, EndpointResolutionError):
        return "none"
    raise AssertionError("nothing was sent")


@pytest.fixture(scope="module")
def session() -> botocore.session.Session:
    """One session, which reads what botocore knows of a service once."""
    return botocore.session.Session()


@pytest.mark.parametrize("dual_stack", [False, True])
@pytest.mark.parametrize("fips", [False, True])
@pytest.mark.parametrize("service", OPERATIONS)
def test_addresses_are_those_of_botocore(
    service: str, *, fips: bool, dual_stack: bool, session: botocore.session.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every region of every partition requests go where botocore sends them, with FIPS and dual stack and without."""
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("AWS_S3_US_EAST_1_REGIONAL_ENDPOINT", "regional")  # not the global one, from before regions
    environ = {"AWS_USE_FIPS_ENDPOINT": str(fips).lower(), "AWS_USE_DUALSTACK_ENDPOINT": str(dual_stack).lower()}
    ours, theirs = {}, {}
    for region, partition in REGIONS + NEW_REGIONS:
        theirs[region] = sent_to(session, service, region, fips=fips, dual_stack=dual_stack)
        try:
            url = endpoints.resolve(service, region, partition, environ)
            ours[region] = f"{url.scheme}://{url.authority}"
        except InvalidSetting:
            ours[region] = "none"
    assert ours == theirs


@pytest.mark.parametrize(
    ("service", "partition", "variable", "problem"),
    [
        ("ssm", "aws-iso-e", "AWS_USE_DUALSTACK_ENDPOINT", "the partition aws-iso-e has no dual-stack endpoints"),
        ("s3", "aws-cn", "AWS_USE_FIPS_ENDPOINT", "the partition aws-cn has no FIPS endpoint of s3"),
    ],
)
def test_an_endpoint_that_does_not_exist_is_an_error(service: str, partition: str, variable: str, problem: str) -> None:
    """Where a partition has no endpoint of the kind that is asked for, the error names the variable that asks."""
    with pytest.raises(InvalidSetting) as caught:
        endpoints.resolve(service, "eu-isoe-west-1", partition, {variable: "true"})
    assert str(caught.value) == f"{problem} (variable {variable}): remove the variable"


@pytest.mark.parametrize("region", ["", "a..b", "eu-west-1.", "x" * 64, "eu west", "é", "٣", "a/b", "a:1", "日"])
def test_a_region_that_no_host_can_have_is_an_error(region: str) -> None:
    """A region that could not be looked up is named before anything is sent."""
    with pytest.raises(InvalidSetting, match=r"is no region: correct AWS_REGION, or the region of the ARN"):
        endpoints.resolve("ssm", region, "aws", {})


@pytest.mark.parametrize(
    ("text", "is_true"), [("true", True), ("True", True), ("TRUE", True), ("1", False), ("yes", False), ("", False)]
)
def test_switches_are_read_as_botocore_reads_them(text: str, *, is_true: bool) -> None:
    """Of what a variable may hold, the word true switches an endpoint's kind on, and nothing else does."""
    assert ensure_boolean(text) is is_true
    host = endpoints.resolve("ssm", "eu-west-1", "aws", {"AWS_USE_DUALSTACK_ENDPOINT": text}).host
    assert host.endswith("api.aws") is is_true


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:5000"}, "http://127.0.0.1:5000/"),
        ({"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_SSM": "https://b/prefix"}, "https://b/prefix"),
        ({"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_SQS": "https://b"}, "http://a/"),
        (
            {"AWS_ENDPOINT_URL": "http://a", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            "https://ssm.eu-west-1.amazonaws.com/",
        ),
        ({"AWS_ENDPOINT_URL": "http://[::1]:5000"}, "http://[::1]:5000/"),
        (
            {"AWS_ENDPOINT_URL": "http://a", "AWS_USE_DUALSTACK_ENDPOINT": "true", "AWS_USE_FIPS_ENDPOINT": "true"},
            "http://a/",
        ),
    ],
)
def test_endpoint_overrides(environ: dict[str, str], expected: str) -> None:
    """The service's own override comes before the general one; both can be ignored."""
    url = endpoints.resolve("ssm", "eu-west-1", "aws", environ)
    assert f"{url.scheme}://{url.authority}{url.path}" == expected


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:5000", "ftp://a", "http://", "http://a:b", "http://u:p@a", "http://a/?q", "http://a b", "é"),
        *("http://a..b", "http://.a", f"http://{'a' * 64}.example", f"http://{'a.' * 130}a", "http://a:65536"),
        *("http://a:٣", "http://a:²", "http://a:b:1", "http://[a]:1", "http://[::1", "http://a:1_0", "https://a\tb"),
    ],
)
def test_an_override_that_is_no_url_is_an_error(url: str) -> None:
    """An override that cannot be called is an error that names the variable."""
    if not url:
        with pytest.raises(ValueError, match="use a URL"):
            Url.parse(url)
        return
    with pytest.raises(InvalidSetting, match=r"not usable \(variable AWS_ENDPOINT_URL_SQS\): use a URL"):
        endpoints.resolve("sqs", "eu-west-1", "aws", {"AWS_ENDPOINT_URL_SQS": url})
