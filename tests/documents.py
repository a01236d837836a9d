"""The documents that people copy from, and the code blocks in them."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from copies import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
DOCUMENTS = [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md"))]

_BLOCK = re.compile(r'^( *)```(\w*)(?: title="([^"\n]+)")?\n(.*?)^ *```$', re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A code block of a page, without its indentation. One with a title is the file of that name."""

    page: Path
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.text.strip().splitlines()[0][:40]}"


def blocks(language: str, holds: str = "", page: str = "") -> list[Block]:
    """Return the blocks of `language` whose text holds `holds`, of the pages, or of the one at `page`."""
    return [
        block
        for path in PAGES
        if not page or path == ROOT / page
        for block in blocks_of(path)
        if block.language == language and holds in block.text
    ]


def blocks_of(page: Path) -> list[Block]:
    """Return all blocks of a page, in their order."""
    found = _BLOCK.findall(page.read_text())
    return [Block(page, language, title, textwrap.dedent(text)) for _, language, title, text in found]


def commands_of(text: str) -> list[str]:
    """Return the commands of a shell block, without their comments."""
    lines = text.replace("\\\n", "").splitlines()
    return [line for line in (re.sub(r"\s+# .*", "", line).strip() for line in lines) if line]


def prose(page: Path) -> str:
    """Return the text of a page without its code blocks."""
    return _BLOCK.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub and the site make them."""
    return {re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in _HEADING.findall(prose(page))}
