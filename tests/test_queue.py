"""Enqueueing one message, against an SQS server, by boto3 and by our own transport."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

import lambda_tasks
from catalogue import tasks
from events import sqs_record
from fault_server import answer, hang, serve
from lambda_tasks.aws import calls as aws_calls
from lambda_tasks.aws.boto3_calls import Boto3Calls
from lambda_tasks.aws.queue_address import QueueAddress
from lambda_tasks.aws.transport import CallFailed
from lambda_tasks.enqueue import outgoing
from lambda_tasks.enqueue.message_options import MessageOptions
from lambda_tasks.errors import EnqueueFailed, InvalidSetting, InvalidTask
from lambda_tasks.local.queue import Queue
from lambda_tasks.messages.attributes import ATTRIBUTE
from lambda_tasks.settings import Settings
from workers import Dispatched, worker

MakeQueue = Callable[..., Queue]


def fifo(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch, **attributes: str) -> Queue:
    made = make_queue(FifoQueue="true", **attributes)
    monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL", made.url)
    return made


def delayed(made: Queue) -> list[str]:
    """Count what is visible in a queue, and what is delayed."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"]
    attributes = made.client.get_queue_attributes(QueueUrl=made.url, AttributeNames=names)["Attributes"]
    return [attributes[name] for name in names]


def test_a_task_becomes_a_message(default_queue: Queue) -> None:
    """Enqueueing sends the wire format to the default queue and returns the message id."""
    message_id = tasks.add.enqueue(number=1)
    (received,) = default_queue.receive()
    assert received["MessageId"] == message_id
    assert json.loads(received["Body"]) == {"task_name": "catalogue.tasks.add", "kwargs": {"number": 1}, "n_retries": 0}
    assert "MessageAttributes" not in received


