"""Messages for later than SQS can delay them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from catalogue import tasks
from fault_server import answer, serve
from lambda_tasks.enqueue import schedule
from lambda_tasks.errors import EnqueueFailed, InvalidSetting, InvalidTask
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.queue import Queue
from lambda_tasks.messages.attributes import ATTRIBUTE

ROLE = "arn:aws:iam::123456789012:role/scheduler"
TOMORROW = (datetime.now(timezone.utc) + timedelta(days=1)).replace(microsecond=400)


@pytest.fixture(autouse=True)
def _role(monkeypatch: pytest.MonkeyPatch, default_queue: Queue) -> None:
    assert default_queue.url
    monkeypatch.setenv("LAMBDA_TASKS_SCHEDULER_ROLE_ARN", ROLE)


def made(producer: EmbeddedAws, arn: str) -> dict[str, Any]:
    return dict(producer.client("scheduler").get_schedule(Name=arn.rpartition("/")[2]))


def test_a_time_far_away_is_a_schedule_that_deletes_itself(producer: EmbeddedAws, default_queue: Queue) -> None:
    """The schedule runs once, not before the time, sends the body to the queue, and is then deleted."""
    arn = tasks.add.options(at=TOMORROW).enqueue(number=1)

    found = made(producer, arn)
    expected = (TOMORROW + timedelta(seconds=1)).strftime("at(%Y-%m-%dT%H:%M:%S)")
    assert (found["ScheduleExpression"], found["ScheduleExpressionTimezone"]) == (expected, "UTC")
    assert (found["ActionAfterCompletion"], found["FlexibleTimeWindow"]) == ("DELETE", {"Mode": "OFF"})
    assert (found["Target"]["Arn"], found["Target"]["RoleArn"]) == (default_queue.arn, ROLE)
    assert json.loads(found["Target"]["Input"])["kwargs"] == {"number": 1}
    assert default_queue.depth() == 0


def test_the_time_zone_counts(producer: EmbeddedAws) -> None:
    """A time in another zone is the same moment."""
    there = TOMORROW.astimezone(timezone(timedelta(hours=-5)))
    found = [made(producer, tasks.add.options(at=at).enqueue(number=1)) for at in (TOMORROW, there)]
    assert found[0]["ScheduleExpression"] == found[1]["ScheduleExpression"]


def test_a_group_goes_to_the_queue(
    producer: EmbeddedAws, make_queue: Callable[..., Queue], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A FIFO queue has no delay for one message, so that any time to come is a schedule, with the group."""
    fifo = make_queue(FifoQueue="true", ContentBasedDeduplication="true")
    monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL", fifo.url)
    soon = datetime.now(timezone.utc) + timedelta(minutes=5)

    found = made(producer, tasks.add.options(at=soon, group="a").enqueue(number=1))

    assert found["Target"]["SqsParameters"] == {"MessageGroupId": "a"}
    assert found["Target"]["Arn"] == fifo.arn


def test_what_a_queue_as_target_cannot_take_is_a_call_of_sqs(producer: EmbeddedAws, default_queue: Queue) -> None:
    """Context travels in attributes also when it waits: the schedule then calls SendMessage itself."""
    found = made(producer, tasks.add.options(at=TOMORROW, context={"tenant": "acme"}).enqueue(number=1))

    assert found["Target"]["Arn"] == "arn:aws:scheduler:::aws-sdk:sqs:sendMessage"
    call = json.loads(found["Target"]["Input"])
    assert call["QueueUrl"] == default_queue.url
    assert json.loads(call["MessageBody"])["task_name"] == "catalogue.tasks.add"
    assert json.loads(call["MessageAttributes"][ATTRIBUTE]["StringValue"]) == {"tenant": "acme"}


