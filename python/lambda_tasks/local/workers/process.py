"""The process of a worker: it runs one message a line of its input, and ends with that or at an empty line."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from typing import TYPE_CHECKING

from lambda_tasks import settings
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


def _own(descriptor: int, replaced_by: int) -> int:
    """Return a descriptor for this process alone, and put another file in its place for tasks and what they start."""
    own = os.dup(descriptor)
    os.dup2(replaced_by, descriptor)
    os.register_at_fork(after_in_child=lambda: os.close(own))
    return own


if __name__ == "__main__":
    # A task must not read what is for the worker, nor must what it prints be taken for an answer.
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        received = _own(sys.stdin.fileno(), nothing.fileno())
    answered = _own(sys.stdout.fileno(), sys.stderr.fileno())
    main(os.fdopen(received, "rb"), os.fdopen(answered, "wb", buffering=0))
