"""One message a process: for jobs of AWS Batch, tasks of Amazon ECS, and any other container that ends."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, NoReturn, cast

from lambda_tasks import settings
from lambda_tasks.containers import preparation
from lambda_tasks.containers.worker import LEASE_SECONDS
from lambda_tasks.dispatch import dispatcher, rescue
from lambda_tasks.dispatch.invocation import Invocation
from lambda_tasks.dispatch.worker import Worker
from lambda_tasks.messages import direct_event
from lambda_tasks.messages.outcome import DRAINED, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambda_tasks.dispatch.job import Job
    from lambda_tasks.messages.sqs_event import Record

logger = logging.getLogger("lambda_tasks")

DONE, FAILED, TRY_AGAIN = 0, 1, 75  # the last is EX_TEMPFAIL of sysexits.h
_STATUSES = {
    Outcome.SUCCEEDED: DONE,
    Outcome.SKIPPED: DONE,
    Outcome.FAILED: FAILED,
    Outcome.REJECTED: FAILED,
    Outcome.RETRYING: TRY_AGAIN,
    Outcome.DEFERRED: TRY_AGAIN,
}
_PAUSE_SECONDS = 1.0


def run(text: str, *, is_tried_again: bool) -> int:
    """Run the message that `text` is, and return the exit status: 0 for done, 1 for failed, 75 for to be tried again.

    One that `is_tried_again` is, after its backoff, in this process.

    Raises:
        LambdaTasksError: a setting or a reference cannot be used.

    """
    preparation.resolve()
    current = preparation.prepare()
    worker = Worker.of_process(current.replace(dead_letter_queue_url=None))  # whoever started this reads the status
    worker.longest_lease_seconds = LEASE_SECONDS
    environ = settings.environ()
    attempt = _attempt(environ)
    record = record_of(text, environ)
    ending = _Ending()
    try:
        while True:
            record["attributes"]["ApproximateReceiveCount"] = str(attempt)
            invocation = Invocation(worker, [record], None, rescue.rescue)
            ending.invocation = invocation
            dispatcher.run(invocation)
            (job,) = invocation.jobs
            status = TRY_AGAIN if job.result is None else _STATUSES[job.result.outcome]
            # An earlier attempt of this job has ended, whatever lease it left.
            is_awaited = job.is_elsewhere and attempt > 1
            if status != TRY_AGAIN or not (is_tried_again or is_awaited):
                return status
            _wait(job)
            attempt += job.has_run
    finally:
        ending.close()
        worker.close()


def record_of(text: str, environ: Mapping[str, str]) -> Record:
    """Return the record that `text` is: a message, a record, or an SQS event of one record.

    Its id is that of the job, where it has none.

    Raises:
        InvalidEvent: as `direct_event.record_of`.

    """
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        found = None  # the dispatcher rejects it, and says why
    if isinstance(found, dict) and isinstance(found.get("Records"), list) and len(found["Records"]) == 1:
        found = found["Records"][0]
    record: dict[str, Any] = {"body": text}
    if isinstance(found, dict) and isinstance(found.get("body"), str) and "task_name" not in found:
        record = {name: found[name] for name in ("messageId", "body", "messageAttributes") if name in found}
        record["attributes"] = found.get("attributes")
    elif isinstance(found, dict) and isinstance(found.get("task_name"), str):
        record = dict(direct_event.record_of(found, ""))
        del record["messageId"]
    if not isinstance(record.get("messageId"), str):
        record["messageId"] = environ.get("AWS_BATCH_JOB_ID") or _ecs_task(environ) or str(uuid.uuid4())
    attributes = record.get("attributes")
    record["attributes"] = dict(attributes) if isinstance(attributes, dict) else {}
    return cast("Record", record)


def _attempt(environ: Mapping[str, str]) -> int:
    """Return the number of this attempt, as AWS Batch counts them: its attempts and our retries are one budget.

    Source: https://docs.aws.amazon.com/batch/latest/userguide/job_env_vars.html
    """
    text = environ.get("AWS_BATCH_JOB_ATTEMPT", "")
    return int(text) if text.isascii() and text.isdigit() and text != "0" else 1


def _ecs_task(environ: Mapping[str, str]) -> str | None:
    """Return the ARN of the ECS task that this container belongs to, as its agent tells it.

    Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4.html
    """
    uri = environ.get("ECS_CONTAINER_METADATA_URI_V4")
    if not uri or environ.get("AWS_BATCH_JOB_ID"):
        return None
    from lambda_tasks.aws.connection import Connector  # noqa: PLC0415 - for tasks of ECS
    from lambda_tasks.aws.http import Client, HttpError  # noqa: PLC0415
    from lambda_tasks.aws.url import Url  # noqa: PLC0415

    try:
        url = Url.parse(f"{uri}/task")
        client = Client(Connector({}))
        answer = client.request("GET", url, {"Host": url.authority}, deadline=time.monotonic() + 2)
        client.close()
        return str(json.loads(answer.body)["TaskARN"])
    except (HttpError, OSError, ValueError, LookupError, TypeError):
        return None


def _wait(job: Job) -> None:
    seconds = job.result.visible_after_seconds if job.result is not None else None
    pause = _PAUSE_SECONDS if seconds is None else seconds
    logger.warning("message %s is tried again here in %.1f s", job.message_id, pause)
    time.sleep(pause)


class _Ending:
    """The end of the process by SIGTERM or SIGINT: the lease of its message is given back first.

    A thread waits for the signal, because the main one may be in C code, or have a lock that the settlement needs.
    """

    invocation: Invocation | None = None

    def __init__(self) -> None:
        self._signals, self._wake = socket.socketpair()
        self._wake.settimeout(0)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        self._before = {one: signal.signal(one, lambda *_: None) for one in (signal.SIGTERM, signal.SIGINT)}
        os.register_at_fork(after_in_child=self._be_ordinary)
        threading.Thread(target=self._watch, name="lambda-tasks-ending", daemon=True).start()

    def close(self) -> None:
        """Leave signals as they were."""
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._wake.close()

    def _be_ordinary(self) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _watch(self) -> None:
        while received := self._signals.recv(16):
            if set(received) & {signal.SIGTERM, signal.SIGINT}:
                self._end()
        self._signals.close()

    def _end(self) -> NoReturn:
        logger.warning("the process is to end: its message is put off")
        try:
            if self.invocation is not None:
                rescue.put_off(self.invocation, DRAINED)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(TRY_AGAIN)
