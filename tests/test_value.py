"""Values of the resolver: frozen, compared by what they hold, and without the imports that a cold start would pay for."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from lambda_tasks.value import Value
from wrapper import ROOT

# Modules that the exec wrapper must not load: each costs a cold start milliseconds.
HEAVY = {
    "typing",
    "dataclasses",
    "inspect",
    "http.client",
    "email",
    "urllib.parse",
    "pathlib",
    "random",
    "ssl",
    "boto3",
}


class Point(Value):
    x: int
    y: int = 0


def test_a_value_is_made_by_position_or_name() -> None:
    """Fields are given by position or by name; defaults fill what is left out."""
    assert Point(1) == Point(x=1, y=0) == Point(2).replace(x=1)
    assert repr(Point(1, 2)) == "Point(x=1, y=2)"
    assert len({Point(1), Point(1, 0), Point(1, 1)}) == 2
    assert Point(1) != (1, 0)


def test_a_value_cannot_be_changed() -> None:
    """Setting a field of a value is an error."""
    with pytest.raises(AttributeError, match="Point is frozen: x cannot be set"):
        Point(1).x = 2  # type: ignore[misc]


def test_fields_that_are_missing_twice_there_or_unknown_are_errors() -> None:
    """Arguments that a dataclass would refuse are refused."""
    with pytest.raises(TypeError, match="Point takes x, y"):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Point takes x, y"):
        Point(1, 2, 3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Point takes x, y"):
        Point(1, x=1)  # type: ignore[misc]
    with pytest.raises(TypeError, match="Point takes x, y"):
        Point(1, z=1)  # type: ignore[call-arg]


def test_the_exec_wrapper_loads_nothing_heavy(each_python: Path) -> None:
    """The modules that run at every cold start import none of those that would make it slow, on any Python."""
    code = f"import json, sys; sys.path.append({str(ROOT / 'python')!r})\n"
    code += "import lambda_tasks.environment.launch\nprint(json.dumps(sorted(sys.modules)))"
    finished = subprocess.run([each_python, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY & set(json.loads(finished.stdout)) == set()