@pytest.mark.usefixtures("producer")
def test_a_delay_and_another_queue_are_options(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delayed message is not there yet; a named queue has its own variable."""
    made = make_queue()
    monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL_MAIL", made.url)
    tasks.add.options(delay=60, queue="mail").enqueue(number=1)
    assert delayed(made) == ["0", "1"]


def test_a_fair_queue_gets_the_group(default_queue: Queue) -> None:
    """On a standard queue the group is the tenant that a fair queue goes by."""
    tasks.add.options(group="tenant-1").enqueue(number=1)
    (received,) = default_queue.receive()
    assert received["Attributes"]["MessageGroupId"] == "tenant-1"


@pytest.mark.usefixtures("producer")
def test_a_fifo_queue_gets_group_and_deduplication_id(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a FIFO queue one deduplication ID is one message, however often it is enqueued."""
    made = fifo(make_queue, monkeypatch)
    ordered = tasks.add.options(group="order-42", deduplication_id="1")
    ordered.enqueue(number=1)
    ordered.enqueue(number=1)
    (received,) = made.receive()
    attributes = received["Attributes"]
    assert (attributes["MessageGroupId"], attributes["MessageDeduplicationId"]) == ("order-42", "1")


@pytest.mark.usefixtures("producer")
def test_a_fifo_queue_refuses_what_it_cannot_do(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a group, with a delay, or without deduplication, nothing is sent, and the error says what to do."""
    made = fifo(make_queue, monkeypatch)
    with pytest.raises(InvalidTask, match=r'a FIFO queue needs a group .*: use options\(group="\.\.\."\)'):
        tasks.add.enqueue(number=1)
    with pytest.raises(InvalidTask, match=r"takes no delay of a single message .*: set the queue's own DelaySeconds"):
        tasks.add.options(group="a", delay=1).enqueue(number=1)
    with pytest.raises(EnqueueFailed, match=r"options\(deduplication_id=\.\.\.\) or the queue's content-based"):
        tasks.add.options(group="a").enqueue(number=1)
    assert made.depth() == 0


def test_a_time_within_fifteen_minutes_is_a_delay(default_queue: Queue) -> None:
    """A time that SQS can wait for is a delay; one that has passed is none."""
    soon = datetime.now(timezone.utc) + timedelta(minutes=10)
    tasks.add.options(at=soon).enqueue(number=1)
    assert delayed(default_queue) == ["0", "1"]
    tasks.add.options(at=soon - timedelta(hours=1)).enqueue(number=2)
    assert delayed(default_queue) == ["1", "1"]


def test_context_travels_in_attributes(default_queue: Queue) -> None:
    """The context of the options is added to the bound values, and travels beside the body."""
    with lambda_tasks.context.bind(tenant="acme", user="ann"):
        tasks.add.options(context={"user": "bob", "correlation_id": "c-1"}).enqueue(number=1)
    (received,) = default_queue.receive()
    carried = json.loads(received["MessageAttributes"][ATTRIBUTE]["StringValue"])
    assert carried == {"tenant": "acme", "user": "bob", "correlation_id": "c-1"}
    assert "acme" not in received["Body"]


def test_characters_that_sqs_refuses_are_escaped(default_queue: Queue) -> None:
    """Text with characters that JSON may hold and SQS may not arrives as it was."""
    text = "a\ufffe\uffff\x00\u2028é😀"
    tasks.note.enqueue(text=text)
    (received,) = default_queue.receive()
    assert "\ufffe" not in received["Body"]
    assert "\uffff" not in received["Body"]
    assert json.loads(received["Body"])["kwargs"] == {"text": text}


@pytest.mark.usefixtures("calls_of_its_own")
def test_a_queue_without_url_is_an_error() -> None:
    """Without the queue's variable nothing is sent, and the error names it."""
    with pytest.raises(InvalidSetting, match=r"'default' has no URL \(variable LAMBDA_TASKS_QUEUE_URL\)"):
        tasks.add.enqueue(number=1)
    with pytest.raises(InvalidSetting, match=r"'mail' has no URL \(variable LAMBDA_TASKS_QUEUE_URL_MAIL\)"):
        tasks.add.options(queue="mail").enqueue_many([])


@pytest.mark.usefixtures("calls_of_its_own")
@pytest.mark.parametrize("inside_lambda", [True, False])
def test_a_message_that_sqs_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch, *, inside_lambda: bool) -> None:
    """If SQS does not take the message the error names the queue and what to check."""
    refusal = json.dumps({"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no such queue"}).encode()
    with serve(answer(refusal, status="400 Bad Request")) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
        monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/123456789012/q")
        if inside_lambda:
            monkeypatch.setenv("AWS_EXECUTION_ENV", "AWS_Lambda_python3.13")
        with pytest.raises(EnqueueFailed) as caught:
            tasks.add.enqueue(number=1)
        aws_calls.transport().close()
    who = f"127.0.0.1:{server.port}" if inside_lambda else "sqs"
    assert str(caught.value) == (
        f"{who} answered 400 QueueDoesNotExist "
        "(queue https://sqs.eu-central-1.amazonaws.com/123456789012/q): "
        "check the queue's URL, the role's sqs:SendMessage and the network"
    )
    assert b"/eu-central-1/sqs/aws4_request" in server.heads[0]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"}, True),
        ({"AWS_EXECUTION_ENV": "AWS_Lambda_python3.13"}, True),
        ({"AWS_EXECUTION_ENV": "AWS_ECS_FARGATE"}, False),
    ],
)
def test_a_function_is_told_from_a_container(environ: dict[str, str], *, expected: bool) -> None:
    """Only on Lambda are the credentials in the environment for certain."""
    assert aws_calls.is_lambda(environ) is expected


