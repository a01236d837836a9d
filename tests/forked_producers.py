"""A program that enqueues, forks, and enqueues in parent and children at once; it prints what each process was told.

The server that it sends to names a message after the number in it, so that an answer says whose it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from catalogue import tasks

CHILDREN = 3
MESSAGES = 25


def wrong_ids(numbers: Iterable[int]) -> list[str]:
    """Enqueue `numbers`, and return the message ids that are another number's."""
    found = [(number, str(tasks.add.enqueue(number=number))) for number in numbers]
    many = list(numbers)
    enqueued = tasks.add.enqueue_many({"number": number} for number in many)
    found += [(number, str(entry.message_id)) for number, entry in zip(many, enqueued, strict=True)]
    return [message_id for number, message_id in found if message_id != f"id-{number}"]


def main() -> None:
    if wrong_ids(range(40)):  # several connections are open when the process forks
        raise SystemExit("the server is at fault")
    children = []
    for child in range(1, CHILDREN + 1):
        process = os.fork()
        if not process:
            wrong = wrong_ids(range(child * 1000, child * 1000 + MESSAGES))
            sys.stdout.write(f"{wrong}\n")
            sys.stdout.flush()
            os._exit(0)
        children.append(process)
    wrong = wrong_ids(range(MESSAGES))
    for process in children:
        os.waitpid(process, 0)
    sys.stdout.write(f"{wrong}\n")


main()
