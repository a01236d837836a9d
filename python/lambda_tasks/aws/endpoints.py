"""Where a service of a region is reached: botocore's rules, for the services that we call.

Tests compare every region's addresses, and these tables, with botocore's own.

Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
"""

from __future__ import annotations

from lambda_tasks.aws.url import Url
from lambda_tasks.errors import InvalidSetting

TYPE_CHECKING = False  # that of typing, which costs a cold start 4 ms
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_REGION = "us-east-1"
DNS_SUFFIXES = {
    "aws": "amazonaws.com",
    "aws-cn": "amazonaws.com.cn",
    "aws-us-gov": "amazonaws.com",
    "aws-iso": "c2s.ic.gov",
    "aws-iso-b": "sc2s.sgov.gov",
    "aws-iso-e": "cloud.adc-e.uk",
    "aws-iso-f": "csp.hci.ic.gov",
    "aws-eusc": "amazonaws.eu",
}


def resolve(service: str, region: str, partition: str, environ: Mapping[str, str]) -> Url:
    """Return the address of `service` (the name that its requests are signed with) in `region`.

    Raises:
        InvalidSetting: an endpoint override is not a URL.

    """
    for variable in (f"AWS_ENDPOINT_URL_{_SERVICE_IDS[service]}", "AWS_ENDPOINT_URL"):
        override = environ.get(variable)
        if override and environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() != "true":
            try:
                return Url.parse(override)
            except ValueError as error:
                raise InvalidSetting("the endpoint is not usable", variable=variable, remedy=str(error)) from None
    fips = environ.get("AWS_USE_FIPS_ENDPOINT", "").lower() == "true" and (
        region not in _REGIONS_WITHOUT_FIPS_NAME.get(service, ())
    )
    return Url("https", f"{service}{'-fips' if fips else ''}.{region}.{DNS_SUFFIXES[partition]}", 443, "/")


def own_region(environ: Mapping[str, str]) -> str | None:
    """Return the region that a process with `environ` is meant for, or None where it names none."""
    return environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or None


def partition_of(region: str) -> str:
    """Return the partition that `region` lies in, by the beginnings that botocore knows; ``aws`` for any other."""
    return next((name for start, name in _REGION_STARTS if region.startswith(start)), "aws")


_SERVICE_IDS = {
    "secretsmanager": "SECRETS_MANAGER",
    "ssm": "SSM",
    "sqs": "SQS",
    "dynamodb": "DYNAMODB",
    "s3": "S3",
    "scheduler": "SCHEDULER",
}

# Where a service's plain name already answers with FIPS-validated cryptography, it has no other one.
_REGIONS_WITHOUT_FIPS_NAME = {
    "ssm": {"us-gov-east-1", "us-gov-west-1"},
    "sqs": {"us-gov-east-1", "us-gov-west-1", "us-iso-east-1", "us-iso-west-1", "us-isob-east-1"}
    | {"us-isof-east-1", "us-isof-south-1"},
}
_REGION_STARTS = (
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("eu-isoe-", "aws-iso-e"),
    ("us-isof-", "aws-iso-f"),
    ("eusc-", "aws-eusc"),
)
