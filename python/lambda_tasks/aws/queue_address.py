"""A queue's URL, ARN and region, said once: for whoever sends to it, receives from it, or schedules for it.

Sources: https://docs.aws.amazon.com/general/latest/gr/sqs-service.html (all kinds of endpoints),
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-internetwork-traffic-privacy.html (VPC).
"""

from __future__ import annotations

import itertools
import re

from lambda_tasks.aws import endpoints
from lambda_tasks.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}")
_HOSTS = ("sqs", "sqs-fips")
_LEGACY_HOST = "queue"


class QueueAddress(Value):
    """A queue, as its ARN or its URL names it."""

    url: str
    region: str
    partition: str

    @classmethod
    def of_arn(cls, arn: str, environ: Mapping[str, str]) -> QueueAddress | None:
        """Return the address of the queue with this ARN, or None where the ARN is not a queue's.

        The URL is composed, as AWS's own CDK composes it: asking for it would take a call and one more permission.

        Raises:
            InvalidSetting: an endpoint override of `environ` is not a URL.

        """
        parts = arn.split(":")
        if len(parts) != 6 or parts[0] != "arn" or parts[2] != "sqs" or not all(parts):
            return None
        _, partition, _, region, account, name = parts
        if partition not in endpoints.DNS_SUFFIXES:
            return None
        endpoint = endpoints.resolve("sqs", region, partition, environ)
        return cls(f"{endpoint.scheme}://{endpoint.authority}/{account}/{name}", region, partition)

    @classmethod
    def of_url(cls, url: str, environ: Mapping[str, str]) -> QueueAddress:
        """Return the address of the queue with this URL, in the region that the URL names, else the process's own."""
        region = _region_in(url) or endpoints.own_region(environ) or endpoints.DEFAULT_REGION
        return cls(url, region, endpoints.partition_of(region))

    @property
    def arn(self) -> str:
        """The queue's ARN: account and name are the last two parts of the URL's path."""
        account, name = self._account_and_name
        return f"arn:{self.partition}:sqs:{self.region}:{account}:{name}"

    @property
    def is_fifo(self) -> bool:
        """Whether the queue is FIFO, which its name says: messages need a group, and a deduplication id."""
        return is_fifo(self.url)

    def is_same(self, other: QueueAddress) -> bool:
        """Tell whether both are one queue: region, account and name, whatever host reaches it."""
        return self.region == other.region and self._account_and_name == other._account_and_name

    @property
    def _account_and_name(self) -> tuple[str, str]:
        account, name = ["", "", *self.url.rstrip("/").split("/")][-2:]
        return account, name


def is_fifo(url_or_arn: str) -> bool:
    """Tell by a queue's name, which must end so, whether the queue is FIFO."""
    return url_or_arn.rstrip("/").endswith(".fifo")


def _region_in(url: str) -> str | None:
    """Return the region that a queue's URL names, or None.

    ``https://sqs.<region>.<suffix>/...`` names it, and so do ``sqs-fips.<region>...``,
    ``<vpc endpoint>.sqs.<region>.vpce.<suffix>`` and the legacy ``<region>.queue.<suffix>``. The legacy
    ``queue.amazonaws.com`` is the first region's. Emulators may have ``/queue/<region>/<account>/<name>`` for a path.
    """
    authority, _, path = url.partition("://")[2].partition("/")
    labels = authority.rpartition("@")[2].partition(":")[0].lower().split(".")
    for before, label in itertools.pairwise(labels):
        if before in _HOSTS and _REGION.fullmatch(label):
            return label
        if label == _LEGACY_HOST and _REGION.fullmatch(before):
            return before
    if labels[0] == _LEGACY_HOST and ".".join(labels[1:]) in endpoints.DNS_SUFFIXES.values():
        return endpoints.DEFAULT_REGION
    parts = path.split("/")
    return parts[1] if parts[0] == _LEGACY_HOST and len(parts) > 2 and _REGION.fullmatch(parts[1]) else None
