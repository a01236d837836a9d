"""Publish the layer: `python -m layer.publish --regions eu-west-1,us-east-1`, as `make publish` calls it.

Prints the ARN of one layer version a region, to attach to functions there. A region whose latest version already holds
the same bytes keeps that version, so a publication that broke off is continued by the same command.
"""

import argparse
import base64
import difflib
import hashlib
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
    def readers(self) -> str:
        return self.principal.get("OrganizationId") or ("everyone" if self.principal else "this account")


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
    for region in regions:
        print(announcement(publication, region) if options.dry_run else publish(publication, region), flush=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m layer.publish", description="Publish the Lambda layer.")
    parser.add_argument("--regions", type=lambda text: re.findall(r"[^,\s]+", text), help="default: AWS_REGION")
    parser.add_argument("--name", default="lambda-tasks", help="name of the layer (default: lambda-tasks)")
    parser.add_argument("--zip", type=Path, default=build.ZIP, help="default: what `make layer` built")
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
    return f"would publish {publication.name} {publication.version} to {region} for {publication.readers}: {size}"


def publish(publication: Publication, region: str) -> str:
    """Publish to one region; return the line that tells of it.

    Raises:
        PublishError: AWS refused, or could not be reached.
    """
    try:
        client = boto3.client("lambda", region_name=region, config=Config(retries={"mode": "standard"}))
        arn = same_version(client, publication)
        done = "was there already" if arn else "published"
        arn = arn or new_version(client, publication)
        permit(client, publication, arn)
    except botocore.exceptions.ClientError as error:
        raise PublishError(f"{region}: {_refusal(error, publication.name, region)}") from error
    except botocore.exceptions.BotoCoreError as error:
        raise PublishError(f"{region}: {_failure(error)}") from error
    return f"{arn}  {done}, for {publication.readers}"


def same_version(client: Any, publication: Publication) -> str | None:  # noqa: ANN401 - botocore makes clients at run time
    """Return the ARN of the latest version where it has the same bytes."""
    versions = client.list_layer_versions(LayerName=publication.name, MaxItems=1)["LayerVersions"]
    if not versions:
        return None
    latest = client.get_layer_version(LayerName=publication.name, VersionNumber=versions[0]["Version"])
    return str(latest["LayerVersionArn"]) if latest["Content"]["CodeSha256"] == publication.sha256 else None


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
