"""Embedded AWS: its clients reach it and nothing else, and it ends with whoever started it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue

import pytest

from lambda_tasks.local import embedded_aws_process
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.queue import Queue, create_queue, redrive_policy


def test_client_ignores_this_machines_settings(embedded_aws: EmbeddedAws) -> None:
    """A profile, an endpoint, a proxy or a region of the machine leads no client to another place."""
    program = "import sys; from lambda_tasks.local.embedded_aws import EmbeddedAws; "
    program += "print(EmbeddedAws(sys.argv[1], 'eu-west-1').client('sts').get_caller_identity()['Account'])"
    elsewhere = {
        "AWS_PROFILE": "none",
        "AWS_CA_BUNDLE": "/none",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_REGION": "us-gov-west-1",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "HTTP_PROXY": "http://127.0.0.1:1",
    }
    result = subprocess.run(
        [sys.executable, "-c", program, embedded_aws.endpoint_url],
        env={**os.environ, **elsewhere},
        capture_output=True,
        text=True,
        check=True,
    )

    assert result.stdout.strip() == "123456789012"


def test_environ_leads_other_processes_to_it(embedded_aws: EmbeddedAws) -> None:
    """The variables for other processes hold endpoint, region and credentials."""
    assert embedded_aws.environ() == {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": embedded_aws.endpoint_url,
    }


def test_hidden_messages_are_told(embedded_aws: EmbeddedAws, make_queue: Callable[..., Queue]) -> None:
    """Delayed messages and those in flight are told with their time; visible ones are not."""
    queue = make_queue(VisibilityTimeout="100")
    delayed = queue.send("a", DelaySeconds=50)
    received = queue.send("b")
    assert [one["MessageId"] for one in queue.receive(1, wait_seconds=5)] == [received]
    queue.send("c")
    hidden = {one.message_id: one for one in embedded_aws.hidden(queue.arn)}
    assert hidden.keys() == {delayed, received}
    assert (hidden[delayed].receive_count, hidden[received].receive_count) == (0, 1)
    assert 0 < hidden[delayed].seconds <= 50 < hidden[received].seconds <= 100


def test_services_that_are_gone_are_no_answer() -> None:
    """Where nothing answers the error says so."""
    with pytest.raises(LocalError, match="the embedded AWS did not answer"):
        EmbeddedAws("http://127.0.0.1:9", "eu-west-1").hidden("arn:aws:sqs:eu-west-1:123456789012:q")


def test_process_serves_until_its_input_ends() -> None:
    """The server's address is one line, it answers as long as the input is open, and then the program returns."""
    stdout = io.StringIO()

    class Input(io.StringIO):
        def read(self, _size: int | None = -1) -> str:
            check_groups(EmbeddedAws(stdout.getvalue().strip(), "eu-west-1"))
            return ""

    embedded_aws_process.main(Input(), stdout)

    assert stdout.getvalue().startswith("http://127.0.0.1:")


def check_groups(aws: EmbeddedAws) -> None:
    """Two consumers wait for a FIFO queue at the same time; a message of a group in flight reaches neither."""
    sqs = aws.client("sqs")
    queue = create_queue(sqs, "groups.fifo", FifoQueue="true", VisibilityTimeout="600")
    received: SimpleQueue[list[str]] = SimpleQueue()

    def consume() -> None:
        received.put([message["Body"] for message in queue.receive(1, wait_seconds=3)])

    consumers = [threading.Thread(target=consume) for _ in range(2)]
    for consumer in consumers:
        consumer.start()
    for body in ("a0", "a1"):
        queue.send(body, MessageGroupId="a", MessageDeduplicationId=body)
    for consumer in consumers:
        consumer.join()
    assert sorted([received.get(), received.get()]) == [[], ["a0"]]
    [hidden] = aws.hidden(queue.arn)
    assert hidden.receive_count == 1
    aws.client("dynamodb").list_tables()


def test_a_dead_letter_says_which_queue_it_comes_from(embedded_aws: EmbeddedAws) -> None:
    """What a redrive policy moves carries the ARN of its queue; what is sent to the queue itself does not."""
    sqs = embedded_aws.client("sqs")
    dead = create_queue(sqs, "dead-with-source")
    queue = create_queue(sqs, "source-of-dead", VisibilityTimeout="0", RedrivePolicy=redrive_policy(dead, 1))
    queue.send("moved")
    dead.send("sent")
    assert [one["Body"] for one in queue.receive(1)] == ["moved"]
    assert queue.receive() == []
    sources = {one["Body"]: one["Attributes"].get("DeadLetterQueueSourceArn") for one in dead.receive()}
    assert sources == {"moved": queue.arn, "sent": None}
