"""Compile every source in a folder: the build runs `python compile.py FOLDER PLACE` with each interpreter.

`PLACE` is the folder's path on Lambda, for tracebacks. The byte code carries the hash of its source, so the file times
that an unpacked archive happens to have do not matter (PEP 552). Our own is never checked against its source. That of
what is bundled is, since another layer may bring the same package: its sources then lie in the place of ours, and our
byte code beside them.

Text that only people and type checkers read is left out, since every cold start would read it too. Annotations of
classes stay: dataclasses and message types are made of them.
"""

import ast
import importlib.util
import marshal
import os
import sys
import types

_UNCHECKED_HASH, _CHECKED_HASH = (0b01).to_bytes(4, "little"), (0b11).to_bytes(4, "little")
_OURS = os.path.join("python", "lambda_tasks", "")

# Kinds of entries in a line table since Python 3.11, of which `-X no_debug_ranges` leaves these two: a line, as its
# distance from the one before, and none at all. Each stands for up to 8 units of code.
# https://github.com/python/cpython/blob/3.12/Objects/locations.md
_LINE, _NO_LINE = 13, 15
_SAME_LINE = b"\0"
_MOST_UNITS = 8


def main(folder: str, place: str) -> None:
    sources = [os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names]
    for source in sorted(source for source in sources if source.endswith(".py")):
        with open(source, "rb") as file:
            text = file.read()
        name = os.path.relpath(source, folder)
        flags = _UNCHECKED_HASH if name.startswith(_OURS) else _CHECKED_HASH
        byte_code = compiled(text, os.path.join(place, name))
        target = importlib.util.cache_from_source(source, optimization="")
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(importlib.util.MAGIC_NUMBER + flags + importlib.util.source_hash(text) + byte_code)


def compiled(text: bytes, path: str) -> bytes:
    tree = ForRunning().visit(ast.parse(text, path))
    code = compile(tree, path, "exec", dont_inherit=True, optimize=0)
    del tree  # marshal tells objects that are referred to elsewhere from those that are not
    return marshal.dumps(with_short_line_tables(code))


class ForRunning(ast.NodeTransformer):
    """Drop docstrings, annotations of functions, and what is under `if TYPE_CHECKING:`."""

    def visit_Module(self, node: ast.Module) -> ast.AST:
        without_docstring(node)
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        place = node.body[0]
        without_docstring(node)
        if any(is_dataclass(decorator) for decorator in node.decorator_list):
            # It would make one where it has none, which takes time. Its name is in the byte code anyhow.
            name = ast.copy_location(ast.Constant(node.name), node)
            node.body.insert(0, ast.copy_location(ast.Expr(name), node))
        node.body = node.body or [ast.copy_location(ast.Pass(), place)]
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self.visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self.visit_function(node)

    def visit_function(self, node: "ast.FunctionDef | ast.AsyncFunctionDef") -> ast.AST:
        place = node.body[0]
        without_docstring(node)
        node.body = node.body or [ast.copy_location(ast.Pass(), place)]
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_If(self, node: ast.If) -> "ast.AST | list[ast.stmt]":
        self.generic_visit(node)
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return node.orelse or ast.copy_location(ast.Pass(), node)
        return node


def without_docstring(node: "ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef") -> None:
    while ast.get_docstring(node) is not None:  # without one, the next text might be taken for it
        node.body.pop(0)


def is_dataclass(decorator: ast.expr) -> bool:
    made_by = decorator.func if isinstance(decorator, ast.Call) else decorator
    name = made_by.attr if isinstance(made_by, ast.Attribute) else getattr(made_by, "id", "")
    return name == "dataclass"


def with_short_line_tables(code: types.CodeType) -> types.CodeType:
    """Join entries of the same line, of which Python 3.11 and later write one for each instruction."""
    inner = (with_short_line_tables(one) if isinstance(one, types.CodeType) else one for one in code.co_consts)
    table = joined(code.co_linetable) if sys.version_info >= (3, 11) else code.co_linetable
    return code.replace(co_consts=tuple(inner), co_linetable=table)


def joined(table: bytes) -> bytes:
    out = bytearray()
    last = -1  # where the entry that may grow begins
    position = 0
    while position < len(table):
        kind, units = table[position] >> 3 & 15, (table[position] & 7) + 1
        end = position + 1
        while end < len(table) and not table[end] & 0x80:  # the first byte of an entry alone has this bit
            end += 1
        rest = table[position + 1 : end]
        if (kind, rest) in ((_LINE, _SAME_LINE), (_NO_LINE, b"")) and last >= 0 and out[last] >> 3 & 15 == kind:
            added = min(units, _MOST_UNITS - (out[last] & 7) - 1)
            out[last] += added
            units -= added
        if units:
            last = len(out)
            out.append(0x80 | kind << 3 | units - 1)
            out += rest
        position = end
    return bytes(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
