"""The values that code gives to names and options, as far as they can be read without running any of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

_DEEPEST = 20
_COMPUTED = "only running the code would tell"


class Constants:
    """The constants of modules, whose syntax trees are given by name: texts, numbers, and what is made of them."""

    def __init__(self, trees: Mapping[str, ast.Module]) -> None:
        self._trees = trees

    def value(self, node: ast.expr, module: str, depth: int = 0) -> object:
        """Return what an expression of a module is.

        Raises:
            ValueError: only running it would tell.

        """
        if depth > _DEEPEST:
            raise ValueError(_COMPUTED)
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return self._named(node.id, module, depth + 1)
        if isinstance(node, ast.Attribute):
            return self._attribute(node, module, depth + 1)
        if isinstance(node, ast.JoinedStr):
            return "".join(self._part(one, module, depth + 1) for one in node.values)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left, right = (self.value(one, module, depth + 1) for one in (node.left, node.right))
            if isinstance(left, str) and isinstance(right, str):
                return left + right
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            return {self.value(name, module, depth + 1): one for name, one in pairs if name is not None}
        raise ValueError(_COMPUTED)

    def options(self, call: ast.Call, module: str) -> dict[str, ast.expr | None]:
        """Return the keywords of a call with their values, those of ``**`` too. None stands for what those may hold."""
        found: dict[str, ast.expr | None] = {}
        for one in call.keywords:
            if one.arg is not None:
                found[one.arg] = one.value
                continue
            try:
                given = self.value(one.value, module)
            except ValueError:
                given = None
            found |= {str(name): node for name, node in given.items()} if isinstance(given, dict) else {"**": None}
        return found

    def _part(self, node: ast.expr, module: str, depth: int) -> str:
        if isinstance(node, ast.FormattedValue):
            if node.conversion != -1 or node.format_spec is not None:
                raise ValueError(_COMPUTED)
            node = node.value
        value = self.value(node, module, depth)
        if isinstance(value, (str, int)):
            return str(value)
        raise ValueError(_COMPUTED)

    def _attribute(self, node: ast.Attribute, module: str, depth: int) -> object:
        """Return an attribute of a class of the module, or of another module."""
        owner = ast.unparse(node.value)
        for statement in statements(self._trees.get(module)):
            if isinstance(statement, ast.ClassDef) and statement.name == owner:
                return self._assigned(node.attr, statement, module, depth)
        for dotted in (self._imported(owner, module), owner):
            if dotted in self._trees:
                return self._named(node.attr, dotted, depth)
        raise ValueError(_COMPUTED)

    def _named(self, name: str, module: str, depth: int) -> object:
        tree = self._trees.get(module)
        try:
            return self._assigned(name, tree, module, depth)
        except LookupError:
            origin, _, own = self._imported(name, module).rpartition(".")
            if origin not in self._trees or depth > _DEEPEST:
                raise ValueError(_COMPUTED) from None
            return self._named(own, origin, depth + 1)

    def _assigned(self, name: str, block: ast.Module | ast.ClassDef | None, module: str, depth: int) -> object:
        found = [
            statement.value
            for statement in statements(block)
            for target in _targets(statement)
            if isinstance(target, ast.Name) and target.id == name and isinstance(statement, (ast.Assign, ast.AnnAssign))
        ]
        if len(found) > 1 or (found and found[0] is None):
            raise ValueError(_COMPUTED)
        if not found:
            if isinstance(block, ast.ClassDef):
                raise ValueError(_COMPUTED)
            raise LookupError(name)
        assert found[0] is not None  # noqa: S101 - for mypy
        return self.value(found[0], module, depth)

    def _imported(self, name: str, module: str) -> str:
        """Return the dotted path of a name that the module imports, or empty."""
        is_package = any(one.startswith(f"{module}.") for one in self._trees)
        for statement in statements(self._trees.get(module)):
            if isinstance(statement, ast.ImportFrom):
                origin = statement.module or ""
                if statement.level:
                    above = (module if is_package else module.rpartition(".")[0]).split(".")
                    above = above[: len(above) - statement.level + 1]
                    origin = ".".join([*above, *([origin] if origin else [])])
                for one in statement.names:
                    if (one.asname or one.name) == name:
                        return f"{origin}.{one.name}"
            elif isinstance(statement, ast.Import):
                for one in statement.names:
                    if (one.asname or one.name) == name:
                        return one.name
        return ""


def statements(block: ast.Module | ast.ClassDef | None) -> Iterator[ast.stmt]:
    """Yield the statements of a block, with those of ``if``, ``try`` and ``with`` in it."""
    waiting: list[ast.stmt] = list(block.body) if block is not None else []
    while waiting:
        statement = waiting.pop(0)
        yield statement
        for part in ("body", "orelse", "finalbody", "handlers"):
            if isinstance(statement, (ast.If, ast.Try, ast.With)):
                for one in getattr(statement, part, ()):
                    waiting += one.body if isinstance(one, ast.ExceptHandler) else [one]


def _targets(statement: ast.stmt) -> list[ast.expr]:
    if isinstance(statement, ast.Assign):
        return statement.targets
    return [statement.target] if isinstance(statement, ast.AnnAssign) else []
