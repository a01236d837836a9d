"""The site's own steps: pages of files outside of this folder, links to such files, and the reference of the code.

`make docs` has this folder and the package on Python's path.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File
from reference import with_parts

ROOT = Path(__file__).resolve().parents[2]

PAGES_OF_FILES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "SECURITY.md": "explanation/security.md",
}
"""The page of each document that lies outside of this folder, since people look for it there."""

_LINK = re.compile(r"(\]\()([^)\s:]+)(\))")


def on_files(files: Any, config: Any) -> Any:  # noqa: ANN401 - MkDocs' collection and configuration
    """Add the pages of files outside of this folder."""
    for name, page in PAGES_OF_FILES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:  # noqa: ANN401 - as above
    """Return a page with its part of the reference, and with links that lead from where it is shown."""
    origins = {shown: name for name, shown in PAGES_OF_FILES.items()}
    source = origins.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def moved(link: re.Match[str]) -> str:
        target, _, anchor = link[2].partition("#")
        if not target:
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path in PAGES_OF_FILES:
            path = f"docs/{PAGES_OF_FILES[path]}"
        if path.startswith("docs/"):
            shown = posixpath.relpath(path, posixpath.dirname(f"docs/{page.file.src_uri}"))
        else:
            shown = f"{config.repo_url}/blob/main/{path}"
        return f"{link[1]}{shown}{'#' + anchor if anchor else ''}{link[3]}"

    return _LINK.sub(moved, with_parts(markdown))
