"""Something wrong with a template: its place, what, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lambda_tasks.local.errors import LocalError


@dataclass(frozen=True)
class Finding:
    """A finding is one line: what is wrong at `place`, a resource or a mapping, and what to do.

    `line` counts from 1 in the template. AWS refuses what `is_refused` says; it accepts anything else.
    """

    place: str
    problem: str
    remedy: str
    line: int | None = None
    is_refused: bool = False


class RefusedTemplate(LocalError):
    """A template that AWS would not deploy. `findings` are all reasons, and `lines` these in words."""

    def __init__(self, path: str, findings: Sequence[Finding]) -> None:
        first = findings[0]
        super().__init__(first.problem, source=first.place, remedy=first.remedy)
        self.findings = tuple(findings)
        self.lines = [sentence(path, one) for one in findings]


def shown_path(path: Path) -> str:
    """Return a template's path as a person would type it here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def sentence(path: str, finding: Finding) -> str:
    """Return a finding as a line that editors can follow to its place."""
    line = "" if finding.line is None else f":{finding.line}"
    return f"{path}{line}: {finding.place}: {finding.problem}: {finding.remedy}"
