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


def test_every_room_is_there_and_every_file_of_tests(configuration: dict[str, Any]) -> None:
    """The rooms to be tried are those that matter, and each file of tests is one."""
    assert set(configuration["rooms"]) == ROOMS
    assert [name for name in configuration["tests"] if not (ROOT / "tests" / f"{name}.py").is_file()] == []


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
