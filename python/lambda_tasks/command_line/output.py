"""The output of commands: tables and lines for people, JSON for programs, one line for an error."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from lambda_tasks import settings

_WIDTH_OF_A_FILE = 200

OUTCOME_STYLES = {
    "succeeded": "green",
    "skipped": "green",
    "retrying": "yellow",
    "deferred": "yellow",
    "running": "cyan",
    "failed": "red",
    "rejected": "red",
}


@dataclass(frozen=True)
class Column:
    """A column of a table. Numbers are right-aligned. A column that does not fold is cut off before others are."""

    title: str
    is_number: bool = False
    folds: bool = False


@dataclass(frozen=True)
class Output:
    """The output of a command, on standard output. With `as_json` a result is a line of JSON, and there is no progress.

    Progress goes to the terminal that standard output is, so that lines appear above it, or else to standard error.
    """

    as_json: bool = False
    console: Console = field(default_factory=lambda: _console(stderr=False))

    def json(self, value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Print one line of JSON, at once and in one write: others read along, and print too."""
        sys.stdout.write(json.dumps(value, default=str) + "\n")
        sys.stdout.flush()

    def line(self, text: str | Text = "", style: str = "", *, is_for_copying: bool = False) -> None:
        """Print a line for people, folded where it is wider than the terminal. JSON output has none."""
        if not self.as_json:
            self.console.print(
                text if isinstance(text, Text) else Text(text),
                style=style,
                soft_wrap=is_for_copying or not self.is_terminal,
            )

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks at standard output."""
        return self.console.is_terminal

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> None:
        """Print a table, as wide as the terminal at most."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(
                column.title,
                justify="right" if column.is_number else "left",
                overflow="fold" if column.folds else "ellipsis",
                no_wrap=not column.folds,
            )
        for row in rows:
            table.add_row(*(one if isinstance(one, Text) else Text("" if one is None else str(one)) for one in row))
        self.console.print(table)

    @contextlib.contextmanager
    def progress(self, description: str, total: int | None = None) -> Iterator[Progress]:
        """Show a progress bar, where there is a terminal. Its task has the id 0."""
        columns = [SpinnerColumn(), TextColumn("{task.description}")]
        if total is not None:
            columns += [BarColumn(), MofNCompleteColumn()]
        console = self.console if self.is_terminal else _console(stderr=True)
        bar = Progress(
            *columns,
            console=console,
            transient=True,
            disable=self.as_json or not console.is_terminal,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        bar.add_task(description, total=total)
        with bar:
            yield bar


def _console(*, stderr: bool) -> Console:
    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    width = None if is_terminal or "COLUMNS" in settings.environ() else _WIDTH_OF_A_FILE
    return Console(stderr=stderr, highlight=False, width=width)


def outcome_text(outcome: str) -> Text:
    """Return an outcome in its colour."""
    return Text(outcome, style=OUTCOME_STYLES.get(outcome, ""))


def counted(count: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def complain(text: str) -> None:
    """Print an error as one line on standard error."""
    print("lambda-tasks: " + " ".join(text.split()), file=sys.stderr)  # noqa: T201
