"""The tasks in a folder of code, read without running any of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_PACKAGE = "lambda_tasks"
_DEFAULT_RETRIES = 3
_NEEDS_TABLE = {
    "singleton": "is a singleton",
    "rate_limit": "has a rate limit",
    "idempotency_key": "has an idempotency key",
}


@dataclass(frozen=True)
class TaskInCode:
    """A task as it is written. `tries` is how often a message of it is run at most; None where that is computed.

    `needs_table` says for what it needs one; it is empty where it needs none.
    """

    name: str
    tries: int | None
    needs_table: str


@dataclass
class Code:
    """The modules of a folder: `names` has what may be a task, by module, and `tasks` what is one."""

    tasks: dict[str, TaskInCode] = field(default_factory=dict)
    names: dict[str, set[str]] = field(default_factory=dict)

    def has(self, task_name: str) -> bool:
        """Tell whether there may be such a task: one that is imported, or made by a call, counts."""
        module, _, name = task_name.rpartition(".")
        return name in self.names.get(module, ())


def read_code(folder: Path) -> Code:
    """Return the tasks below `folder`. A file that Python cannot read has none."""
    code = Code()
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if any(part.startswith(".") or not part.isidentifier() for part in parts):
            continue
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue
        code.names[module] = set(_names(tree))
        for task in _tasks(tree, module):
            code.tasks[task.name] = task
    return code


def _names(tree: ast.Module) -> Iterator[str]:
    """Yield what may be a task: anything but a class, or a function without a decorator."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (one.asname or one.name for one in node.names)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if node.decorator_list:
                yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _tasks(tree: ast.Module, module: str) -> Iterator[TaskInCode]:
    decorators = {f"{_PACKAGE}.task"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == _PACKAGE:
            decorators |= {one.asname or one.name for one in node.names if one.name == "task"}
        elif isinstance(node, ast.Import):
            decorators |= {f"{one.asname}.task" for one in node.names if one.name == _PACKAGE and one.asname}
    for node in tree.body:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for decorator in node.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else None
            if ast.unparse(call.func if call else decorator) in decorators:
                yield _task(f"{module}.{node.name}", call)


def _task(name: str, call: ast.Call | None) -> TaskInCode:
    options = {one.arg: one.value for one in call.keywords} if call else {}
    retries: object = 0
    if "retry_on" in options:
        given = options.get("max_retries")
        retries = _DEFAULT_RETRIES if given is None else getattr(given, "value", None)
    needs = (said for option, said in _NEEDS_TABLE.items() if _is_given(options.get(option)))
    return TaskInCode(name, retries + 1 if isinstance(retries, int) else None, next(needs, ""))


def _is_given(value: ast.expr | None) -> bool:
    return value is not None and getattr(value, "value", True) not in (False, None)
