"""Workers for tests: the real one, with an SQS on this machine, and a look at the outcome of each message."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from events import Context, sqs_event
from lambda_tasks.aws.credentials import CredentialChain
from lambda_tasks.aws.transport import CallFailed, Transport
from lambda_tasks.dispatch.delivery import deliver
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.dispatch.invocation import Invocation
from lambda_tasks.dispatch.job import Job
from lambda_tasks.dispatch.rescue import rescue
from lambda_tasks.dispatch.worker import Worker
from lambda_tasks.messages.sqs_event import Record
from lambda_tasks.settings import Settings
from lambda_tasks.state.protocol import State
from lambda_tasks.telemetry import report as telemetry
from lambda_tasks.telemetry.report import Report
from wrapper import base_environ


class _Nowhere(Transport):
    """A transport that does not even try."""

    def call(self, *_: object, **__: object) -> dict[str, Any]:
        raise CallFailed("nobody is there", code="AccessDenied")

    def send(self, *_: object, **__: object) -> bytes:
        raise CallFailed("nobody is there", code="AccessDenied")


def worker(settings: Settings | None = None, *, aws_url: str = "", state: State | None = None) -> Worker:
    """Return a worker as the handler makes it, for an SQS at `aws_url`; without one no call succeeds."""
    environ = base_environ(aws_url or "http://127.0.0.1:9")
    transport = (Transport if aws_url else _Nowhere)(CredentialChain(environ), environ)
    made = Worker(settings or Settings(), environ, state=state, transport=transport, jitter=lambda: 0.5)
    made.at_close(transport.close)
    _open.append(made)
    return made


def invocation_of(made: Worker, *records: Record, seconds: float | None = None) -> Invocation:
    """Return an invocation for `records`; without `seconds` it has no end."""
    return Invocation(made, records, None if seconds is None else Context(seconds), rescue)


def jobs_of(*records: Record) -> list[Job]:
    """Return the jobs that `records` are delivered as."""
    return [job for jobs in deliver(invocation_of(worker(), *records)) for job in jobs]


def close_workers() -> None:
    """Close what the workers of a test left open."""
    while _open:
        _open.pop().close()


_open: list[Worker] = []


@contextlib.contextmanager
def reports(into: list[Report] | None = None) -> Iterator[list[Report]]:
    """Collect the reports of messages, as a hook of the function's would."""
    collected: list[Report] = [] if into is None else into
    hook = telemetry.on_outcome(collected.append)
    try:
        yield collected
    finally:
        telemetry._outcome_hooks.remove(hook)  # hooks are for the life of a function


class Dispatched:
    """The result of one invocation: the ids of the messages that SQS keeps, and the report of each message."""

    def __init__(self, made: Worker, *records: Record, seconds: float = 60) -> None:
        with reports() as collected:
            answer: Any = dispatch(sqs_event(*records), Context(seconds), made)
        assert list(answer) == ["batchItemFailures"]
        self.kept = [item["itemIdentifier"] for item in answer["batchItemFailures"]]
        self.reports = {report.message_id: report for report in collected}
        self.outcomes = [self.reports[record["messageId"]].outcome.value for record in records]
        self.errors = [self.reports[record["messageId"]].error for record in records]
