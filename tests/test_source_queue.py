"""The dispatcher's calls to SQS, against the embedded AWS and against a server that fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from fake_aws import FakeAws
from lambda_tasks.aws.queue_address import QueueAddress
from lambda_tasks.aws.transport import CallFailed
from lambda_tasks.dispatch.source_queue import SourceQueues
from lambda_tasks.limits.timeouts import InvocationTime
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.queue import Queue, redrive_policy
from workers import worker
from wrapper import base_environ

ARN = "arn:aws:sqs:eu-west-1:123456789012:queue"


def soon() -> float:
    return time.monotonic() + 5


def sqs_at(url: str) -> SourceQueues:
    return worker(aws_url=url).queues


def test_the_embedded_aws_knows_composed_urls(embedded_aws: EmbeddedAws, make_queue: Callable[..., Queue]) -> None:
    """Visibility, redrive policy and sending work on a real queue, by ARNs alone."""
    dead_letters = make_queue()
    queue = make_queue(VisibilityTimeout="600", RedrivePolicy=redrive_policy(dead_letters, 5))
    queue.send("one")
    (message,) = queue.receive()
    sqs = sqs_at(embedded_aws.endpoint_url)

    sqs.change_visibility(queue.arn, [(message["ReceiptHandle"], 0.0)], InvocationTime(time.monotonic()))
    assert [one["MessageId"] for one in queue.receive()] == [message["MessageId"]]

    target = sqs.dead_letter_queue(queue.arn, soon())
    assert target is not None
    sqs.send(target, {"MessageBody": "dead"}, soon())
    assert [one["Body"] for one in dead_letters.receive()] == ["dead"]
    assert sqs.dead_letter_queue(dead_letters.arn, soon()) is None


def test_the_redrive_policy_is_asked_for_once_unless_sqs_was_away(aws: FakeAws) -> None:
    """An answer is kept, a refusal too; where there was none, it is asked for again."""
    aws.redrive_policies["queue"] = f"{ARN}-dead"
    sqs = sqs_at(aws.url)
    aws.answers = [lambda _: (400, {})]
    with pytest.raises(CallFailed):
        sqs.dead_letter_queue(ARN, soon())
    assert [sqs.dead_letter_queue(ARN, soon()) for _ in range(2)] == [
        QueueAddress.of_arn(f"{ARN}-dead", base_environ(aws.url))
    ] * 2
    assert len(aws.requests) == 2
    aws.answers = [lambda _: (403, {"__type": "AccessDenied"})]
    assert [sqs.dead_letter_queue(f"{ARN}2", soon()) for _ in range(2)] == [None, None]
    assert len(aws.requests) == 3


@pytest.mark.parametrize("policy", ["[]", "no JSON", '{"deadLetterTargetArn": 1}', "{}"])
def test_an_odd_redrive_policy_is_none(aws: FakeAws, policy: str) -> None:
    """A policy that cannot be read names no dead-letter queue."""
    aws.answers = [lambda _: (200, {"Attributes": {"RedrivePolicy": policy}})]
    assert sqs_at(aws.url).dead_letter_queue(ARN, soon()) is None


def test_entries_that_fail_are_logged(aws: FakeAws, caplog: pytest.LogCaptureFixture) -> None:
    """Entries of a batch that SQS did not change are in the log, with the reason."""
    failed: Any = [{"Id": "0", "Code": "ReceiptHandleIsInvalid", "SenderFault": True}]
    aws.answers = [lambda _: (200, {"Successful": [], "Failed": failed})]
    sqs = sqs_at(aws.url)
    sqs.change_visibility(ARN, [("handle", 1)], InvocationTime(time.monotonic()))
    assert "the visibility of 1 messages was not changed: ReceiptHandleIsInvalid" in caplog.text


def test_all_changes_are_made_on_return(aws: FakeAws) -> None:
    """Changes are made at the same time, and the last of them is over when the call returns."""
    seen: list[int] = []
    together = threading.Barrier(4, timeout=10)

    def answer(request: Any) -> tuple[int, dict[str, Any]]:
        time.sleep(together.wait() / 20)  # so that one of them is the last
        seen.append(len(request.body["Entries"]))
        return 200, {"Successful": [], "Failed": []}

    aws.answers = [answer] * 4
    changes = [(f"handle-{number}", 1.0) for number in range(40)]
    sqs_at(aws.url).change_visibility(ARN, changes, InvocationTime(time.monotonic(), soon()))
    assert seen == [10] * 4