def producing(monkeypatch: pytest.MonkeyPatch, endpoint: str, *, inside_lambda: bool, **variables: str) -> None:
    """Make this process a producer of SQS at `endpoint`, by boto3 or by our own transport."""
    environ = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
        "LAMBDA_TASKS_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/q",
        **({"AWS_EXECUTION_ENV": "AWS_Lambda_python3.13"} if inside_lambda else {}),
        **variables,
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("calls_of_its_own")
@pytest.mark.parametrize("inside_lambda", [True, False])
@pytest.mark.parametrize(
    ("status", "content", "said"),
    [
        ("200 OK", {}, "SQS did not say whether it took the message"),
        ("200 OK", {"MessageId": None}, "SQS did not say whether it took the message"),
        (
            "400 No",
            {"__type": "com.amazonaws.sqs#AccessDenied"},
            "kms:GenerateDataKey and kms:Decrypt on the key of an",
        ),
        (
            "400 No",
            {"__type": "com.amazonaws.sqs#KmsDisabled"},
            "allow the role kms:GenerateDataKey and kms:Decrypt on",
        ),
    ],
)
def test_every_answer_without_an_id_is_an_error(
    monkeypatch: pytest.MonkeyPatch, status: str, content: dict[str, Any], said: str, *, inside_lambda: bool
) -> None:
    """A message counts as sent where SQS gave its id. A refusal that may be about a key says so."""
    with serve(answer(json.dumps(content).encode(), status=status)) as server:
        producing(monkeypatch, server.url, inside_lambda=inside_lambda)
        with pytest.raises(EnqueueFailed, match=said):
            tasks.add.enqueue(number=1)
        aws_calls.transport().close()


@pytest.mark.usefixtures("calls_of_its_own")
@pytest.mark.parametrize("inside_lambda", [True, False])
def test_an_endpoint_that_is_no_address_is_an_error(monkeypatch: pytest.MonkeyPatch, *, inside_lambda: bool) -> None:
    """Both ways to AWS name the variable with the endpoint that cannot be used."""
    producing(monkeypatch, "not an endpoint", inside_lambda=inside_lambda)
    with pytest.raises(InvalidSetting, match=r"the endpoint is not usable \(variable AWS_ENDPOINT_URL\)"):
        tasks.add.enqueue(number=1)


@pytest.mark.usefixtures("calls_of_its_own")
def test_a_profile_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What boto3 finds wrong with its configuration is an error of ours, with what to correct."""
    producing(monkeypatch, "http://127.0.0.1:9", inside_lambda=False, AWS_PROFILE="nobody")
    with pytest.raises(EnqueueFailed, match=r"\(nobody\) could not be found .*: correct AWS_PROFILE, AWS_REGION"):
        tasks.add.enqueue(number=1)


@pytest.mark.usefixtures("calls_of_its_own")
def test_boto3_gives_up_as_our_own_calls_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer is given up within the time of one call; one that recovers is asked again."""
    stop = threading.Event()
    queue = QueueAddress.of_url("https://sqs.eu-central-1.amazonaws.com/123456789012/q", {})
    good = answer(json.dumps({"MessageId": "id"}).encode())
    with serve(hang(stop)) as silent, serve(answer(b"{}", status="503 Later"), good) as recovering:
        producing(monkeypatch, silent.url, inside_lambda=False)
        try:
            with pytest.raises(CallFailed, match=r"(?i)timeout"):
                Boto3Calls(call_seconds=0.9).sqs("SendMessage", queue, {"MessageBody": "{}"})
        finally:
            stop.set()
        assert len(silent.heads) <= 3
        monkeypatch.setenv("AWS_ENDPOINT_URL", recovering.url)
        calls = Boto3Calls()
        assert calls.sqs("SendMessage", queue, {"MessageBody": "{}"})["MessageId"] == "id"
    (client,) = calls._clients.values()
    config = client.meta.config
    assert (config.read_timeout, config.connect_timeout, config.retries["total_max_attempts"]) == (10 / 3, 10 / 3, 1)


