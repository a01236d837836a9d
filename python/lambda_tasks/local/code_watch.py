"""Notice that a function's code has changed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from watchfiles import Change, DefaultFilter, watch

_WAKE_MS = 200


class CodeFilter(DefaultFilter):
    """The library's filter, which leaves out caches; hidden files and folders below `folders` are left out too.

    So are logs: one that the session writes itself, by ``> out.txt`` or ``| tee local.log``, would change for ever.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        super().__init__()
        self._folders = folders
        self._own_output = {_identity(1), _identity(2)} - {None}

    def __call__(self, change: Change, path: str) -> bool:
        """Tell whether a change is one of the code."""
        below = [Path(path).relative_to(one) for one in self._folders if Path(path).is_relative_to(one)]
        is_hidden = all(any(part.startswith(".") for part in one.parts) for one in below)
        return super().__call__(change, path) and not is_hidden and not self._is_log(path)

    def _is_log(self, path: str) -> bool:
        return path.endswith(".log") or _identity(path) in self._own_output


def _identity(file: int | str) -> tuple[int, int] | None:
    try:
        status = os.stat(file)  # noqa: PTH116 - of a descriptor too
    except OSError:
        return None
    return status.st_dev, status.st_ino


class CodeWatch:
    """Calls `changed` after every change below `folders`, with the files, until it is closed."""

    def __init__(self, folders: Sequence[Path], changed: Callable[[list[Path]], None]) -> None:
        self._changed = changed
        self._stopping = threading.Event()
        resolved = [folder.resolve() for folder in folders]
        self._changes = watch(
            *resolved,
            watch_filter=CodeFilter(resolved),
            rust_timeout=_WAKE_MS,
            yield_on_timeout=True,
            stop_event=self._stopping,
            raise_interrupt=False,
        )
        next(self._changes)  # from here on it sees every change
        self._thread = threading.Thread(target=self._watch, name="code-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stopping.set()
        self._thread.join()

    def _watch(self) -> None:
        for changes in self._changes:
            if changes:
                self._changed(sorted(Path(path) for _, path in changes))
