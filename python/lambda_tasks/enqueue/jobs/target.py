"""The target of jobs, as a queue's URL names it.

It is ``batch:<job queue>/<job definition>`` or ``ecs:<cluster>/<task definition>``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from lambda_tasks.aws import endpoints
from lambda_tasks.errors import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Mapping

# A name, or an ARN, which has a slash of its own.
_TARGET = re.compile(r"(?P<service>batch|ecs):(?P<place>arn:[^/]+/[^/]+|[^/:]+)/(?P<definition>arn:[^/]+/[^/]+|[^/]+)")
_OPTIONS = ("container", "launch-type", "public-ip", "security-groups", "subnets")


class Target(msgspec.Struct, frozen=True):
    """A job queue and definition of AWS Batch, or a cluster and task definition of ECS, each a name or an ARN.

    The `options` are those of a task of ECS.
    """

    service: str
    place: str
    definition: str
    options: Mapping[str, str]
    region: str

    @classmethod
    def parse(cls, url: str, variable: str, environ: Mapping[str, str]) -> Target:
        """Return the target that `url`, the value of `variable`, names.

        Raises:
            InvalidSetting: it names none.

        """
        base, _, query = url.partition("?")
        found = _TARGET.fullmatch(base)
        pairs = [one.partition("=") for one in query.split("&") if one]
        options = {name: value for name, _, value in pairs}
        if found is None or (options and found["service"] == "batch") or not options.keys() <= set(_OPTIONS):
            remedy = (
                "use batch:<job queue>/<job definition> or ecs:<cluster>/<task definition>, each by name or ARN; "
                f"the latter with ?{'=...&'.join(_OPTIONS)}=... as far as the task needs them"
            )
            raise InvalidSetting("it names no target of jobs", variable=variable, remedy=remedy)
        parts = found["place"].split(":")
        region = parts[3] if len(parts) > 3 else endpoints.own_region(environ) or endpoints.DEFAULT_REGION
        return cls(found["service"], found["place"], found["definition"], options, region)

    @property
    def network(self) -> dict[str, object]:
        """The fields of ``RunTask`` that say where a task of ECS runs."""
        fields: dict[str, object] = {}
        if "launch-type" in self.options:
            fields["launchType"] = self.options["launch-type"].upper()
        if "subnets" in self.options:
            of_vpc: dict[str, object] = {"subnets": self.options["subnets"].split(",")}
            if "security-groups" in self.options:
                of_vpc["securityGroups"] = self.options["security-groups"].split(",")
            if "public-ip" in self.options:
                of_vpc["assignPublicIp"] = self.options["public-ip"].upper()
            fields["networkConfiguration"] = {"awsvpcConfiguration": of_vpc}
        return fields