@pytest.mark.parametrize("options", [{}, {"context": {"note": "<aws.scheduler.schedule-arn>"}}])
def test_nothing_of_a_message_is_replaced(producer: EmbeddedAws, options: dict[str, Any]) -> None:
    """Scheduler replaces its keywords in a target's input: those among kwargs and context are none of them."""
    text = "<aws.scheduler.execution-id> <aws.scheduler.attempt-number> <b> \\<aws."
    found = made(producer, tasks.note.options(at=TOMORROW, **options).enqueue(text=text))
    assert "<aws." not in found["Target"]["Input"]
    call = json.loads(found["Target"]["Input"])
    body = json.loads(call["MessageBody"]) if options else call
    assert body["kwargs"] == {"text": text}
    if options:
        assert json.loads(call["MessageAttributes"][ATTRIBUTE]["StringValue"]) == options["context"]


@pytest.mark.parametrize("name", ["dead", "dead.fifo", None])
def test_what_a_schedule_cannot_send_goes_to_the_dead_letter_queue(
    producer: EmbeddedAws, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    """A schedule tries for a day, and then leaves its message in the dead-letter queue, unless that is FIFO."""
    if name:
        url = f"https://sqs.eu-west-1.amazonaws.com/123456789012/{name}"
        monkeypatch.setenv("LAMBDA_TASKS_DEAD_LETTER_QUEUE_URL", url)
    target = made(producer, tasks.add.options(at=TOMORROW).enqueue(number=1))["Target"]
    assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
    expected = {"Arn": "arn:aws:sqs:eu-west-1:123456789012:dead"} if name == "dead" else None
    assert target.get("DeadLetterConfig") == expected


def test_the_end_of_time_is_a_time(producer: EmbeddedAws) -> None:
    """The last second that a schedule can name is taken; a later one is an error where it is given."""
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone.utc)
    found = made(producer, tasks.add.options(at=last).enqueue(number=1))
    assert found["ScheduleExpression"] == "at(9999-12-31T23:59:59)"
    for later in (last.replace(microsecond=500_000), last.replace(tzinfo=timezone(timedelta(hours=-14)))):
        with pytest.raises(InvalidTask, match="use a time before the end of the year 9999"):
            tasks.add.options(at=later)


def test_a_schedule_that_would_be_past_is_put_off() -> None:
    """A time within the scheduler's precision would be past when the request arrives."""
    at = datetime.fromtimestamp(1_790_000_000.5, timezone.utc)
    assert schedule.expression(at, 1_790_000_000.2) == "at(2026-09-21T14:14:21)"
    assert schedule.expression(at, 1_780_000_000) == "at(2026-09-21T14:13:21)"
    assert schedule.expression(datetime.max.replace(tzinfo=timezone.utc), 0) == "at(9999-12-31T23:59:59)"


def test_many_for_later_are_a_schedule_each(producer: EmbeddedAws) -> None:
    """There is no batch of schedules; the result names each one."""
    enqueued = tasks.add.options(at=TOMORROW).enqueue_many([{"number": 1}, {"number": 2}])
    assert [made(producer, str(entry.message_id))["State"] for entry in enqueued] == ["ENABLED", "ENABLED"]


def test_without_a_role_the_error_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A schedule needs a role; nothing is sent without one."""
    monkeypatch.delenv("LAMBDA_TASKS_SCHEDULER_ROLE_ARN")
    with pytest.raises(InvalidSetting, match=r"a schedule needs a role \(variable LAMBDA_TASKS_SCHEDULER_ROLE_ARN\)"):
        tasks.add.options(at=TOMORROW).enqueue(number=1)


@pytest.mark.usefixtures("producer")
def test_a_scheduler_that_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no schedule could be made the error says what to check."""
    refusal = answer(
        b'{"Message": "the role cannot be assumed"}', "x-amzn-errortype: ValidationException", status="400 No"
    )
    with serve(refusal) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SCHEDULER", server.url)
        with pytest.raises(EnqueueFailed, match=r"ValidationException .*scheduler:CreateSchedule and iam:PassRole"):
            tasks.add.options(at=TOMORROW).enqueue(number=1)
        assert server.heads[0].startswith(b"POST /schedules/lambda-tasks-")
