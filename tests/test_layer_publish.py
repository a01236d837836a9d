"""`make publish` puts the layer into an account: the same bytes everywhere, and one line where something is missing."""

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

import fault_server
from lambda_tasks.local.embedded_aws import EmbeddedAws
from publication import ARCHIVE, CODE_SHA256, KEYS, run

pytestmark = pytest.mark.usefixtures("uncovered")


@pytest.fixture
def name() -> str:
    """A layer that no other test has published."""
    return f"layer-{uuid.uuid4()}"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "layer.zip"
    path.write_bytes(ARCHIVE)
    return path


def publish(aws: EmbeddedAws, archive: Path, name: str, *arguments: str) -> list[str]:
    environ = {key: value for key, value in aws.environ().items() if "REGION" not in key}
    process = run(archive, "--name", name, *arguments, **environ)
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


def refused(archive: Path, status: str, code: str) -> str:
    """Return the one line that is printed where AWS refuses with an error code."""
    answer = fault_server.answer(json.dumps({"Message": "no"}).encode(), f"X-Amzn-ErrorType: {code}", status=status)
    with fault_server.serve(answer) as server:
        process = run(archive, "--regions=eu-west-1", AWS_ENDPOINT_URL=server.url, **KEYS)
    assert process.returncode == 1
    assert process.stdout == ""
    (line,) = process.stderr.splitlines()
    return line


def layer_version(aws: EmbeddedAws, arn: str) -> dict[str, Any]:
    region, name, number = arn.split(":")[3], *arn.split(":")[-2:]
    client = EmbeddedAws(aws.endpoint_url, region).client("lambda")
    return dict(client.get_layer_version(LayerName=name, VersionNumber=int(number)))


def test_layer_is_published_to_each_region(embedded_aws: EmbeddedAws, archive: Path, name: str) -> None:
    """Each region gets the same bytes, for every Python and processor, and its ARN is printed."""
    lines = publish(embedded_aws, archive, name, "--regions", "eu-west-1, us-east-1 ap-south-1")
    versions = [layer_version(embedded_aws, line.split()[0]) for line in lines]

    assert [line.split(":")[3] for line in lines] == ["eu-west-1", "us-east-1", "ap-south-1"]
    for version in versions:
        assert version["Content"]["CodeSha256"] == CODE_SHA256
        assert version["CompatibleRuntimes"] == [f"python3.{minor}" for minor in range(10, 15)]
        assert version["CompatibleArchitectures"] == ["x86_64", "arm64"]
        assert version["LicenseInfo"] == "MIT"


def test_same_bytes_are_published_once(embedded_aws: EmbeddedAws, archive: Path, name: str) -> None:
    """Publishing again keeps the version where the bytes are the same; other bytes make a new one."""
    first = publish(embedded_aws, archive, name, "--regions=eu-west-1")
    again = publish(embedded_aws, archive, name, "--regions=eu-west-1,us-east-1")
    archive.write_bytes(ARCHIVE[:-1] + b"\1")
    changed = publish(embedded_aws, archive, name, "--regions=eu-west-1")

    assert first[0].endswith(":1  published, for this account")
    assert again[0].endswith(":1  was there already, for this account")
    assert again[1].endswith(":1  published, for this account")
    assert changed[0].endswith(":2  published, for this account")


def test_same_bytes_are_found_below_the_latest(embedded_aws: EmbeddedAws, archive: Path, name: str) -> None:
    """A version that holds the bytes is kept whatever was published after it."""
    first = publish(embedded_aws, archive, name, "--regions=eu-west-1")
    archive.write_bytes(ARCHIVE[:-1] + b"\1")
    publish(embedded_aws, archive, name, "--regions=eu-west-1")
    archive.write_bytes(ARCHIVE)

    assert publish(embedded_aws, archive, name, "--regions=eu-west-1") == [
        first[0].replace("published", "was there already")
    ]


PUBLIC = {"Effect": "Allow", "Principal": "*"}
ORGANIZATION = PUBLIC | {"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-abcde12345"}}}
ACCOUNT = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::210987654321:root"}}


