"""Publish the layer: `python -m layer.publish --regions eu-west-1,us-east-1`, as `make publish` calls it.

Prints the ARN of one layer version a region, to attach to functions there, and who may use that version. A region in
which any version of that name already holds the same bytes keeps that version, so a publication that broke off is
continued by the same command. `--arns FILE` writes the ARNs as one JSON object by region.
"""

import argparse
import base64
import difflib
import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
from botocore.config import Config

from layer import build, sbom
from layer.interpreters import VERSIONS

ARCHITECTURES = ("x86_64", "arm64")

_INVALID_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)


class PublishError(Exception):
    """Raised with one line that says what to do."""


@dataclass(frozen=True)
class Publication:
    """A publication is one archive under one name, and those who may use it beside the account itself."""

    name: str
    archive: bytes
    version: str
    principal: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """The hash as Lambda spells it."""
        return base64.b64encode(hashlib.sha256(self.archive).digest()).decode()

    @property
    def reader(self) -> str | None:
        """Who may use it beside the account itself."""
        return self.principal.get("OrganizationId") or ("everyone" if self.principal else None)


@dataclass(frozen=True)
class Published:
    """A layer version of one region, how it came there, and who may use it beside the account itself."""

    arn: str
    done: str
    readers: frozenset[str]

    def __str__(self) -> str:
        named = "everyone" if "everyone" in self.readers else " and ".join(sorted(self.readers))
        return f"{self.arn}  {self.done}, for {named or 'this account'}"


def main(arguments: list[str], environ: Mapping[str, str]) -> None:
    options = parse(arguments)
    if not options.zip.exists():
        raise PublishError(f"there is no {options.zip}: run `make layer`")
    publication = Publication(
        options.name,
        options.zip.read_bytes(),
        sbom.version(build.ROOT),
        principal(options.public, options.organization),
    )
    regions = check_regions(options.regions or [environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or ""])
    arns: dict[str, str] = {}
    for region in regions:
        if options.dry_run:
            print(announcement(publication, region), flush=True)
            continue
        published = publish(publication, region)
        print(published, flush=True)
        arns[region] = published.arn
        if options.arns:  # after each region, so that a publication that breaks off has told of those before
            options.arns.write_text(json.dumps(arns, indent=2, sort_keys=True) + "\n")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m layer.publish", description="Publish the Lambda layer.")
    parser.add_argument("--regions", type=lambda text: re.findall(r"[^,\s]+", text), help="default: AWS_REGION")
    parser.add_argument("--name", default="lambda-tasks", help="name of the layer (default: lambda-tasks)")
    parser.add_argument("--zip", type=Path, default=build.ZIP, help="default: what `make layer` built")
    parser.add_argument("--arns", type=Path, metavar="FILE", help="write the ARN of each region there, as JSON")
    parser.add_argument("--dry-run", action="store_true", help="call nobody; say what would be published where")
    readers = parser.add_mutually_exclusive_group()
    readers.add_argument("--public", action="store_true", help="let every AWS account use it")
    readers.add_argument("--organization", metavar="o-ID", help="let every account of this organization use it")
    return parser.parse_args(arguments)


def principal(public: bool, organization: str | None) -> dict[str, str]:  # noqa: FBT001 - what argparse makes
    """Return whom AddLayerVersionPermission is to name; nobody where the layer stays the account's own."""
    if organization:
        return {"Principal": "*", "OrganizationId": organization}
    return {"Principal": "*"} if public else {}


def check_regions(regions: list[str]) -> list[str]:
    """Refuse a region that no partition has before anything is published to the others."""
    session = boto3.Session()
    known = [
        region for partition in session.get_available_partitions() for region in _known_regions(session, partition)
    ]
    for region in regions:
        if not region:
            raise PublishError("there is no region to publish to: set REGIONS, such as REGIONS=eu-west-1,us-east-1")
        if region not in known:
            similar = difflib.get_close_matches(region, known, 1)
            hint = f"use {similar[0]}" if similar else "correct REGIONS"
            raise PublishError(f"there is no region {region}: {hint}, or renew boto3 if the region is new")
    return regions


def _known_regions(session: boto3.Session, partition: str) -> list[str]:
    return list(session.get_available_regions("lambda", partition_name=partition))


def announcement(publication: Publication, region: str) -> str:
    size = f"{len(publication.archive):,} bytes, sha256 {hashlib.sha256(publication.archive).hexdigest()}"
    readers = publication.reader or "this account"
    return f"would publish {publication.name} {publication.version} to {region} for {readers}: {size}"


