"""Take comments, docstrings and what type checkers alone read out of a source, and leave every line where it is.

The layer's sources are there for tracebacks, and for a Python that the layer has no byte code for. Tracebacks name
lines, so blank lines stay in the place of what is gone. `python-minifier` and its like move lines.
"""

import ast
import io
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Passage(NamedTuple):
    """A passage of a source is what lies between two places, each a line from 1 and a column in bytes from 0."""

    start: tuple[int, int]
    end: tuple[int, int]
    instead: bytes


def without_comments(source: bytes) -> bytes:
    """Return a source that does the same on the same lines."""
    lines = source.splitlines()
    for passage in sorted(_outermost([*_unread(ast.parse(source)), *_comments(source)]), reverse=True):
        (first, start), (last, end) = passage.start, passage.end
        rest = lines[last - 1][end:]
        lines[first - 1 : last] = [lines[first - 1][:start] + passage.instead, *[b""] * (last - first)]
        lines[last - 1] += rest
    return b"\n".join(line.rstrip() for line in lines).rstrip() + b"\n"


def _unread(tree: ast.Module) -> Iterator[Passage]:
    """Find docstrings, and what is under `if TYPE_CHECKING:`; a body that is nothing else becomes `pass`."""
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node) is not None:
            needed = len(node.body) == 1 and not isinstance(node, ast.Module)
            yield _passage(node.body[:1], b"pass" if needed else b"")
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            yield _passage(node.body, b"pass")


def _passage(statements: list[ast.stmt], instead: bytes) -> Passage:
    first, last = statements[0], statements[-1]
    return Passage((first.lineno, first.col_offset), (last.end_lineno or 0, last.end_col_offset or 0), instead)


def _comments(source: bytes) -> Iterator[Passage]:
    lines = source.decode().splitlines()
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            start = len(lines[row - 1][:column].encode())
            yield Passage((row, start), (row, start + len(token.string.encode())), b"")


def _outermost(passages: list[Passage]) -> list[Passage]:
    """Leave out what lies inside of another passage."""
    found: list[Passage] = []
    for passage in sorted(passages, key=lambda one: (one.start, [-part for part in one.end])):
        if not found or passage.start >= found[-1].end:
            found.append(passage)
    return found
