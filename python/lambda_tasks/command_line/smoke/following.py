"""A message that does nothing, from the queue to its outcome."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lambda_tasks.aws.credentials import CredentialChain
from lambda_tasks.aws.transport import Transport
from lambda_tasks.command_line.arguments import BadInput, asked, calls_of, queue_url
from lambda_tasks.command_line.smoke import diagnosis
from lambda_tasks.command_line.smoke.diagnosis import Finding
from lambda_tasks.command_line.smoke.stack import Source, Stack
from lambda_tasks.enqueue.again.letters import DeadLetterQueue
from lambda_tasks.errors import LambdaTasksError
from lambda_tasks.settings import Settings
from lambda_tasks.settings import environ as process_environ
from lambda_tasks.state.opening import open_state

TASK = "lambda_tasks.tasks.smoke.nothing"
MESSAGE = {"task_name": TASK, "kwargs": {}, "n_retries": 0}

_PASSING = ("retrying", "deferred", "running", "enqueued")
_LOOK_SECONDS = 0.5
_READ_SECONDS = 5.0
_LETTERS = 100


@dataclass
class Trial:
    """A source with its message: the outcome once it is known, and what is wrong."""

    source: Source
    message_id: str | None = None
    outcome: str | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self.message_id is None or self.outcome is not None

    @property
    def succeeded(self) -> bool:
        """Whether the message ran to its end."""
        return self.outcome == "succeeded"


def tried(stack: Stack, sources: Sequence[Source], sqs: Any, timeout_seconds: float) -> list[Trial]:  # noqa: ANN401
    """Send a message to each source, follow all of them, and say what is wrong with those that do not succeed.

    Raises:
        BadInput: a queue does not take the message.

    """
    trials = [Trial(source) for source in sources]
    for trial in trials:
        blocked = diagnosis.keeps_from_arriving(trial.source)
        if blocked is not None:
            trial.findings.append(blocked)
            continue
        trial.message_id = _sent(sqs, trial.source.queue_url)
    deadline = time.monotonic() + timeout_seconds
    while any(not trial.is_over for trial in trials) and time.monotonic() < deadline:
        for trial in trials:
            if not trial.is_over:
                _look(stack, trial)
        time.sleep(_LOOK_SECONDS)
    for trial in trials:
        queue = _attributes(sqs, trial.source.queue_url) if trial.source.queue_url else {}
        if trial.message_id is not None and not trial.succeeded and not trial.findings:
            trial.findings.append(_reason(stack, trial, sqs, queue))
        trial.findings += diagnosis.regrets(trial.source, queue)
    return trials


def _sent(sqs: Any, url: str) -> str:  # noqa: ANN401
    request: dict[str, Any] = {"QueueUrl": url, "MessageBody": json.dumps(MESSAGE)}
    if url.endswith(".fifo"):
        request |= {"MessageGroupId": "lambda-tasks-smoke", "MessageDeduplicationId": str(uuid.uuid4())}
    return str(asked(sqs.send_message, **request)["MessageId"])


def _look(stack: Stack, trial: Trial) -> None:
    """Look where an outcome may be: in the record, in the log; or, on this machine, at the function's failure."""
    assert trial.message_id is not None  # noqa: S101 - it is followed
    told = [*_records(trial), *stack.lines_of(trial.source, trial.message_id)]
    final = [one for one in told if one["outcome"] not in _PASSING]
    if final:
        trial.outcome = final[-1]["outcome"]
        if not trial.succeeded:
            trial.findings.append(diagnosis.of_outcome(trial.outcome, final[-1]["reason"]))
    elif stack.tells_failures and (failure := stack.failure_of(trial.source, trial.message_id, MESSAGE)):
        trial.outcome = "failed"
        trial.findings.append(diagnosis.of_failure(failure, trial.source.function))


def _records(trial: Trial) -> list[Mapping[str, Any]]:
    table = trial.source.function.environ.get("LAMBDA_TASKS_TABLE")
    if not table:
        return []
    environ = process_environ()
    with contextlib.suppress(LambdaTasksError):  # the log may say it; who deploys may not always read the table
        state = open_state(Settings(table=table), environ, Transport(CredentialChain(environ), environ))
        if state is not None:
            record = state.record(str(trial.message_id), deadline=time.monotonic() + _READ_SECONDS)
            if record is not None:
                return [{"outcome": record.status.value, "reason": record.error_message}]
    return []


def _reason(stack: Stack, trial: Trial, sqs: Any, queue: Mapping[str, str]) -> Finding:  # noqa: ANN401
    """Return why nothing came of the message: its dead letter, the function's failure, or where the message is."""
    assert trial.message_id is not None  # noqa: S101 - it was sent
    failure = stack.failure_of(trial.source, trial.message_id, MESSAGE)
    if failure is not None:
        return diagnosis.of_failure(failure, trial.source.function)
    letter = _dead_letter(sqs, queue, trial.message_id)
    if letter is not None:
        trial.outcome = "failed"
        return diagnosis.of_outcome("failed", letter)
    return diagnosis.of_silence(trial.source, queue)


def _dead_letter(sqs: Any, queue: Mapping[str, str], message_id: str) -> str | None:  # noqa: ANN401
    """Return the reason of the message's dead letter; None where there is none, or it may not be looked at."""
    with contextlib.suppress(BadInput, ValueError, KeyError):
        name = json.loads(queue["RedrivePolicy"])["deadLetterTargetArn"].rpartition(":")[2]
        letters = DeadLetterQueue(calls_of(sqs), queue_url(sqs, name))
        received = letters.receive(_LETTERS, lambda _: None)
        letters.release(received)
        for one in received:
            if one.message_id == message_id:
                return f"{one.reason}: {one.error_message}" if one.error_message else one.reason
    return None


def _attributes(sqs: Any, url: str) -> Mapping[str, str]:  # noqa: ANN401
    with contextlib.suppress(BadInput):
        found: Mapping[str, str] = asked(sqs.get_queue_attributes, QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return found
    return {}
