"""The way to SQS of those who send a message again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lambda_tasks.aws import calls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Call = Callable[[str, str, Mapping[str, Any]], Mapping[str, Any]]
    """A call of SQS: operation, URL of the queue, and the other fields of the request, to the answer."""


def call_of_process(operation: str, queue_url: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Make a call as this process makes those of ``enqueue``.

    Raises:
        CallFailed: SQS did not comply.

    """
    return calls.calls().sqs(operation, calls.queue_at(queue_url), request)
