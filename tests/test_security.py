"""SECURITY.md promises nothing that no test holds."""

from __future__ import annotations

import re

import pytest

from copies import ROOT

TEXT = (ROOT / "SECURITY.md").read_text()
MODEL = TEXT[TEXT.index("## Threat model") :]
PROMISES = [" ".join(point.split()) for point in re.findall(r"^- (.*(?:\n  .*)*)", MODEL, re.MULTILINE)]


def existing() -> set[str]:
    found: set[str] = set()
    for path in (ROOT / "tests").glob("**/test_*.py"):
        found.update(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))
    return found


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: " ".join(promise.split()[:6]))
def test_promise_names_tests_that_exist(promise: str) -> None:
    """Each point of a list names at least one test, and each test that it names is there."""
    named = set(re.findall(r"`(test_\w+)`", promise))

    assert named
    assert named <= existing()


@pytest.mark.parametrize("threat", ["write to the queue", "point to a payload", "push a tag", "attach another layer"])
def test_threat_is_there(threat: str) -> None:
    """Each way in has a section."""
    assert re.search(rf"^### Who (can|may) {threat}$", TEXT, re.MULTILINE)