@pytest.mark.parametrize(
    ("statements", "options", "readers", "added"),
    [
        ([PUBLIC], [], "everyone", 0),
        ([PUBLIC], ["--public"], "everyone", 0),
        ([ORGANIZATION, PUBLIC], [], "everyone", 0),
        ([PUBLIC], ["--organization=o-abcde12345"], "everyone", 1),
        ([ORGANIZATION], [], "o-abcde12345", 0),
        ([ORGANIZATION], ["--public"], "everyone", 1),
        ([ACCOUNT], ["--organization=o-abcde12345"], "arn:aws:iam::210987654321:root and o-abcde12345", 1),
        ([], [], "this account", 0),
        (None, [], "this account", 0),
        (None, ["--public"], "everyone", 1),
    ],
)
def test_readers_of_a_version_that_was_there(
    statements: list[object] | None, options: list[str], readers: str, added: int, archive: Path, name: str
) -> None:
    """The line tells who may use the version that was there, whoever gave them the permission."""
    arn = f"arn:aws:lambda:eu-west-1:1:layer:{name}:7"
    version = {"LayerVersionArn": arn, "Version": 7}
    scripts = [
        fault_server.answer(json.dumps({"LayerVersions": [version]}).encode()),
        fault_server.answer(json.dumps({**version, "Content": {"CodeSha256": CODE_SHA256}}).encode()),
        fault_server.answer(b"{}", "X-Amzn-ErrorType: ResourceNotFoundException", status="404 Not Found")
        if statements is None
        else fault_server.answer(json.dumps({"Policy": json.dumps({"Statement": statements})}).encode()),
        fault_server.answer(b"{}", status="201 Created"),
    ]
    with fault_server.serve(*scripts) as server:
        process = run(archive, "--name", name, "--regions=eu-west-1", *options, AWS_ENDPOINT_URL=server.url, **KEYS)

    assert process.stdout == f"{arn}  was there already, for {readers}\n", process.stderr
    assert len(server.bodies) == 3 + added


def test_arns_are_written_by_region(embedded_aws: EmbeddedAws, archive: Path, name: str, tmp_path: Path) -> None:
    """A file gets the ARN of each region, for a release to carry; a dry run writes none."""
    arns = tmp_path / "arns.json"
    publish(embedded_aws, archive, name, "--regions=us-east-1,eu-west-1", f"--arns={arns}", "--dry-run")
    assert not arns.exists()
    lines = publish(embedded_aws, archive, name, "--regions=us-east-1,eu-west-1", f"--arns={arns}")

    assert json.loads(arns.read_text()) == {line.split(":")[3]: line.split()[0] for line in lines}


def test_regions_before_a_refusal_are_written(archive: Path, name: str, tmp_path: Path) -> None:
    """A publication that breaks off has written the ARNs of the regions that it reached."""
    arns = tmp_path / "arns.json"
    arn = f"arn:aws:lambda:eu-west-1:1:layer:{name}:1"
    scripts = [
        fault_server.answer(b'{"LayerVersions": []}'),
        fault_server.answer(json.dumps({"LayerVersionArn": arn, "Content": {"CodeSha256": CODE_SHA256}}).encode()),
        fault_server.answer(b"{}", "X-Amzn-ErrorType: AccessDeniedException", status="403 Forbidden"),
    ]
    with fault_server.serve(*scripts) as server:
        process = run(
            archive,
            "--name",
            name,
            "--regions=eu-west-1,us-east-1",
            f"--arns={arns}",
            AWS_ENDPOINT_URL=server.url,
            **KEYS,
        )

    assert process.returncode == 1
    assert json.loads(arns.read_text()) == {"eu-west-1": arn}


def test_region_is_that_of_the_environment(embedded_aws: EmbeddedAws, archive: Path, name: str) -> None:
    """Without --regions the layer goes to the region that the environment names."""
    process = run(archive, "--name", name, **embedded_aws.environ())

    assert process.stdout.startswith(f"arn:aws:lambda:{embedded_aws.region}:")


@pytest.mark.parametrize(
    ("option", "principal", "readers"),
    [
        (["--public"], {"Principal": "*"}, "everyone"),
        (["--organization", "o-abcde12345"], {"Principal": "*", "OrganizationId": "o-abcde12345"}, "o-abcde12345"),
    ],
)
def test_layer_may_be_shared(
    option: list[str], principal: dict[str, str], readers: str, archive: Path, name: str
) -> None:
    """Everyone, or an organization, is allowed to get this version, and nothing else; once is enough."""
    version = {"LayerVersionArn": f"arn:aws:lambda:eu-west-1:1:layer:{name}:7", "Version": 7}
    scripts = [
        fault_server.answer(json.dumps({"LayerVersions": []}).encode()),
        fault_server.answer(json.dumps({**version, "Content": {"CodeSha256": CODE_SHA256}}).encode()),
        fault_server.answer(b"{}", "X-Amzn-ErrorType: ResourceConflictException", status="409 Conflict"),
    ]
    with fault_server.serve(*scripts) as server:
        process = run(archive, "--name", name, "--regions=eu-west-1", *option, AWS_ENDPOINT_URL=server.url, **KEYS)

    assert process.returncode == 0, process.stderr
    assert process.stdout.endswith(f":7  published, for {readers}\n")
    permission = json.loads(server.bodies[-1])
    assert permission.pop("StatementId")
    assert permission == {"Action": "lambda:GetLayerVersion", **principal}


