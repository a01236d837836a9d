"""A short soak; ``make soak`` runs the long one."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

from lambda_tasks.local.embedded_aws import EmbeddedAws
from soak import soak

pytestmark = pytest.mark.usefixtures("uncovered")


def test_nothing_is_lost_whatever_goes_wrong(embedded_aws: EmbeddedAws, emulator_path: Path, tmp_path: Path) -> None:
    """With kills, duplicates and failing calls, each message is done once or a dead letter with a reason."""
    messages = int(os.environ.get("SOAK_MESSAGES", "100"))
    seed = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(10**9))

    accounts = soak(embedded_aws, emulator_path, tmp_path, messages, seed)

    problems = accounts.problems()
    sys.stdout.write("\n".join([f"seed {seed}: {accounts.summary()}", *problems, ""]))
    assert problems == [], f"seed {seed}"
