"""The script that /var/runtime/bootstrap.py is on Lambda: it composes ``sys.path`` and serves with awslambdaric.

Runs as ``python -S $LAMBDA_RUNTIME_DIR/bootstrap.py OPT HANDLER [CHANNEL]``, as a copy outside of this package. ``-S``
keeps out this machine's site-packages, and with them this package's own source.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
from collections.abc import Iterable, Sequence
from typing import Any, TextIO


class Channel:
    """A file of JSON lines, on which a function tells what it writes, and what becomes of each message.

    ``{"kind": "text", "message_id", "thread", "text"}`` is one call of ``write``; ``{"kind": "outcome", "message_id",
    "outcome", "attempt", "receive_count", "task", "duration_ms", "error"}`` is the outcome of one delivery.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def text(self, text: str) -> None:
        """Tell that `text` was written, and by which message's task."""
        if text:
            self._tell(kind="text", message_id=message_id(), thread=threading.get_ident(), text=text)

    def outcome(self, report: Any) -> None:  # noqa: ANN401 - this script knows no class of the layer's
        """Tell what became of a message: a hook for `lambda_tasks.on_outcome`."""
        error = report.error
        self._tell(
            kind="outcome",
            message_id=report.message_id,
            outcome=report.outcome.value,
            attempt=report.attempt,
            receive_count=report.receive_count,
            task=report.task,
            duration_ms=report.duration_ms,
            error=None if error is None else f"{type(error).__name__}: {error}".removesuffix(": "),
        )

    def _tell(self, **event: object) -> None:
        # One call: lines of several threads, or of forked processes, do not mix.
        os.write(self._descriptor, json.dumps(event).encode() + b"\n")


class ToldStream:
    """A text stream that tells the channel what is written to it. `under` gives it everything else."""

    def __init__(self, under: TextIO, channel: Channel) -> None:
        self._under = under
        self._channel = channel

    def write(self, text: str) -> int:
        """Write `text`."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._channel.text(text)
        return len(text)

    def writelines(self, texts: Iterable[str]) -> None:
        """Write each of `texts`."""
        for text in texts:
            self.write(text)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - an attribute can be anything
        return getattr(self._under, name)


def message_id() -> str | None:
    """Return the id of the message whose task runs in this thread, or asyncio task, where there is one."""
    context = getattr(sys.modules.get("lambda_tasks"), "context", None)
    found = getattr(context, "message_id", None)
    return found if isinstance(found, str) and found else None


def open_channel(path: str) -> None:
    """Tell `path` from now on what this process writes, and what becomes of its messages."""
    channel = Channel(path)
    sys.stdout = ToldStream(sys.stdout, channel)
    sys.stderr = ToldStream(sys.stderr, channel)
    try:
        # The function's own, of its layer or its packages; the attribute `context` is for `message_id`.
        package = importlib.import_module("lambda_tasks")
        package.on_outcome(channel.outcome)
        _ = package.context
    except Exception:  # noqa: BLE001 - without it there is nothing to hear; a handler that needs it says why it fails
        return


def search_path(task_root: str, opt: str, runtime: str) -> list[str]:
    """Return the head of ``sys.path`` in the managed runtime's order: function, layers, runtime.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/python-package.html
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return [task_root, f"{opt}/python/lib/python{version}/site-packages", f"{opt}/python", runtime]


def main(arguments: Sequence[str]) -> None:
    """Serve invocations until the emulator ends this process."""
    script, opt, handler, *channel = arguments
    # The first entry is the script's own folder, the runtime's.
    sys.path[:1] = search_path(os.environ["LAMBDA_TASK_ROOT"], opt, os.path.dirname(script))  # noqa: PTH120
    for path in channel:
        open_channel(path)
    from awslambdaric.__main__ import main as serve  # noqa: PLC0415 - found only now

    serve([script, handler])


if __name__ == "__main__":
    main(sys.argv)