def test_changed_bytes_are_noticed(archive: Path) -> None:
    """A version of which AWS says that it holds other bytes than those sent is not for use."""
    version = {"LayerVersionArn": "arn:aws:lambda:eu-west-1:1:layer:x:1", "Content": {"CodeSha256": "other"}}
    scripts = [fault_server.answer(b'{"LayerVersions": []}'), fault_server.answer(json.dumps(version).encode())]
    with fault_server.serve(*scripts) as server:
        process = run(archive, "--regions=eu-west-1", AWS_ENDPOINT_URL=server.url, **KEYS)

    assert process.returncode == 1
    assert process.stderr == f"layer: {version['LayerVersionArn']} does not hold the bytes that were sent: delete it\n"


def test_dry_run_calls_nobody(archive: Path) -> None:
    """A dry run needs neither credentials nor a network, and says what would be published where, for whom."""
    process = run(archive, "--regions=eu-west-1,us-east-1", "--dry-run", "--public")

    assert process.returncode == 0, process.stderr
    digest = hashlib.sha256(ARCHIVE).hexdigest()
    assert [line.split(" to ")[1] for line in process.stdout.splitlines()] == [
        f"{region} for everyone: {len(ARCHIVE)} bytes, sha256 {digest}" for region in ("eu-west-1", "us-east-1")
    ]


@pytest.mark.parametrize(
    ("arguments", "environ", "line"),
    [
        (
            ["--regions=eu-west-1"],
            {},
            "eu-west-1: there are no credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        ([], {}, "there is no region to publish to: set REGIONS, such as REGIONS=eu-west-1,us-east-1"),
        (
            ["--regions=us-east-1,eu-wst-1"],
            {},
            "there is no region eu-wst-1: use eu-west-1, or renew boto3 if the region is new",
        ),
        (
            ["--regions=mars"],
            {},
            "there is no region mars: correct REGIONS, or renew boto3 if the region is new",
        ),
        (["--regions=eu-west-1"], {"AWS_PROFILE": "nobody"}, "The config profile (nobody) could not be found"),
        (["--zip=missing.zip"], {}, "there is no missing.zip: run `make layer`"),
    ],
)
def test_what_is_missing_gets_one_line(arguments: list[str], environ: dict[str, str], line: str, archive: Path) -> None:
    """Missing credentials, regions, profiles and archives are told in one line, and nothing is published."""
    process = run(archive, *arguments, **environ)

    assert process.returncode == 1
    assert process.stdout == ""
    assert process.stderr == f"layer: {line}\n"


@pytest.mark.parametrize("code", ["UnrecognizedClientException", "ExpiredTokenException"])
def test_credentials_that_aws_does_not_know(archive: Path, code: str) -> None:
    """Credentials that are wrong or expired get one line that says to renew them."""
    assert refused(archive, "403 Forbidden", code) == (
        f"layer: eu-west-1: AWS does not accept these credentials ({code}): renew them, or choose others by AWS_PROFILE"
    )


def test_credentials_that_may_not_publish(archive: Path) -> None:
    """An access that is denied gets a line that names the action to allow and the resource."""
    assert refused(archive, "403 Forbidden", "AccessDeniedException") == (
        "layer: eu-west-1: access denied: allow lambda:ListLayerVersions on arn:aws:lambda:eu-west-1:*:layer:lambda-tasks*"
    )


def test_other_refusal_is_passed_on(archive: Path) -> None:
    """Any other refusal of AWS is passed on, in one line."""
    line = refused(archive, "400 Bad Request", "InvalidParameterValueException")

    assert line.startswith("layer: eu-west-1: An error occurred (InvalidParameterValueException)")


def test_unreachable_endpoint(archive: Path) -> None:
    """An endpoint that does not answer gets a line that says to check the network and the endpoint."""
    environ = {**KEYS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    process = run(archive, "--regions=eu-west-1", **environ)

    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert line.startswith("layer: eu-west-1: AWS cannot be reached: check the network, and AWS_ENDPOINT_URL")
