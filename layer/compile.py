"""Compile every source in a folder: the build runs `python compile.py FOLDER PLACE` with each interpreter.

`PLACE` is the folder's path on Lambda, for tracebacks. The byte code carries the hash of its source and is never
checked against it, so the file times that an unpacked archive happens to have do not matter (PEP 552).

Text that only people and type checkers read is left out, since every cold start would read it too. Classes are left as
they are: a dataclass needs its annotations, and makes a docstring where it has none, which takes time.
"""

import ast
import importlib.util
import marshal
import os
import sys

_UNCHECKED_HASH = (0b01).to_bytes(4, "little")


def main(folder: str, place: str) -> None:
    sources = [os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names]
    for source in sorted(source for source in sources if source.endswith(".py")):
        with open(source, "rb") as file:
            text = file.read()
        byte_code = compiled(text, os.path.join(place, os.path.relpath(source, folder)))
        target = importlib.util.cache_from_source(source, optimization="")
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + importlib.util.source_hash(text) + byte_code)


def compiled(text: bytes, path: str) -> bytes:
    tree = ForRunning().visit(ast.parse(text, path))
    code = compile(tree, path, "exec", dont_inherit=True, optimize=0)
    del tree  # marshal tells objects that are referred to elsewhere from those that are not
    return marshal.dumps(code)


class ForRunning(ast.NodeTransformer):
    """Drop docstrings and annotations of functions, docstrings of modules, and what is under `if TYPE_CHECKING:`."""

    def visit_Module(self, node: ast.Module) -> ast.AST:
        without_docstring(node)
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


def without_docstring(node: "ast.Module | ast.FunctionDef | ast.AsyncFunctionDef") -> None:
    while ast.get_docstring(node) is not None:  # without one, the next text might be taken for it
        node.body.pop(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
