"""The reference pages that are made of the code: settings, options, and the command line.

A page has a line such as ``<!-- reference: settings -->``, and the site has the text of `PARTS` in its place.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = Path(__file__).resolve().parents[2] / "python" / "lambda_tasks"
MARK = re.compile(r"^<!-- reference: (.*) -->$", re.MULTILINE)

_NO_DEFAULT = "none"


class Described(NamedTuple):
    """A name of the code with the text below it, without its line breaks."""

    name: str
    text: str


def described(body: list[ast.stmt]) -> Iterator[Described]:
    """Yield the names that are assigned or annotated in `body` and have a text below them."""
    for statement, following in itertools.pairwise(body):
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            if isinstance(statement, ast.AnnAssign):
                yield Described(ast.unparse(statement.target), " ".join(str(following.value.value).split()))
            elif isinstance(statement, ast.Assign):
                yield Described(ast.unparse(statement.targets[0]), " ".join(str(following.value.value).split()))


def _class(body: list[ast.stmt], name: str) -> list[ast.stmt]:
    (found,) = (one.body for one in body if isinstance(one, ast.ClassDef) and one.name == name)
    return found


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def variables_of_fields(tree: ast.Module) -> dict[str, str]:
    """Return the variable that each field of `Settings` is read from."""
    return {
        str(node.arg): "LAMBDA_TASKS_" + ast.literal_eval(node.value.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "read"
    }


def settings() -> str:
    """Return the table of the settings: variable, default, meaning."""
    from lambda_tasks.settings import Settings  # noqa: PLC0415 - from the folder that the caller puts on the path

    tree = ast.parse((PACKAGE / "settings.py").read_text())
    variables = variables_of_fields(tree)
    variables["queue_urls"] = "LAMBDA_TASKS_QUEUE_URL"
    rows = []
    for name, text in described(tree.body):
        (value,) = (one.value for one in tree.body if isinstance(one, ast.Assign) and _assigns(one, name))
        shown = ast.literal_eval(value)
        rows.append((f"`{shown}<NAME>`" if shown.endswith("_") else f"`{shown}`", _NO_DEFAULT, text))
    for name, text in described(_class(tree.body, "Settings")):
        rows.append((f"`{variables[name]}`", _default(getattr(Settings(), name)), text))
    return table(("variable", "default", "meaning"), rows)


def _assigns(statement: ast.Assign, name: str) -> bool:
    return ast.unparse(statement.targets[0]) == name


def _default(value: Any) -> str:  # noqa: ANN401 - a setting or an option is of any type
    if value is None or value in ((), {}):
        return _NO_DEFAULT
    if isinstance(value, bool):
        return f"`{int(value)}`"
    return f"`{value:.10g}`" if isinstance(value, float) else f"`{value}`"


def task_options() -> str:
    """Return the table of the options of ``@task``: name, default, meaning."""
    from lambda_tasks.definition.options import Options  # noqa: PLC0415

    body = ast.parse((PACKAGE / "definition" / "options.py").read_text()).body
    rows = [
        (f"`{name}`", f"`{getattr(Options(), name)!r}`", text)
        for one in ("OptionValuesOfAll", "OptionValues")
        for name, text in described(_class(body, one))
    ]
    return table(("option", "default", "meaning"), rows)


def message_options() -> str:
    """Return the table of the options of ``Task.options``: name, meaning."""
    body = ast.parse((PACKAGE / "enqueue" / "message_options.py").read_text()).body
    rows = [(f"`{name}`", text) for name, text in described(_class(body, "MessageOptionValues"))]
    return table(("option", "meaning"), rows)


def command_line() -> str:
    """Return a section for each command: its usage, its text, its options."""
    import rich_click as click  # noqa: PLC0415 - the other parts need no command line

    from lambda_tasks.command_line.app import lambda_tasks  # noqa: PLC0415

    return "\n".join(_sections(lambda_tasks, click.Context(lambda_tasks, info_name="lambda-tasks")))


def _sections(command: Any, context: Any) -> Iterator[str]:  # noqa: ANN401 - click's, which the caller imported
    is_root = context.parent is None
    if not is_root:
        yield f"## {context.command_path}\n"
    usage = command.collect_usage_pieces(context)
    yield f"```text\n{' '.join([context.command_path, *usage])}\n```\n"
    yield _paragraphs(command.help or "")
    records = [one.get_help_record(context) for one in command.get_params(context) if not _is_hidden(one)]
    # An argument has no text of its own: the command's text says what it is.
    rows = [(f"`{record[0]}`", record[1]) for record in records if record is not None and record[1]]
    yield table(("option", "meaning"), rows) + "\n"
    for name in getattr(command, "list_commands", lambda _: [])(context):
        child = command.get_command(context, name)
        yield from _sections(child, type(context)(child, info_name=name, parent=context))


def _is_hidden(parameter: Any) -> bool:  # noqa: ANN401
    return getattr(parameter, "hidden", False) or parameter.name == "help"


def _paragraphs(text: str) -> str:
    """Return paragraphs whose lines are joined, but for those that click keeps as they are."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        kept = paragraph.strip().removeprefix("\\b").removeprefix("\b")
        is_kept = kept != paragraph.strip()
        found.append(f"```text\n{kept.strip()}\n```" if is_kept else " ".join(paragraph.split()))
    return "\n\n".join(found) + "\n"


PARTS: dict[str, Callable[[], str]] = {
    "command line": command_line,
    "message options": message_options,
    "settings": settings,
    "task options": task_options,
}


def with_parts(page: str) -> str:
    """Return a page with the part of the reference at each of its marks.

    Raises:
        KeyError: a mark names no part.

    """
    return MARK.sub(lambda mark: PARTS[mark[1]](), page)
