"""A queue's URL, ARN and region, with botocore's own endpoints as the oracle."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore
import botocore.loaders
import botocore.session
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from lambda_tasks.aws import endpoints
from lambda_tasks.aws.queue_address import QueueAddress

ELSEWHERE = {"AWS_REGION": "eu-north-1"}


def botocores_hosts() -> Iterator[tuple[str, str, str]]:
    """Yield partition, region and host name of each endpoint of SQS that botocore's data names."""
    data: Any = botocore.loaders.Loader().load_data("endpoints")
    for partition in data["partitions"]:
        service = partition["services"].get("sqs", {"endpoints": {}})
        defaults = {**partition["defaults"], **service.get("defaults", {})}
        for region in {**partition["regions"], **service["endpoints"]}:
            if region not in partition["regions"]:
                continue
            own = {**defaults, **service["endpoints"].get(region, {})}
            names = {"region": region, "service": "sqs", "dnsSuffix": partition["dnsSuffix"]}
            yield partition["partition"], region, own.get("sslCommonName", own["hostname"]).format(**names)
            for variant in ({}, *defaults.get("variants", []), *own.get("variants", [])):
                host = variant.get("hostname", own["hostname"])
                suffix = variant.get("dnsSuffix", partition["dnsSuffix"])
                yield partition["partition"], region, host.format(**{**names, "dnsSuffix": suffix})


HOSTS = sorted(set(botocores_hosts()))


def test_there_are_many_hosts() -> None:
    """The oracle names today's, legacy, FIPS and dual-stack hosts of every partition."""
    hosts = [host for _, _, host in HOSTS]
    assert len(HOSTS) > 100
    assert {"queue.amazonaws.com", "sqs.cn-north-1.amazonaws.com.cn", "eu-west-1.queue.amazonaws.com"} <= set(hosts)
    assert any("fips" in host for host in hosts)
    assert any(host.endswith("api.aws") for host in hosts)


@pytest.mark.parametrize("port", ["", ":443"])
def test_every_host_of_botocores_names_its_region(port: str) -> None:
    """Region and partition are those of the endpoint, whatever the process's own region is."""
    for partition, region, host in HOSTS:
        address = QueueAddress.of_url(f"https://{host}{port}/123456789012/orders.fifo", ELSEWHERE)
        assert (address.region, address.partition) == (region, partition), host
        assert address.arn == f"arn:{partition}:sqs:{region}:123456789012:orders.fifo"
        assert address.is_fifo


def test_resolved_endpoints_name_their_region() -> None:
    """The endpoints that a client of botocore's resolves, with FIPS and dual-stack too, are read as their region's."""
    session = botocore.session.Session()
    for region in ("us-east-1", "eu-west-3", "us-gov-west-1", "cn-north-1"):
        for fips, dualstack in itertools.product((False, True), repeat=2):
            if region.startswith("cn-") and fips:
                continue  # there is none
            config = Config(use_fips_endpoint=fips, use_dualstack_endpoint=dualstack)
            client = session.create_client(
                "sqs", region, config=config, aws_access_key_id="a", aws_secret_access_key="b"
            )
            address = QueueAddress.of_url(f"{client.meta.endpoint_url}/1/q", ELSEWHERE)
            assert address.region == region, client.meta.endpoint_url


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-west-3.amazonaws.com/123456789012/q", "eu-west-3"),
        ("https://SQS.EU-WEST-3.amazonaws.com/123456789012/q", "eu-west-3"),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/123456789012/q", "us-gov-west-1"),
        ("https://vpce-1-2.sqs.eu-west-3.vpce.amazonaws.com/123456789012/q", "eu-west-3"),
        ("https://vpce-1-2-eu-west-3a.sqs.eu-west-3.vpce.amazonaws.com/123456789012/q", "eu-west-3"),
        ("https://ap-south-1.queue.amazonaws.com/123456789012/q", "ap-south-1"),
        ("https://cn-north-1.queue.amazonaws.com.cn/123456789012/q", "cn-north-1"),
        ("https://queue.amazonaws.com/123456789012/q", "us-east-1"),
        ("https://sqs.eusc-de-east-1.amazonaws.eu/123456789012/q", "eusc-de-east-1"),
        ("http://sqs.us-west-2.localhost.localstack.cloud:4566/000000000000/q", "us-west-2"),
        ("http://us-west-2.queue.localhost.localstack.cloud:4566/000000000000/q", "us-west-2"),
        ("http://localhost:4566/queue/us-west-2/000000000000/q", "us-west-2"),
        ("http://localhost:9324/queue/q", "eu-north-1"),
        ("http://sqs.localhost:4566/000000000000/q", "eu-north-1"),
        ("http://sqs:9324/000000000000/q", "eu-north-1"),
        ("http://127.0.0.1:5000/123456789012/q", "eu-north-1"),
        ("http://[::1]:5000/123456789012/q", "eu-north-1"),
        ("no URL", "eu-north-1"),
        ("", "eu-north-1"),
    ],
)
def test_the_region_is_that_of_the_queue(url: str, region: str) -> None:
    """A queue is reached in the region that its URL names, and else in the process's own."""
    assert QueueAddress.of_url(url, ELSEWHERE).region == region


def test_a_process_without_a_region_has_the_first_one() -> None:
    """A URL that names no region, in a process that has none, is in us-east-1."""
    assert QueueAddress.of_url("http://127.0.0.1:5000/1/q", {}).region == "us-east-1"


@pytest.mark.parametrize(
    ("arn", "url"),
    [
        ("arn:aws:sqs:eu-west-1:123456789012:queue", "https://sqs.eu-west-1.amazonaws.com/123456789012/queue"),
        (
            "arn:aws-cn:sqs:cn-north-1:123456789012:q.fifo",
            "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q.fifo",
        ),
        ("arn:aws:sns:eu-west-1:123456789012:topic", None),
        ("arn:nowhere:sqs:eu-west-1:123456789012:queue", None),
        ("arn:aws:sqs::123456789012:queue", None),
        ("", None),
    ],
)
def test_a_queues_url_is_composed_of_its_arn(arn: str, url: str | None) -> None:
    """The URL is that of the ARN's partition, region, account and name; anything else has none."""
    address = QueueAddress.of_arn(arn, {})
    assert (address.url if address else None) == url
    assert address is None or address.arn == arn


def test_hosts_make_no_difference_to_what_a_queue_is() -> None:
    """Two URLs of one queue are the same; another region, account or name is not."""
    url = "https://sqs.eu-west-3.amazonaws.com/123456789012/q"
    queue = QueueAddress.of_url(url, {})
    assert queue.is_same(QueueAddress.of_url("https://eu-west-3.queue.amazonaws.com/123456789012/q/", {}))
    for other in (url.replace("-3", "-1"), url.replace("12/", "13/"), url + "2"):
        assert not queue.is_same(QueueAddress.of_url(other, {}))


@given(st.text(), st.sampled_from(["", "http://", "https://sqs.", "https://queue.", "arn:aws:sqs:"]))
def test_any_text_has_an_address(text: str, start: str) -> None:
    """Nothing that stands in a setting makes reading it fail."""
    address = QueueAddress.of_url(start + text, ELSEWHERE)
    assert address.partition in endpoints.DNS_SUFFIXES
    assert address.arn.startswith("arn:aws")


def test_the_oracle_is_the_installed_botocore() -> None:
    """The data of botocore lie where its loader finds them."""
    path = Path(botocore.__file__).parent / "data" / "endpoints.json"
    assert json.loads(path.read_text())["version"] == 3
