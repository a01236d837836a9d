"""What the build runs with each interpreter, `python compile.py FOLDER PLACE`: byte code for every source in a folder.

`PLACE` is where the folder will lie, for tracebacks. The byte code carries the hash of its source and is never checked
against it, so the file times that an unpacked archive happens to have do not matter (PEP 552). The docstrings of
modules and functions are left out: every cold start would read them, and nobody does. Those of classes stay, since
`dataclass` would make up for a missing one, at a price.
"""

import ast
import importlib.util
import marshal
import os
import sys

_DOCUMENTED = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef)
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
    tree = ast.parse(text, path)
    strip(tree)
    code = compile(tree, path, "exec", dont_inherit=True, optimize=0)
    del tree  # marshal tells objects that are referred to elsewhere from those that are not
    return marshal.dumps(code)


def strip(tree: ast.Module) -> None:
    """Take the docstrings of the module and its functions out."""
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED):
            first = node.body[:1]
            while ast.get_docstring(node) is not None:  # without one, the next text might be taken for it
                node.body.pop(0)
            if first and not node.body and not isinstance(node, ast.Module):
                node.body.append(ast.copy_location(ast.Pass(), first[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