def test_no_delay_overrides_that_of_the_queue(default_queue: Queue) -> None:
    """A delay of 0 is one, and a time that has come too; without any the queue's own counts."""
    client = default_queue.client
    client.set_queue_attributes(QueueUrl=default_queue.url, Attributes={"DelaySeconds": "600"})
    tasks.add.enqueue(number=1)
    assert delayed(default_queue) == ["0", "1"]
    tasks.add.options(delay=0).enqueue(number=2)
    assert delayed(default_queue) == ["1", "1"]
    tasks.add.options(at=datetime.now(timezone.utc)).enqueue(number=3)
    assert delayed(default_queue) == ["2", "1"]
    assert tasks.add.options(delay=0).options(group="a").definition.has_delay
    assert not tasks.add.options(queue="mail").definition.has_delay


def test_a_fifo_queue_has_no_delay_to_override() -> None:
    """A FIFO queue refuses every delay of a single message, so that none is sent to it."""
    fifo_queue = QueueAddress.of_url("https://sqs.eu-west-1.amazonaws.com/1/q.fifo", {})
    message = outgoing.make(tasks.add.definition.with_options({"delay": 0}), MessageOptions(group="a"), {"number": 1})
    assert "DelaySeconds" not in message.request(fifo_queue)


def test_parameters_may_have_any_name(default_queue: Queue) -> None:
    """Names that methods have for their own parameters are kwargs of a task's as any others."""
    kwargs = {"self": 1, "args": 2, "kwargs": 3, "function": 4, "call": 5, "definition": 6}
    tasks.take_names.enqueue(**kwargs)
    (received,) = default_queue.receive()
    assert json.loads(received["Body"])["kwargs"] == kwargs
    record = sqs_record(received["Body"])
    for settings in (Settings(), Settings(concurrency=2)):
        assert Dispatched(worker(settings), record).outcomes == ["succeeded"]
    assert tasks.take_names(**kwargs) == list(kwargs.values())


SENDING_ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"group": ""}, "group is ''.*: use a text of 1 to 128 ASCII letters"),
    ({"group": "é"}, "group is 'é'.*: use a text of 1 to 128 ASCII letters"),
    ({"deduplication_id": "a b"}, "deduplication_id is 'a b'.*: use a text of 1 to 128 ASCII letters"),
    ({"deduplication_id": 7}, "deduplication_id is 7.*: use a text of 1 to 128 ASCII letters"),
    ({"context": [1]}, "context is of type list .*: use a mapping"),
    ({"context": {1: 2}}, "context is of type dict .*: use a mapping"),
    ({"at": 1790000000}, "at is 1790000000 .*: use a datetime with a time zone"),
    ({"at": datetime(2026, 1, 1)}, "at is 2026-01-01T00:00:00, without a time zone"),
    ({"grou": "a"}, "there is no option grou"),
    ({"delay": 901}, "delay is 901 s"),
]


@pytest.mark.parametrize(("options", "message"), SENDING_ERRORS)
def test_bad_options_of_a_message_fail_at_once(options: dict[str, Any], message: str) -> None:
    """An option that SQS could not take is an error where it is given."""
    with pytest.raises(InvalidTask, match=message):
        tasks.add.options(**options)


def test_delay_and_time_exclude_each_other() -> None:
    """A message has a delay or a time, not both."""
    both = tasks.add.options(delay=1, at=datetime.now(timezone.utc))
    with pytest.raises(InvalidTask, match="there is a delay and a time"):
        both.enqueue(number=1)


def test_options_of_messages_are_no_options_of_tasks() -> None:
    """An option of one message is no option where the task is defined."""
    with pytest.raises(InvalidTask, match="there is no option group"):
        lambda_tasks.task(group="a")(tasks.undecorated)  # type: ignore[call-overload]


def test_options_keep_what_was_given_before() -> None:
    """Options add up, and none of them changes the task itself."""
    changed = tasks.add.options(group="a").options(queue="mail").options(deduplication_id="b")
    assert (changed.message_options.group, changed.message_options.deduplication_id, changed.configuration.queue) == (
        "a",
        "b",
        "mail",
    )
    assert tasks.add.message_options.group is None
    assert changed.options(group=None).message_options.group is None
    assert "acme" not in repr(tasks.add.options(context={"tenant": "acme"}).message_options)
