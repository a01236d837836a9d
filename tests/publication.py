"""Publish an archive by the program itself, with no AWS setting of this machine."""

import base64
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from copies import ROOT

# The contents matter little here; Lambda takes any zip.
ARCHIVE = b"PK\x05\x06" + bytes(18)
CODE_SHA256 = base64.b64encode(hashlib.sha256(ARCHIVE).digest()).decode()
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


def run(archive: Path, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run the program with these variables alone, so that no AWS setting of this machine counts."""
    kept = {key: value for key, value in os.environ.items() if key.startswith("COVERAGE_")}
    base = {"PATH": os.environ["PATH"], "HOME": str(archive.parent), "AWS_EC2_METADATA_DISABLED": "true"}
    return subprocess.run(
        [sys.executable, "-m", "layer.publish", "--zip", archive, *arguments],
        cwd=ROOT,
        env=kept | base | environ,
        capture_output=True,
        text=True,
    )
