"""The sources in the layer are without what nobody runs, and every line of them is where it was."""

from __future__ import annotations

import functools
import io
import os
import subprocess
import tokenize
from pathlib import Path

import pytest

from conftest import INTERPRETERS
from copies import ROOT
from layer.comments import without_comments
from layer.interpreters import VERSIONS

pytestmark = pytest.mark.usefixtures("uncovered")

SOURCES = sorted((ROOT / "python").rglob("*.py"))

shipped_of = functools.cache(lambda path: without_comments(path.read_bytes()))

# Prints sources without comments, and ends with an error where they are another program.
COMPARE = """
import sys
sys.path.insert(0, sys.argv[1])
from layer.comments import without_comments
from layer.compile import compiled
for path in sys.argv[2:]:
    with open(path, "rb") as file:
        source = file.read()
    shipped = without_comments(source)
    assert compiled(source, path) == compiled(shipped, path), path
    sys.stdout.buffer.write(shipped)
"""


@pytest.mark.parametrize(
    ("source", "shipped"),
    [
        ("x = 1  # one\n", "x = 1\n"),
        ("# first\n\nx = 1\n# last\n", "\n\nx = 1\n"),
        ("x = '# none'  # one\n", "x = '# none'\n"),
        ("x = 'ä→𝄞'  # ä→𝄞\n", "x = 'ä→𝄞'\n"),
        ('"""A module."""\nx = 1\n', "\nx = 1\n"),
        ('"""A module,\n\nof three lines."""  # and this\nx = 1\n', "\n\n\nx = 1\n"),
        ('def f():\n    """A function."""\n', "def f():\n    pass\n"),
        ('def f():\n    """A\n    function."""  # x\n    return 1\n', "def f():\n\n\n    return 1\n"),
        ('def f(): """A function."""\n', "def f(): pass\n"),
        ('async def f():\n    """A function."""\n', "async def f():\n    pass\n"),
        ('class C:\n    """A class."""\n    x = 1\n', "class C:\n\n    x = 1\n"),
        ("def f():\n    ''\n", "def f():\n    pass\n"),
        ('x = f(  # one\n    """text # x\n    """,\n)\n', 'x = f(\n    """text # x\n    """,\n)\n'),
        (
            "if TYPE_CHECKING:  # one\n    import a\n    # two\n    import b\nx = 1\n",
            "if TYPE_CHECKING:\n    pass\n\n\nx = 1\n",
        ),
        (
            'if TYPE_CHECKING:\n    def f(x):\n        """A"""\nelse:\n    def f(x):\n        """B"""\n',
            "if TYPE_CHECKING:\n    pass\n\nelse:\n    def f(x):\n        pass\n",
        ),
        ("if x:  # noqa\n\tpass", "if x:\n\tpass\n"),
        ("", "\n"),
    ],
)
def test_comments_and_docstrings_are_gone(source: str, shipped: str) -> None:
    """Nothing but what runs is left, each line of it where it was."""
    assert without_comments(source.encode()).decode() == shipped


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_stay_and_comments_go(path: Path) -> None:
    """A source of the package keeps its lines, and no comment."""
    source, shipped = path.read_bytes(), shipped_of(path)
    comments = [token for token in tokenize.tokenize(io.BytesIO(shipped).readline) if token.type == tokenize.COMMENT]

    assert comments == []
    assert len(shipped.splitlines()) <= len(source.splitlines())
    for before, after in zip(source.splitlines(), shipped.splitlines(), strict=False):
        assert before.startswith(after) or after.strip() == b"pass"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_python_makes_the_same_of_it(version: str) -> None:
    """Whichever Python runs the build: the same bytes, and to the line the byte code of the whole source."""
    interpreter = INTERPRETERS[version]
    if interpreter is None:
        pytest.skip(f"Python {version} is not installed")
    process = subprocess.run(
        [interpreter, "-S", "-X", "no_debug_ranges", "-c", COMPARE, ROOT, *SOURCES],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
    )

    assert process.returncode == 0, process.stderr
    assert process.stdout == b"".join(map(shipped_of, SOURCES))
