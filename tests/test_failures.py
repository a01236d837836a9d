"""Somebody is told of messages that failed or were rejected for good: what, when, and how often."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest

import stores
from catalogue import tasks
from events import Context, message_body, sqs_event, sqs_record
from lambda_tasks import redact_record
from lambda_tasks.aws.transport import CallFailed, Transport
from lambda_tasks.definition import recorded
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.dispatch.worker import Worker
from lambda_tasks.errors import EndedEarlier, InvalidSetting
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.queue import Queue
from lambda_tasks.messages.outcome import Outcome
from lambda_tasks.messages.sqs_event import Record
from lambda_tasks.settings import Settings
from lambda_tasks.telemetry import told_errors
from lambda_tasks.telemetry.failures import channel, event
from lambda_tasks.telemetry.failures.notices import MOST_AT_ONCE, Failed, Notices
from lambda_tasks.telemetry.report import Report
from memory_state import MemoryState
from stores import Clock
from wrapper import base_environ

pytestmark = pytest.mark.usefixtures("nothing_ran")

TOPIC = "arn:aws:sns:eu-west-1:123456789012:failures"
BUS = "arn:aws:events:us-east-1:123456789012:event-bus/failures"
DEAD = "arn:aws:sqs:eu-west-1:123456789012:dead"
FUNCTION = {
    "AWS_LAMBDA_FUNCTION_NAME": "worker",
    "AWS_LAMBDA_FUNCTION_VERSION": "7",
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/worker",
    "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/21/[$LATEST]0123",
    "AWS_REGION": "eu-west-1",
}


class Aws(Transport):
    """A topic, an event bus and queues; `refuses` names the services that do not answer."""

    def __init__(self, refuses: str = "", redrive: str = DEAD) -> None:
        self.refuses, self.redrive = refuses, redrive
        self.calls: list[list[dict[str, Any]]] = []
        self.forms: list[dict[str, str]] = []
        self.deadlines: list[float] = []

    @property
    def told(self) -> list[dict[str, Any]]:
        """The events that were published, in order."""
        return [one for call in self.calls for one in call]

    def call(self, service: str, operation: str, request: Any, *, deadline: float, **_: Any) -> dict[str, Any]:
        if service in self.refuses:
            raise CallFailed("nobody is there", code="AccessDenied")
        if operation == "PutEvents":
            self.deadlines.append(deadline)
            self.calls.append([json.loads(one["Detail"]) for one in request["Entries"]])
            return {"FailedEntryCount": 0}
        if operation == "GetQueueAttributes":
            policy = json.dumps({"deadLetterTargetArn": self.redrive, "maxReceiveCount": 5})
            return {"Attributes": {"RedrivePolicy": policy} if self.redrive else {}}
        return {"MessageId": "1"}

    def send(self, service: str, *arguments: Any, deadline: float, **_: Any) -> bytes:
        self.deadlines.append(deadline)
        if service in self.refuses:
            raise CallFailed("nobody is there")
        form = {name: value for name, (value,) in parse_qs(arguments[2].decode(), strict_parsing=True).items()}
        self.forms.append(form)
        self.calls.append([json.loads(value) for name, value in form.items() if name.endswith(".Message")])
        return b"<PublishBatchResult><Successful/><Failed/></PublishBatchResult>"

    def close(self) -> None: ...


def worker(aws: Aws, state: MemoryState | None = None, **settings: Any) -> Worker:
    configured = Settings(**{"failure_topic_arn": TOPIC, **settings})
    return Worker(configured, {**base_environ(), **FUNCTION}, state=state, transport=aws, most_side_threads=0)


def run(made: Worker, *records: Record) -> list[str]:
    """Dispatch records, and return the ids of those that stay."""
    answer: Any = dispatch(sqs_event(*records), Context(60), made)
    return [one["itemIdentifier"] for one in answer["batchItemFailures"]]


def record_of(task: str, received: int = 1, /, **kwargs: Any) -> Record:
    return sqs_record(message_body(f"catalogue.tasks.{task}", **kwargs), ApproximateReceiveCount=str(received))


@pytest.mark.parametrize("target", [TOPIC, BUS])
def test_a_message_that_failed_is_told_with_all_that_finds_it(target: str) -> None:
    """The event names task, message, error, attempts, function and request, and links to the log stream."""
    aws, failing = Aws(), record_of("fail", 3, number=7)

    assert run(worker(aws, failure_topic_arn=target), record_of("add", number=1), failing) == []

    (told,) = aws.told
    assert abs(time.time() - time.mktime(time.strptime(told.pop("failed_at"), "%Y-%m-%dT%H:%M:%SZ"))) < 2 * 86400
    assert told == {
        "type": "lambda_tasks.failure",
        "version": 1,
        "task": "catalogue.tasks.fail",
        "message_id": failing["messageId"],
        "outcome": "failed",
        "error_type": "ConnectionError",
        "reason": "the other side is down",
        "attempts": 3,
        "receive_count": 3,
        "queue": "queue",
        "correlation_id": failing["messageId"],
        "function": "worker",
        "function_version": "7",
        "region": "eu-west-1",
        "request_id": Context.aws_request_id,
        "log_group": "/aws/lambda/worker",
        "log_stream": "2026/11/21/[$LATEST]0123",
        "logs": "https://eu-west-1.console.aws.amazon.com/cloudwatch/home?region=eu-west-1#logsV2:log-groups/log-group/"
        "$252Faws$252Flambda$252Fworker/log-events/2026$252F11$252F21$252F$255B$2524LATEST$255D0123",
    }


def test_what_is_no_failure_is_not_told() -> None:
    """Successes, retries, deferrals and what is skipped are nobody's concern."""
    aws = Aws()
    run(worker(aws), record_of("add", number=1), record_of("unreliable"))
    assert aws.told == []


