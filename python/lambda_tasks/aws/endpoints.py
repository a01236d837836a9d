"""Where a service of a region is reached: botocore's rules, for the services that we call.

Tests compare every region's addresses, and these tables, with those that botocore sends its requests to.

Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
"""

from __future__ import annotations

from lambda_tasks.aws.url import MAX_LABEL, Url
from lambda_tasks.errors import InvalidSetting

TYPE_CHECKING = False
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


# A service's dual-stack address ends in another suffix; these partitions have no such addresses.
_DUAL_STACK_SUFFIXES = {
    "aws": "api.aws",
    "aws-cn": "api.amazonwebservices.com.cn",
    "aws-us-gov": "api.aws",
    "aws-iso": "api.aws.ic.gov",
    "aws-iso-b": "api.aws.scloud",
    "aws-eusc": "api.amazonwebservices.eu",
}


def resolve(service: str, region: str, partition: str, environ: Mapping[str, str]) -> Url:
    """Return the address of `service` (the name that its requests are signed with) in `region`.

    ``AWS_ENDPOINT_URL`` and its forms come first, then ``AWS_USE_FIPS_ENDPOINT`` and ``AWS_USE_DUALSTACK_ENDPOINT``.

    Raises:
        InvalidSetting: an override is not a URL, no host can have the region in its name, or the partition has no
            endpoint of the kind that is asked for.

    """
    override = override_variable(service, environ)
    if override:
        try:
            return Url.parse(environ[override])
        except ValueError as error:
            raise InvalidSetting("the endpoint is not usable", variable=override, remedy=str(error)) from None
    if not (region.isascii() and region.replace("-", "").isalnum() and len(region) <= MAX_LABEL):
        remedy = "correct AWS_REGION, or the region of the ARN"
        raise InvalidSetting(f"{region!a} is no region", remedy=remedy)
    fips = _is_true(environ, _FIPS)
    dual_stack = _is_true(environ, _DUAL_STACK)
    if dual_stack and partition not in _DUAL_STACK_SUFFIXES:
        raise _no_endpoint(f"the partition {partition} has no dual-stack endpoints", _DUAL_STACK)
    if fips and (service, partition) in _WITHOUT_FIPS:
        raise _no_endpoint(f"the partition {partition} has no FIPS endpoint of {service}", _FIPS)
    name = f"{service}-fips" if fips and (service, partition, dual_stack) not in _FIPS_BY_PLAIN_NAME else service
    if name != service and (service, partition, dual_stack) in _FIPS_BEFORE_NAME:
        name = f"fips.{service}"
    suffix = DNS_SUFFIXES[partition]
    if dual_stack and service == "s3":  # older than the suffixes of its own
        name = f"{name}.dualstack"
    elif dual_stack and (service, partition, fips) not in _DUAL_STACK_BY_PLAIN_NAME:
        suffix = _DUAL_STACK_SUFFIXES[partition]
    return Url("https", f"{name}.{region}.{suffix}", 443, "/")


class Endpoints:
    """The addresses of services that `resolve` finds in one environment, each once: that costs a tenth of a call."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._found: dict[tuple[str, str, str], Url] = {}

    def __call__(self, service: str, region: str, partition: str) -> Url:
        """Return the address of `service` in `region`."""
        where = service, region, partition
        if where not in self._found:
            self._found[where] = resolve(service, region, partition, self._environ)
        return self._found[where]


def override_variable(service: str, environ: Mapping[str, str]) -> str:
    """Return the variable that overrides the endpoint of `service`, or empty."""
    if _is_true(environ, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
        return ""
    variables = (f"AWS_ENDPOINT_URL_{_SERVICE_IDS[service]}", "AWS_ENDPOINT_URL")
    return next((variable for variable in variables if environ.get(variable)), "")


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
    "sns": "SNS",
    "events": "EVENTBRIDGE",
    "sts": "STS",
    "batch": "BATCH",
    "ecs": "ECS",
}

# Services whose plain name in this partition already answers with FIPS-validated cryptography: they have no other one.
# The last part tells whether that is said with dual stack.
_FIPS_BY_PLAIN_NAME = {
    (service, "aws-us-gov", False) for service in ("batch", "dynamodb", "events", "sns", "sqs", "ssm", "sts")
} | {("events", "aws-us-gov", True)}
_FIPS_BEFORE_NAME = {("batch", "aws", False)}  # with dual stack or without
_WITHOUT_FIPS = {("s3", "aws-cn")}
# Services whose plain name, here and with or without FIPS, already has IPv6 addresses too.
# https://docs.aws.amazon.com/secretsmanager/latest/userguide/ip-access.html
_DUAL_STACK_BY_PLAIN_NAME = {
    ("secretsmanager", partition, fips) for partition in ("aws", "aws-us-gov") for fips in (False, True)
} | {("secretsmanager", "aws-cn", False)}

_REGION_STARTS = (
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("eu-isoe-", "aws-iso-e"),
    ("us-isof-", "aws-iso-f"),
    ("eusc-", "aws-eusc"),
)


def _is_true(environ: Mapping[str, str], variable: str) -> bool:
    return environ.get(variable, "").lower() == "true"


def _no_endpoint(problem: str, variable: str) -> InvalidSetting:
    return InvalidSetting(problem, variable=variable, remedy="remove the variable")


_FIPS, _DUAL_STACK = "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"
