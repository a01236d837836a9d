"""Addresses of services, compared with botocore's."""

from __future__ import annotations

import json
from pathlib import Path

import botocore.session
import pytest
from botocore.config import Config

from lambda_tasks.aws import endpoints
from lambda_tasks.aws.url import Url
from lambda_tasks.errors import InvalidSetting

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


@pytest.mark.parametrize("fips", [False, True])
@pytest.mark.parametrize("service", ["secretsmanager", "ssm", "sqs", "dynamodb", "s3", "scheduler"])
def test_addresses_are_those_of_botocore(service: str, *, fips: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every region of every partition a service is reached where botocore reaches it, with FIPS and without."""
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("AWS_S3_US_EAST_1_REGIONAL_ENDPOINT", "regional")  # not the global one, from before regions
    session = botocore.session.Session()
    ours, theirs = {}, {}
    for region, partition in REGIONS:
        client = session.create_client(
            service,
            region_name=region,
            config=Config(use_fips_endpoint=fips),
            aws_access_key_id="id",
            aws_secret_access_key="key",
        )
        theirs[region] = client.meta.endpoint_url
        url = endpoints.resolve(service, region, partition, {"AWS_USE_FIPS_ENDPOINT": str(fips).lower()})
        ours[region] = f"{url.scheme}://{url.authority}"
    assert ours == theirs


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
    ],
)
def test_endpoint_overrides(environ: dict[str, str], expected: str) -> None:
    """The service's own override comes before the general one; both can be ignored."""
    url = endpoints.resolve("ssm", "eu-west-1", "aws", environ)
    assert f"{url.scheme}://{url.authority}{url.path}" == expected


@pytest.mark.parametrize(
    "url", ["", "localhost:5000", "ftp://a", "http://", "http://a:b", "http://u:p@a", "http://a/?q", "http://a b", "é"]
)
def test_an_override_that_is_no_url_is_an_error(url: str) -> None:
    """An override that cannot be called is an error that names the variable."""
    if not url:
        with pytest.raises(ValueError, match="use a URL"):
            Url.parse(url)
        return
    with pytest.raises(InvalidSetting, match=r"not usable \(variable AWS_ENDPOINT_URL_SQS\): use a URL"):
        endpoints.resolve("sqs", "eu-west-1", "aws", {"AWS_ENDPOINT_URL_SQS": url})