def test_a_rejected_message_is_told_without_its_content() -> None:
    """A body that nobody can read, and a name that a sender chose, are told on one line and bounded."""
    aws, name = Aws(), "no.such\n" + "task" * 1000
    run(worker(aws), sqs_record("{"), sqs_record(json.dumps({"task_name": name, "kwargs": {"secret": "hunter2"}})))

    first, second = aws.told
    assert (first["outcome"], first["error_type"], first["attempts"]) == ("rejected", "MalformedMessage", 0)
    assert "task" not in first
    assert len(second["task"]) < 300
    assert "\n" not in second["task"]
    assert "hunter2" not in json.dumps(aws.told)


@pytest.mark.parametrize("has_table", [True, False])
def test_kwargs_are_told_where_records_may_have_them(*, has_table: bool) -> None:
    """They are those of the record, redacted as there; without that setting there are none."""
    for wanted, expected in ((False, None), (True, '{"number":"*"}')):
        aws = Aws()
        redact = redact_record(lambda _, values: dict.fromkeys(values, "*"))
        try:
            run(worker(aws, MemoryState() if has_table else None, record_kwargs=wanted), record_of("fail", number=7))
        finally:
            recorded._redactors.remove(redact)
        assert aws.told[0].get("kwargs") == expected


def test_the_text_of_an_error_is_not_told_where_logs_may_not_have_it() -> None:
    """With LAMBDA_TASKS_LOG_ERRORS=type the reason is the error's type."""
    aws = Aws()
    try:
        run(worker(aws, log_errors="type"), record_of("fail"))
    finally:
        told_errors.choose("full")
    assert aws.told[0]["reason"] == "ConnectionError"


