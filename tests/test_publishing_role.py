"""The role that publishes: only the release workflow can assume it, and it may do what publishing does."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from copies import ROOT
from test_template import CHECKOV, READ_TEMPLATE, SAM_FOLDER

TEMPLATE = ROOT / "layer" / "publishing-role.yaml"

pytestmark = [
    pytest.mark.skipif(not SAM_FOLDER.exists(), reason="aws-sam-cli is not installed: make setup-sam"),
    pytest.mark.usefixtures("uncovered"),
]


@pytest.fixture(scope="module")
def role() -> dict[str, Any]:
    """The properties of the role."""
    command = [str(SAM_FOLDER / "python"), "-c", READ_TEMPLATE]
    parsed = subprocess.run(command, input=TEMPLATE.read_text(), capture_output=True, text=True, check=True)
    return dict(json.loads(parsed.stdout)["Resources"]["Role"]["Properties"])


def test_only_the_workflows_environment_is_trusted(role: dict[str, Any]) -> None:
    """One repository's environment, the one that the publishing job uses, for AWS's own audience, without a wildcard."""
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    template = TEMPLATE.read_text()

    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert statement["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": {"Fn::Sub": "repo:${Repository}:environment:${Environment}"},
        }
    }
    assert f"Default: {workflow['jobs']['publish']['environment']}\n" in template


def test_role_may_do_what_publishing_does(role: dict[str, Any]) -> None:
    """Each call of the program is allowed, for the layer's own name, and nothing else is."""
    statements = [statement for policy in role["Policies"] for statement in policy["PolicyDocument"]["Statement"]]
    source = (ROOT / "layer" / "publish.py").read_text()
    called = set(re.findall(r"client\.((?:add|get|list|publish)_layer\w+)\(|get_paginator\(\"(\w+)\"\)", source))
    operations = {"".join(word.title() for word in (direct or paged).split("_")) for direct, paged in called}

    assert {action for statement in statements for action in statement["Action"]} == {
        f"lambda:{operation}" for operation in operations
    }
    assert all(":layer:${LayerName}" in statement["Resource"]["Fn::Sub"] for statement in statements)


def test_linter_finds_no_fault() -> None:
    """cfn-lint has nothing to say, informational rules included."""
    process = subprocess.run(
        [SAM_FOLDER / "cfn-lint", "--include-checks", "I", "--", TEMPLATE], capture_output=True, text=True
    )

    assert process.returncode == 0, process.stdout + process.stderr


@pytest.mark.skipif(not CHECKOV.exists(), reason="checkov is not installed: make setup-policy")
def test_policy_linter_finds_no_fault(tmp_path: Path) -> None:
    """checkov, which knows what a trust in GitHub has to say, finds nothing."""
    process = subprocess.run(
        [CHECKOV, "--framework", "cloudformation", "--skip-download", "--output", "json", "--file", TEMPLATE],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    results = json.loads(process.stdout)["results"]

    assert results["failed_checks"] == []
    assert len(results["passed_checks"]) > 5
