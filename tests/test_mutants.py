"""The list of mutants that no test can notice is true of the code as it is; ``make mutants`` tries the mutants."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from copies import ROOT

PACKAGE = ROOT / "python" / "lambda_tasks"
ROOMS = {"dispatch", "messages", "definition", "limits", "state", "environment"}


@pytest.fixture
def configuration() -> dict[str, Any]:
    content = yaml.safe_load((ROOT / "tests" / "mutants.yaml").read_text())
    return dict(content)


def test_every_room_has_tests_that_are_there(configuration: dict[str, Any]) -> None:
    """Each room that is to be tried has its files of tests, and each of those is a file."""
    assert set(configuration["tests"]) >= ROOMS
    names = {name for files in configuration["tests"].values() for name in files}
    assert [name for name in names if not (ROOT / "tests" / f"{name}.py").is_file()] == []


def test_every_equivalent_mutant_is_of_a_line_that_is_there(configuration: dict[str, Any]) -> None:
    """Each mutant on the list changes a line of its module, and has a reason."""
    for one in configuration["equivalent"]:
        lines = [line.strip() for line in (PACKAGE / f"{one['module']}.py").read_text().splitlines()]
        assert all(line in lines for line in one["before"].split("\n")), one
        assert one["after"] != one["before"]
        assert len(one["reason"]) > 20


def test_every_room_is_tried_each_night() -> None:
    """The scheduled workflow has a job for each room."""
    workflow = (ROOT / ".github" / "workflows" / "mutants.yml").read_text()
    rooms = re.search(r"room: \[(.*)\]", workflow)

    assert rooms is not None
    assert set(rooms[1].split(", ")) == ROOMS
    assert "make mutants" in workflow
