"""The process of a worker: it runs one message a line of its input, and ends with that or at an empty line."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from typing import TYPE_CHECKING

from lambda_tasks import after_fork, settings
from lambda_tasks.dispatch import dispatcher
from lambda_tasks.errors import MessageDeferred
from lambda_tasks.life_cycle import setup
from lambda_tasks.local.workers import handover
from lambda_tasks.local.workers.worker import END, TAKEN
from lambda_tasks.messages.outcome import Outcome

if TYPE_CHECKING:
    from typing import BinaryIO

    from lambda_tasks.messages.sqs_event import Record
    from lambda_tasks.settings import Settings

logger = logging.getLogger("lambda_tasks")


def main(lines: BinaryIO, answers: BinaryIO) -> None:
    """Run the record in each line, and answer with its outcome."""
    logging.basicConfig(level=logging.INFO, format="[%(levelname)s] %(message)s")
    setup.set_up(settings.environ(), is_worker=True)
    handover.is_worker = True
    current = settings.current()
    for line in lines:
        text = line.rstrip(b"\n")
        if text == END:
            break
        _write(answers, TAKEN)
        _write(answers, json.dumps(_outcome(json.loads(text), current)).encode())


def _outcome(record: Record, current: Settings) -> dict[str, object]:
    try:
        result = dispatcher.process_here(record, current)
    except MessageDeferred as error:
        logger.warning("message %s is tried again later: %s", record["messageId"], error)
        return {"outcome": Outcome.DEFERRED.value, "seconds": None}
    return {"outcome": result.outcome.value, "seconds": result.visible_after_seconds}


def _write(answers: BinaryIO, line: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):  # the owner has ended: there is no next line either
        answers.write(line + b"\n")


class _Pipes:
    """The pipes to the owner, for this process alone: tasks, and what they start, have other files in their places.

    A task must not read what is for the worker, nor must what it prints be taken for an answer.
    """

    def __init__(self) -> None:
        self._received, self._answered = os.dup(sys.stdin.fileno()), os.dup(sys.stdout.fileno())
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), sys.stdin.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        after_fork.register(self)

    def let_go_after_fork(self) -> None:
        """Close them, so that the owner notices when this process ends."""
        os.close(self._received)
        os.close(self._answered)

    def opened(self) -> tuple[BinaryIO, BinaryIO]:
        """Return them as files."""
        return os.fdopen(self._received, "rb"), os.fdopen(self._answered, "wb", buffering=0)


if __name__ == "__main__":
    pipes = _Pipes()
    main(*pipes.opened())
