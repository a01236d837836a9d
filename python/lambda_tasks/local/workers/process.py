"""A process that the pool starts: it runs one message a line of its input, and ends with its input."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import TYPE_CHECKING

from lambda_tasks import settings
from lambda_tasks.dispatch import dispatcher
from lambda_tasks.life_cycle import setup

if TYPE_CHECKING:
    from typing import TextIO


def main(lines: TextIO, answers: TextIO) -> None:
    """Run the record in each line, and answer with its outcome; a task's own output goes to stderr."""
    logging.basicConfig(level=logging.INFO, format="[%(levelname)s] %(message)s")
    setup.set_up(settings.environ(), is_worker=True)
    current = settings.current()
    for line in lines:
        result = dispatcher.process_here(json.loads(line), current)
        print(result.outcome.value, file=answers, flush=True)


if __name__ == "__main__":
    # What a task prints must not be taken for an answer.
    protocol = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    main(sys.stdin, protocol)
