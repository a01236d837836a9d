"""The file by which other commands find a local session that runs: its variables, and a journal of what it does.

There is one for each template, in the user's state folder. It goes with the session that wrote it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lambda_tasks import settings

_ABOVE_PROJECTS = {Path("/"), Path.home()}


@dataclass(frozen=True)
class Run:
    """A session that runs, started in `folder`. `environ` has the variables by which other programs reach it.

    `queues` are URLs by logical id; `journal` has its events, as JSON lines; `parameters` are the template's.
    """

    template: Path
    folder: Path
    pid: int
    environ: Mapping[str, str]
    queues: Mapping[str, str]
    journal: Path
    parameters: Mapping[str, str]


class Journal:
    """The file that a session writes its events to. A new session begins it anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o600)

    def write(self, event: Mapping[str, Any]) -> None:
        """Add an event, whole: several threads write."""
        os.write(self._file, json.dumps(event, default=str).encode() + b"\n")

    def close(self) -> None:
        """Close it, and remove it."""
        os.close(self._file)
        self.path.unlink(missing_ok=True)


@contextmanager
def journal_of(template: Path) -> Iterator[Journal]:
    """Give the journal of a session of `template`, for the length of the ``with`` block."""
    path = _file(template).with_suffix(".journal")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)  # another session may still read the old one
    journal = Journal(path)
    try:
        yield journal
    finally:
        journal.close()


@contextmanager
def announced(
    template: Path,
    environ: Mapping[str, str],
    queues: Mapping[str, str],
    journal: Journal,
    parameters: Mapping[str, str],
) -> Iterator[None]:
    """Let other commands find this process as the session of `template`, for the length of the ``with`` block."""
    path = _file(template)
    content: dict[str, Any] = {
        "template": str(template.resolve()),
        "folder": str(Path.cwd()),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }
    content |= {"environ": dict(environ), "queues": dict(queues), "journal": str(journal.path)}
    content["parameters"] = dict(parameters)
    new = path.with_suffix(f".{os.getpid()}")
    new.touch(mode=0o600)
    new.write_text(json.dumps(content), encoding="utf-8")
    new.replace(path)  # whole or not at all
    try:
        yield
    finally:
        found = _read(path)
        if found is not None and found.pid == os.getpid():
            path.unlink(missing_ok=True)


@contextmanager
def firing_requests(journal: Journal) -> Iterator[Path]:
    """Give the folder by which other commands ask a session for firings, for the length of the ``with`` block."""
    folder = _requests(journal.path)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def request_firing(run: Run, name: str) -> None:
    """Ask a session for the firing of the schedule of this name."""
    request = _requests(run.journal) / f"{uuid.uuid4()}.name"
    request.with_suffix(".new").write_text(name, encoding="utf-8")
    request.with_suffix(".new").replace(request)  # whole or not at all


def running(template: Path | None = None) -> Run | None:
    """Return the session that runs for `template`; without one the only one of this folder, or of one around it."""
    if template is not None:
        return _read(_file(template))
    here = Path.cwd()
    found = [run for path in sorted(_folder().glob("*.json")) if (run := _read(path))]
    own = [run for run in found if {run.folder, run.template.parent} & {here, *here.parents} - _ABOVE_PROJECTS]
    return own[0] if len(own) == 1 else None


def _requests(journal: Path) -> Path:
    return journal.with_suffix(".firings")


def _folder() -> Path:
    return Path(settings.environ().get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "lambda-tasks"


def _file(template: Path) -> Path:
    return _folder() / f"{hashlib.sha256(str(template.resolve()).encode()).hexdigest()[:16]}.json"


def _read(path: Path) -> Run | None:
    """Return the session that wrote a file; None where it is gone, or another process has its number by now."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["started"] != _started(content["pid"]):
            return None
        names = ("template", "folder", "pid", "environ", "queues", "journal", "parameters")
        template, folder, pid, environ, queues, journal, parameters = (content[name] for name in names)
        return Run(Path(template), Path(folder), pid, environ, queues, Path(journal), parameters)
    return None


def _started(pid: int) -> str:
    """Return the time at which a process began, as the kernel counts it."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
