"""A short chaos; ``make chaos`` runs the long one."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from chaos import KILLED_AFTER, SCENARIOS, SWALLOWED, SWALLOWED_AFTERWARDS, Case, Chaos, Verdict, cases_of, shuffled
from lambda_tasks.local.embedded_aws import EmbeddedAws
from soak import soak

pytestmark = pytest.mark.usefixtures("uncovered")

LANES = 4
SHORT_SECONDS = 12
SOAK_MESSAGES = 150
SWALLOWED_PART = 0.01

MINUTES = float(os.environ.get("CHAOS_MINUTES", "0"))
ONE_CASE = os.environ.get("CHAOS_CASE", "")
SEED = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**9))

SCENARIO = {scenario.name: scenario for scenario in SCENARIOS}
# Cases that once cost a second effect, an order or a message, or would.
ONCE_BROKEN = [
    Case(SCENARIO["ordinary"], SWALLOWED, 1, "message ends"),
    Case(SCENARIO["FIFO batch task"], SWALLOWED_AFTERWARDS, 0, "message starts"),
    Case(SCENARIO["skipping singleton"], SWALLOWED_AFTERWARDS, 1, "singleton starts"),
    Case(SCENARIO["keys"], KILLED_AFTER, 2, "key ends"),  # between what is kept and the record
]


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@pytest.fixture
def chaos(embedded_aws: EmbeddedAws, emulator_path: Path, tmp_path: Path) -> Chaos:
    return Chaos(embedded_aws, emulator_path, tmp_path, lanes=LANES, tell=say)


def told(verdicts: Sequence[Verdict]) -> list[str]:
    return [verdict.told() for verdict in verdicts]


@pytest.mark.skipif(bool(MINUTES or ONE_CASE), reason="the long chaos has these cases too")
def test_no_call_is_a_place_where_a_message_is_lost(chaos: Chaos) -> None:
    """Wherever a function dies or waits for ever, each message is done once or a dead letter, and groups keep order."""
    ends_at = time.monotonic() + SHORT_SECONDS
    cases = shuffled(list(chaos.cases(SCENARIOS)), SEED)

    verdicts = chaos.run(cases, ends_at=ends_at)

    # How much time is left for the answer is no matter of a machine that is busy with other tests.
    assert told([verdict for verdict in verdicts if verdict.problems]) == [], f"seed {SEED}"


@pytest.mark.parametrize("case", cases_of(SCENARIO["FIFO"], ["message starts", "SendMessage"]), ids=str)
def test_a_case_is_found_by_its_name(case: Case) -> None:
    """The name that a violation is told with is enough to run it again."""
    assert str(Case.named(str(case))) == str(case)


@pytest.mark.skipif(bool(MINUTES or ONE_CASE), reason="the long chaos has these cases too")
def test_what_did_not_hold_once(chaos: Chaos) -> None:
    """A call that is never answered costs no second effect, no order and no message."""
    assert told([verdict for verdict in chaos.run(ONCE_BROKEN) if verdict.problems]) == []


@pytest.mark.skipif(not ONE_CASE, reason="CHAOS_CASE names none")
def test_one_case(chaos: Chaos) -> None:
    """The case that CHAOS_CASE names holds."""
    assert told([verdict for verdict in chaos.run([Case.named(ONE_CASE)]) if not verdict.holds]) == []


@pytest.mark.skipif(not MINUTES or bool(ONE_CASE), reason="CHAOS_MINUTES asks for none")
def test_the_long_chaos(chaos: Chaos, embedded_aws: EmbeddedAws, emulator_path: Path, tmp_path: Path) -> None:
    """Every case holds, and so do the random histories that fill the rest of the time."""
    ends_at = time.monotonic() + MINUTES * 60
    say(f"CHAOS_SEED={SEED}")
    cases = shuffled(chaos.cases(SCENARIOS), SEED)
    verdicts = chaos.run(cases, ends_at=ends_at)
    violations = told([verdict for verdict in verdicts if not verdict.holds])
    # Time may be the machine's fault, whose table fell silent for seconds, say: once more, with nothing beside it.
    late = [verdict.case for verdict in verdicts if not verdict.holds and verdict.is_late]
    if late:
        alone = Chaos(embedded_aws, emulator_path, tmp_path, lanes=1, tell=say).run(late)
        excused = {str(verdict.case) for verdict in alone if verdict.holds}
        violations = [told for told in violations if not any(case in told for case in excused)]
    seeds = random.Random(SEED)  # noqa: S311 - to be repeatable, not secret
    histories = 0
    while time.monotonic() < ends_at:
        seed = seeds.randrange(10**9)
        folder = tmp_path / str(seed)
        folder.mkdir()
        accounts = soak(embedded_aws, emulator_path, folder, SOAK_MESSAGES, seed, swallowed_part=SWALLOWED_PART)
        problems = accounts.problems()
        say("\n".join([f"history with seed {seed}: {accounts.summary()}", *problems]))
        violations += [f"history with seed {seed}: {problem}" for problem in problems]
        histories += 1
    say(f"{len(verdicts)} of {len(cases)} cases and {histories} histories: {len(violations)} violations")

    assert violations == [], f"CHAOS_SEED={SEED}"
