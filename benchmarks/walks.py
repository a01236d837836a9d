"""Count how often a record's way through the code changes from one file to another: ``python -m benchmarks.walks``.

A reader who follows a record makes the same changes. One record whose task succeeds and one whose task fails are
dispatched with a profile function; calls into this package and returns to it count.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import fake_aws
import lambda_tasks
from events import Context, message_body, sqs_event, sqs_record
from lambda_tasks.aws.credentials import CredentialChain
from lambda_tasks.aws.transport import Transport
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.dispatch.worker import Worker
from lambda_tasks.settings import Settings
from wrapper import base_environ

PACKAGE = str(Path(lambda_tasks.__file__).parent)
# Counted in the same way where dispatching was one room of 46 files. Half of the changes is the aim.
BEFORE = {"succeeds": (15, 82), "fails": (28, 190)}


def files_of(function: Callable[[], object]) -> list[str]:
    """Return the package's files in the order in which a call of `function` goes through them."""
    walked: list[str] = []

    def note(frame: FrameType | None, event: str, _: object) -> None:
        if event == "return":
            frame = frame and frame.f_back
            while frame is not None and not frame.f_code.co_filename.startswith(PACKAGE):
                frame = frame.f_back
        if event in ("call", "return") and frame is not None:
            file = frame.f_code.co_filename
            if file.startswith(PACKAGE) and not file.endswith("testing.py") and [file] != walked[-1:]:
                walked.append(file)

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return [file.removeprefix(f"{PACKAGE}/") for file in walked]


def main() -> int:
    """Print files and changes of file for both walks; the status is 1 where one is above half of what it was."""
    logging.getLogger("lambda_tasks").propagate = False
    holds = True
    with fake_aws.serve() as aws:
        aws.redrive_policies["queue"] = "arn:aws:sqs:eu-west-1:123456789012:dead"
        environ = base_environ(aws.url)
        for way, task, kwargs in (("succeeds", "add", {"number": 1}), ("fails", "fail", {})):
            worker = Worker(Settings(), environ, transport=Transport(CredentialChain(environ), environ))
            body = message_body(f"catalogue.tasks.{task}", **kwargs)
            dispatch(sqs_event(sqs_record(body)), Context(60), worker)  # imports, connections
            event = sqs_event(sqs_record(body))
            walked = files_of(lambda: dispatch(event, Context(60), worker))  # noqa: B023 - called at once
            files, changes = len(set(walked)), len(walked) - 1
            before_files, before_changes = BEFORE[way]
            print(f"a record that {way}: {changes} changes of file ({before_changes} before)")
            print(f"  {files} files ({before_files} before)")
            if "--show" in sys.argv:
                print("  " + " > ".join(walked))
            holds &= changes <= before_changes / 2
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
