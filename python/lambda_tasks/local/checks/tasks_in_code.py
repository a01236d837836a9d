"""The tasks in a folder of code, read without running any of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lambda_tasks.local.checks.constants import Constants, statements

_PACKAGE = "lambda_tasks"
_HOMES = (_PACKAGE, f"{_PACKAGE}.tasks.task")
_DEFAULT_RETRIES = 3
_NEEDS_TABLE = {
    "singleton": "is a singleton",
    "rate_limit": "has a rate limit",
    "idempotency_key": "has an idempotency key",
}
_LARGEST_CONSTANTS = 100_000


@dataclass(frozen=True)
class TaskInCode:
    """A task as it is written. `tries` is how often a message of it is run at most; None where that is computed.

    `needs_table` says for what it needs one; it is empty where it needs none.
    `schedule` and `schedule_timezone` are as they are written; where one `is_computed`, they cannot be read. Where it
    `is_unknown` whether there is a schedule, other options are computed.
    """

    name: str
    tries: int | None
    needs_table: str
    schedule: str | None = None
    schedule_timezone: str | None = None
    is_computed: bool = False
    is_unknown: bool = False


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
    code, trees = Code(), {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if any(part.startswith(".") or not part.isidentifier() for part in parts):
            continue
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        try:
            content = path.read_bytes()
            tree = ast.parse(content)
        except (OSError, SyntaxError, ValueError):
            continue
        code.names[module] = set(_names(tree))
        if _PACKAGE.encode() in content or len(content) <= _LARGEST_CONSTANTS:  # tasks, or their constants
            trees[module] = tree
    constants = Constants(trees)
    for module, tree in trees.items():
        for task in _tasks(tree, module, constants):
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


def _tasks(tree: ast.Module, module: str, constants: Constants) -> Iterator[TaskInCode]:
    decorators = {f"{_PACKAGE}.task"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in _HOMES:
            decorators |= {one.asname or one.name for one in node.names if one.name == "task"}
        elif isinstance(node, ast.Import):
            decorators |= {f"{one.asname}.task" for one in node.names if one.name == _PACKAGE and one.asname}
    for node in statements(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for decorator in node.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else None
            if ast.unparse(call.func if call else decorator) in decorators:
                yield _task(f"{module}.{node.name}", call, module, constants)


def _task(name: str, call: ast.Call | None, module: str, constants: Constants) -> TaskInCode:
    options = constants.options(call, module) if call else {}
    retries: object = 0
    if "retry_on" in options:
        given = options.get("max_retries")
        retries = _DEFAULT_RETRIES if given is None else getattr(given, "value", None)
    is_computed, is_unknown = False, "**" in options and "schedule" not in options
    texts: dict[str, str | None] = {}
    for option in ("schedule", "schedule_timezone"):
        node = options.get(option)
        try:
            value = None if node is None else constants.value(node, module)
        except ValueError:
            value, is_computed = None, True
        texts[option] = value if isinstance(value, str) else None
        is_computed |= value is not None and not isinstance(value, str)
    needs = (said for option, said in _NEEDS_TABLE.items() if _is_given(options.get(option)))
    tries = retries + 1 if isinstance(retries, int) else None
    return TaskInCode(
        name, tries, next(needs, ""), texts["schedule"], texts["schedule_timezone"], is_computed, is_unknown
    )


def _is_given(value: ast.expr | None) -> bool:
    return value is not None and getattr(value, "value", True) not in (False, None)