def publish(publication: Publication, region: str) -> Published:
    """Publish to one region, unless a version there holds the same bytes; return that version.

    Raises:
        PublishError: AWS refused, or could not be reached.
    """
    try:
        client = boto3.client("lambda", region_name=region, config=Config(retries={"mode": "standard"}))
        arn = same_version(client, publication)
        readers = version_readers(client, publication.name, arn) if arn else set()
        done = "was there already" if arn else "published"
        arn = arn or new_version(client, publication)
        if publication.reader and publication.reader not in readers:
            permit(client, publication, arn)
            readers.add(publication.reader)
    except botocore.exceptions.ClientError as error:
        raise PublishError(f"{region}: {_refusal(error, publication.name, region)}") from error
    except botocore.exceptions.BotoCoreError as error:
        raise PublishError(f"{region}: {_failure(error)}") from error
    return Published(arn, done, frozenset(readers))


def same_version(client: Any, publication: Publication) -> str | None:  # noqa: ANN401 - botocore makes clients at run time
    """Return the ARN of the newest version that has the same bytes."""
    for page in client.get_paginator("list_layer_versions").paginate(LayerName=publication.name):
        for listed in page["LayerVersions"]:
            version = client.get_layer_version(LayerName=publication.name, VersionNumber=listed["Version"])
            if version["Content"]["CodeSha256"] == publication.sha256:
                return str(version["LayerVersionArn"])
    return None


def version_readers(client: Any, name: str, arn: str) -> set[str]:  # noqa: ANN401
    """Return who may use a version by its own policy: "everyone", organizations, accounts."""
    try:
        answer = client.get_layer_version_policy(LayerName=name, VersionNumber=int(arn.rpartition(":")[2]))
    except client.exceptions.ResourceNotFoundException:
        return set()  # no permission was ever added
    return {_reader(statement) for statement in json.loads(answer["Policy"])["Statement"]}


def _reader(statement: Mapping[str, Any]) -> str:
    """Return whom a statement of a layer version's policy names: https://docs.aws.amazon.com/lambda/latest/dg/permissions-layer-cross-account.html."""
    organization = statement.get("Condition", {}).get("StringEquals", {}).get("aws:PrincipalOrgID")
    principal = statement["Principal"]
    account = principal if isinstance(principal, str) else principal["AWS"]
    return str(organization or ("everyone" if account == "*" else account))


def new_version(client: Any, publication: Publication) -> str:  # noqa: ANN401
    answer = client.publish_layer_version(
        LayerName=publication.name,
        Description=f"lambda-tasks {publication.version}: secrets before the runtime starts, tasks from SQS",
        Content={"ZipFile": publication.archive},
        CompatibleRuntimes=[f"python{version}" for version in VERSIONS],
        CompatibleArchitectures=list(ARCHITECTURES),
        LicenseInfo="MIT",
    )
    if answer["Content"]["CodeSha256"] != publication.sha256:
        raise PublishError(f"{answer['LayerVersionArn']} does not hold the bytes that were sent: delete it")
    return str(answer["LayerVersionArn"])


def permit(client: Any, publication: Publication, arn: str) -> None:  # noqa: ANN401
    if publication.principal:
        try:
            client.add_layer_version_permission(
                LayerName=publication.name,
                VersionNumber=int(arn.rpartition(":")[2]),
                StatementId=publication.principal.get("OrganizationId", "public"),
                Action="lambda:GetLayerVersion",
                **publication.principal,
            )
        except client.exceptions.ResourceConflictException:
            return  # an earlier run gave the same permission


def _refusal(error: botocore.exceptions.ClientError, name: str, region: str) -> str:
    code = error.response.get("Error", {}).get("Code", "")
    if code in _INVALID_CREDENTIALS:
        return f"AWS does not accept these credentials ({code}): renew them, or choose others by AWS_PROFILE"
    if code.startswith("AccessDenied"):
        layer = f"arn:{boto3.Session().get_partition_for_region(region)}:lambda:{region}:*:layer:{name}*"
        return f"access denied: allow lambda:{error.operation_name} on {layer}"
    return str(error).splitlines()[0]


def _failure(error: botocore.exceptions.BotoCoreError) -> str:
    if isinstance(error, botocore.exceptions.NoCredentialsError | botocore.exceptions.PartialCredentialsError):
        return "there are no credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if isinstance(error, botocore.exceptions.ConnectionError | botocore.exceptions.HTTPClientError):
        return f"AWS cannot be reached: check the network, and AWS_ENDPOINT_URL if it is set ({error})"
    return str(error).splitlines()[0]


if __name__ == "__main__":
    try:
        main(sys.argv[1:], os.environ)
    except (PublishError, botocore.exceptions.BotoCoreError) as error:
        sys.exit(f"layer: {str(error).splitlines()[0]}")