def test_with_a_table_a_message_is_told_once() -> None:
    """Duplicates of a failure tell nothing; one that sends the letter that was missing does, as nobody may have."""
    made = worker(aws := Aws(), MemoryState())
    record = record_of("fail")
    for _ in range(3):
        run(made, record)
    assert [one["message_id"] for one in aws.told] == [record["messageId"]]

    made = worker(aws := Aws(refuses="sqs"), MemoryState())
    assert run(made, record) == [record["messageId"]]
    aws.refuses = ""
    for _ in range(2):
        run(worker(aws, made.state), record)  # type: ignore[arg-type]
    assert [(one["error_type"], one["attempts"]) for one in aws.told] == [("ConnectionError", 1)] * 2


def test_without_a_table_a_message_is_told_when_it_is_gone() -> None:
    """One that could not be sent to the dead-letter queue fails again, until its last delivery."""
    aws = Aws(redrive="no ARN")
    for received in range(1, 6):
        run(worker(aws), record_of("fail", received))
    assert [one["receive_count"] for one in aws.told] == [5]


def test_a_direct_event_that_fails_is_told() -> None:
    """Whoever invoked the function may be a schedule, which tells nobody."""
    aws = Aws()
    with pytest.raises(ConnectionError):
        dispatch({"task_name": "catalogue.tasks.fail", "kwargs": {}}, Context(60), worker(aws))
    assert [one["error_type"] for one in aws.told] == ["ConnectionError"]


def test_an_event_about_failures_that_comes_back_is_not_told() -> None:
    """A topic that sends to the queue of the tasks would go round for ever."""
    aws = Aws()
    run(worker(aws), record_of("fail"))
    (told,) = aws.told
    notification = {"Type": "Notification", "TopicArn": TOPIC, "Message": json.dumps(told), "MessageId": "1"}
    assert run(worker(aws), sqs_record(json.dumps(told)), sqs_record(json.dumps(notification))) == []
    assert aws.told == [told]


@pytest.mark.parametrize("refused", ["sns", "events"])
def test_a_channel_that_does_not_answer_costs_no_message(refused: str, caplog: pytest.LogCaptureFixture) -> None:
    """The messages are settled all the same; the channel is left alone for a while, and hears of them later."""
    made = worker(aws := Aws(refuses=refused), failure_topic_arn=TOPIC if refused == "sns" else BUS)
    assert [run(made, record_of("fail")), run(made, record_of("fail"))] == [[], []]
    assert len([one for one in caplog.records if "could not be told" in one.getMessage()]) == 1
    assert aws.told == []


def test_telling_has_a_time_of_its_own() -> None:
    """Events go out before the invocation is to be answered, and for no longer than a moment."""
    aws, made = Aws(), None
    made = worker(aws)
    context = Context(10)
    before = time.monotonic()
    dispatch(sqs_event(record_of("fail")), context, made)
    (deadline,) = aws.deadlines
    assert deadline <= time.monotonic() + 2
    dispatch(sqs_event(record_of("fail")), Context(1), made)
    assert aws.deadlines[1] < before + 10


