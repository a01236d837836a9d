"""Notice that a function's code has changed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

_INTERVAL_SECONDS = 0.5
_LEFT_OUT = ("__pycache__", "node_modules")

Snapshot = dict[str, tuple[int, int]]


def snapshot(folder: Path) -> Snapshot:
    """Return time and size of every file below `folder`, but for caches and hidden ones."""
    found: Snapshot = {}
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _LEFT_OUT]
        for name in files:
            if not name.startswith(".") and not name.endswith(".pyc"):
                path = f"{place}/{name}"
                try:
                    status = Path(path).stat()
                except OSError:  # it went away meanwhile
                    continue
                found[path] = (status.st_mtime_ns, status.st_size)
    return found


class CodeWatch:
    """Calls `changed` after every change below `folder`, with the files, until it is closed."""

    def __init__(self, folder: Path, changed: Callable[[list[str]], None]) -> None:
        self._folder = folder
        self._changed = changed
        self._last = snapshot(folder)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="code-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stopping.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.wait(_INTERVAL_SECONDS):
            before, now = self._last, snapshot(self._folder)
            self._last = now
            if files := sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name)):
                self._changed(files)
