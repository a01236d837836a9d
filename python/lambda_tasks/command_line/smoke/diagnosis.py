"""The reasons for which a message that does nothing does not succeed, and the means against each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lambda_tasks.command_line.smoke.stack import Failure, Function, Source

WRAPPER = "/opt/bin/lambda-tasks-exec"

_NOT_THERE = re.compile(
    r"exit status 12[67]|: not found|does not exist|no such file|InvalidEntrypoint|not an executable", re.IGNORECASE
)
_NOT_IMPORTED = re.compile(r"No module named '?lambda_tasks\b|Unable to import module 'lambda_tasks")
_DENIED = re.compile(r"AccessDenied|not authorized|Forbidden|UnauthorizedOperation", re.IGNORECASE)
_TIMED_OUT = re.compile(r"timed out after|Sandbox\.Timedout|Timedout", re.IGNORECASE)


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: the part at fault (``mapping``, ``layer``, ...), what about it, and what to do."""

    part: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.part}: {self.problem}: {self.remedy}"


def keeps_from_arriving(source: Source) -> Finding | None:
    """Return why a message would not be taken at all; it is not sent then."""
    if not source.queue_url:
        problem = "no event source mapping leads from a queue to the function"
        return Finding("mapping", problem, "add an SQS event to it")
    if source.state in ("Enabled", "Creating", "Enabling", "Updating"):
        return None
    problem = f"the event source mapping is {source.state}" + (f" ({source.reason})" if source.reason else "")
    remedy = "allow what the reason says" if _DENIED.search(source.reason) else "enable it, Enabled: true"
    return Finding("permissions" if _DENIED.search(source.reason) else "mapping", problem, remedy)


def regrets(source: Source, queue: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what AWS accepts, and messages suffer from. `queue` has the queue's attributes, where they can be read."""
    if not queue:
        return
    if not source.reports_item_failures:
        problem = "the event source mapping does not report item failures, so that failed messages are lost"
        yield Finding("mapping", problem, "add FunctionResponseTypes: [ReportBatchItemFailures]")
    if int(queue.get("VisibilityTimeout", 30)) < source.function.timeout_seconds:
        problem = f"the queue's visibility timeout is below the function's {source.function.timeout_seconds} s"
        yield Finding("timeout", problem, f"use VisibilityTimeout: {6 * source.function.timeout_seconds}")
    if "RedrivePolicy" not in queue:
        yield Finding("queue", "there is no dead-letter queue", "add a RedrivePolicy")


def of_failure(failure: Failure, function: Function) -> Finding:
    """Return what is wrong where the function fails with every event."""
    text = f"{failure.type}: {failure.message}"
    wrapper = function.environ.get("AWS_LAMBDA_EXEC_WRAPPER", "")
    is_wrapper = bool(wrapper and _NOT_THERE.search(f"{text}\n{failure.log}"))
    if _NOT_IMPORTED.search(text) or (is_wrapper and wrapper == WRAPPER):
        attached = ", ".join(function.layers) or "none"
        return Finding("layer", f"lambda-tasks is not in the function (layers: {attached})", "attach the layer's ARN")
    if is_wrapper:
        return Finding("wrapper", f"{wrapper} cannot be run", f"set AWS_LAMBDA_EXEC_WRAPPER to {WRAPPER}")
    if _TIMED_OUT.search(text):
        problem = f"the function does not answer in its {function.timeout_seconds} s"
        return Finding("timeout", problem, "raise its Timeout, or look at what its modules do when they are imported")
    if _DENIED.search(text):
        return Finding("permissions", text, "allow this in the function's role")
    return Finding("function", text, "see its log; docs/troubleshooting.md has the errors of lambda-tasks by name")


def of_outcome(outcome: str, reason: str | None) -> Finding:
    """Return what is wrong where the message ran, or was refused, and did not succeed."""
    text = f"the message was {outcome}" + (f" ({reason})" if reason else "")
    if reason and ("lambda_tasks.tasks.smoke" in reason or "not allowed" in reason or "no module" in reason):
        return Finding("layer", text, "attach a layer of this command's version: an older one lacks the task")
    if reason and _DENIED.search(reason):
        return Finding("permissions", text, "allow this in the function's role")
    return Finding("function", text, "see its log")


def of_silence(source: Source, queue: Mapping[str, str]) -> Finding:
    """Return what is most likely wrong where the function is well, and nothing is known of the message."""
    if int(queue.get("ApproximateNumberOfMessages", 0)):
        actions = "sqs:ReceiveMessage, sqs:DeleteMessage and sqs:GetQueueAttributes"
        problem = "the message waits in the queue, and Lambda does not take it"
        remedy = f"allow {actions} on the queue, and kms:Decrypt on its key, in the function's role"
        return Finding("permissions", problem, remedy)
    if int(queue.get("ApproximateNumberOfMessagesNotVisible", 0)):
        problem = "the message was taken, and did not end"
        return Finding("timeout", problem, "wait with a longer --timeout, or look at the function's log")
    if source.has_filters:
        problem = "the message is gone, and never ran: the filter criteria delete what does not match them"
        return Finding("filter", problem, "add a pattern for the task lambda_tasks.tasks.smoke.nothing")
    problem = "the message left the queue, and nothing says how it ended"
    remedy = "allow logs:FilterLogEvents to yourself, log at INFO, or set LAMBDA_TASKS_TABLE"
    return Finding("log", problem, remedy)