def test_a_function_that_tells_nobody_imports_nothing() -> None:
    """Without the setting a function has nothing of it, whatever fails."""
    program = (
        "import sys; from events import Context, message_body, sqs_event, sqs_record; from workers import worker; "
        "from lambda_tasks.dispatch.dispatcher import dispatch; "
        "dispatch(sqs_event(sqs_record(message_body('catalogue.tasks.fail'))), Context(60), worker()); "
        "print([name for name in sys.modules if 'failures' in name or 'occasional' in name])"
    )
    environ = {**base_environ(), "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=60)
    assert printed.stdout.strip() == "[]", printed.stderr


def test_where_a_message_runs_as_it_is_enqueued_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever enqueued it gets the error; no event is sent, though the setting is there."""
    monkeypatch.setenv("LAMBDA_TASKS_MODE", "eager")
    monkeypatch.setenv("LAMBDA_TASKS_FAILURE_TOPIC_ARN", TOPIC)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ConnectionError):
        tasks.fail.enqueue()


# Floods.


def failed(number: int, *, task: str = "shop.tasks.send", is_found: bool = True, error: Any = None) -> Failed:
    report = Report(
        task,
        f"message-{number}",
        Outcome.FAILED,
        1,
        1,
        "correlation",
        0.0,
        error=error or ValueError(str(number)),
        is_found=is_found,
    )
    return Failed(report, {}, has_run=True)


@contextlib.contextmanager
def notices(clock: Callable[[], float], aws: Aws) -> Iterator[Callable[..., None]]:
    made = Notices(TOPIC, FUNCTION, lambda: aws, clock=clock)

    def tell(*some: Failed) -> None:
        made.tell(some, "request", time.monotonic() + 60)

    yield tell


def test_a_flood_is_one_event_with_a_count() -> None:
    """Ten are told one by one; what comes too fast after that is counted by task and error, and told together."""
    clock = Clock()
    with notices(clock, aws := Aws()) as tell:
        tell(*(failed(number) for number in range(MOST_AT_ONCE)))
        assert [len(call) for call in aws.calls] == [MOST_AT_ONCE]
        tell(*(failed(number) for number in range(300)))
        tell(failed(1, task="shop.tasks.pay", error=KeyError("a")))
        assert len(aws.told) == MOST_AT_ONCE  # nothing is left of this minute
        clock.advance(6)
        tell(failed(2, task="whatever a sender likes", is_found=False))

    flood = aws.told[-1]
    assert len(aws.told) == MOST_AT_ONCE + 1
    assert (flood["type"], flood["version"], flood["count"]) == ("lambda_tasks.failures", 1, 302)
    assert flood["kinds"] == [
        {"task": "shop.tasks.send", "error_type": "ValueError", "count": 300},
        {"task": "shop.tasks.pay", "error_type": "KeyError", "count": 1},
        {"task": "(unknown)", "error_type": "ValueError", "count": 1},
    ]
    assert flood["first"]["message_id"] == "message-0"
    assert flood["function"] == "worker"


def test_a_flood_at_once_is_one_event() -> None:
    """More than ten in one invocation are one event, and not ten and one."""
    with notices(Clock(), aws := Aws()) as tell:
        tell(*(failed(number) for number in range(11)))
    assert [one["type"] for one in aws.told] == ["lambda_tasks.failures"]


def test_what_could_not_be_told_is_told_later() -> None:
    """After a channel that did not answer was left alone, the next event counts those before it."""
    clock = Clock()
    with notices(clock, aws := Aws(refuses="sns")) as tell:
        tell(failed(1))
        aws.refuses = ""
        tell(failed(2))
        assert (aws.told, len(aws.deadlines)) == ([], 1)
        clock.advance(31)
        tell()
    assert [one["count"] for one in aws.told] == [2]


def test_an_invocation_without_failures_tells_what_is_left() -> None:
    """What was counted is told at the end of the next invocation that has time for it."""
    made = worker(aws := Aws())
    clock = Clock()
    made.notices = Notices(TOPIC, FUNCTION, lambda: aws, clock=clock)
    run(made, *(record_of("fail") for _ in range(MOST_AT_ONCE)))
    run(made, record_of("fail"))
    assert len(aws.told) == MOST_AT_ONCE
    clock.advance(60)
    run(made, record_of("add", number=1))
    assert aws.told[-1]["count"] == 1
    run(made, record_of("add", number=2))
    assert len(aws.told) == MOST_AT_ONCE + 1


# The wire.


def test_a_batch_keeps_within_what_a_call_takes() -> None:
    """Ten events a call, and fewer where they are large; a FIFO topic gets a group and deduplication ids."""
    aws = Aws()
    large = [{"type": event.ONE, "outcome": "failed", "kwargs": "x" * 30_000} for _ in range(25)]
    channel.send(f"{TOPIC}.fifo", large, aws, time.monotonic() + 1)

    assert sum(map(len, aws.calls)) == 25
    assert max(sum(len(value) for value in form.values()) for form in aws.forms) < 256 * 1024
    assert max(map(len, aws.calls)) <= 10
    entry = "PublishBatchRequestEntries.member.1"
    assert aws.forms[0][f"{entry}.MessageGroupId"] == "lambda-tasks"
    assert len({form[f"{entry}.MessageDeduplicationId"] for form in aws.forms}) == len(aws.forms)


@pytest.mark.parametrize(
    "made",
    [
        {"type": event.ONE, "task": "tâche\n", "outcome": "failed", "error_type": "E" * 200},
        {"type": event.ONE, "outcome": "rejected"},
        {"type": event.MANY, "count": 3},
    ],
)
def test_a_subject_is_one_that_sns_takes(made: dict[str, Any]) -> None:
    """It is a line of up to 100 characters of ASCII, and begins with a letter."""
    subject = event.subject(made)
    assert 0 < len(subject) <= 100
    assert subject.isascii()
    assert subject.isprintable()


def test_an_earlier_failure_is_told_by_its_own_type() -> None:
    """The error of a record has the type that it had."""
    with notices(Clock(), aws := Aws()) as tell:
        tell(failed(1, error=EndedEarlier("PaymentRefused", "no money")))
    assert (aws.told[0]["error_type"], aws.told[0]["reason"]) == ("PaymentRefused", "no money")


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("cn-north-1", "cn-north-1.console.amazonaws.cn"),
        ("us-gov-west-1", "console.amazonaws-us-gov.com"),
        ("eu-west-1", "eu-west-1.console.aws.amazon.com"),
    ],
)
def test_the_link_leads_to_the_partitions_own_console(region: str, host: str) -> None:
    """Each partition has a console of its own; without a log stream there is no link."""
    made = event.of_message(failed(1).report, {}, {**FUNCTION, "AWS_REGION": region}, "request", has_run=True)
    assert made["logs"].startswith(f"https://{host}/cloudwatch/home?region={region}#logsV2:")
    assert "logs" not in event.of_message(failed(1).report, {}, {}, "", has_run=True)


@pytest.mark.parametrize(
    "value",
    ["failures", "arn:aws:sqs:eu-west-1:123456789012:failures", "arn:aws:sns:eu-west-1:123456789012:", f"{TOPIC}:more"],
)
def test_a_target_that_is_neither_topic_nor_bus_is_an_error(value: str) -> None:
    """The error says what an ARN of either looks like."""
    with pytest.raises(InvalidSetting, match=r"LAMBDA_TASKS_FAILURE_TOPIC_ARN.*arn:aws:sns:<region>"):
        Settings.from_environ({"LAMBDA_TASKS_FAILURE_TOPIC_ARN": value})
    assert Settings.from_environ({"LAMBDA_TASKS_FAILURE_TOPIC_ARN": ""}).failure_topic_arn is None
    for good in (TOPIC, f"{TOPIC}.fifo", BUS):
        assert Settings.from_environ({"LAMBDA_TASKS_FAILURE_TOPIC_ARN": good}).failure_topic_arn == good


def test_a_topic_and_an_event_bus_of_aws_take_the_events(
    embedded_aws: EmbeddedAws, make_queue: Callable[..., Queue]
) -> None:
    """What is sent arrives where the topic's subscribers are, and an event bus has nothing against it."""
    queue = make_queue()
    sns = embedded_aws.client("sns")
    topic_arn = sns.create_topic(Name="failures")["TopicArn"]
    attributes = {"RawMessageDelivery": "true"}
    sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=queue.arn, Attributes=attributes)
    bus_arn = embedded_aws.client("events").create_event_bus(Name="failures")["EventBusArn"]
    some = [{"type": event.ONE, "task": f"é & <{number}>", "outcome": "failed"} for number in range(3)]

    with stores.transport(embedded_aws.environ()) as transport:
        for arn in (topic_arn, bus_arn):
            channel.send(arn, some, transport, time.monotonic() + 20)

    received = [json.loads(one["Body"]) for one in queue.receive()]
    assert sorted(one["task"] for one in received) == [one["task"] for one in some]
