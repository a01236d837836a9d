"""Schedules on this machine: what they send, when they fire, and where that goes."""

from __future__ import annotations

import json
import textwrap
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.events import MessageOutcome
from lambda_tasks.local.ledger import Ledger
from lambda_tasks.local.runtime.process import Invocation
from lambda_tasks.local.schedules.firing import Firing, event_of, named
from lambda_tasks.local.schedules.resources import ScheduleResource, filled, schedules
from lambda_tasks.local.schedules.sent import sent_by
from lambda_tasks.local.template.model import read_model

AT = datetime(2026, 11, 21, 3, 0, tzinfo=timezone.utc)
MESSAGE = '{"task_name": "shop.tasks.clean_up", "kwargs": {}}'

TEMPLATE = """
Resources:
  Worker:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: .
      Handler: lambda_tasks.handler.handler
      Events:
        Nightly:
          Type: ScheduleV2
          Properties:
            ScheduleExpression: cron(0 3 * * ? *)
            ScheduleExpressionTimezone: Europe/Berlin
            Input: '{"task_name": "shop.tasks.clean_up", "idempotency_key": "<aws.scheduler.schedule-arn> <aws.scheduler.scheduled-time>", "kwargs": {"id": "<aws.scheduler.execution-id>", "n": <aws.scheduler.attempt-number>}}'
        Old: {Type: Schedule, Properties: {Schedule: rate(5 minutes), Input: '{"task_name": "shop.tasks.tick"}'}}
        Off: {Type: Schedule, Properties: {Schedule: rate(1 minute), Enabled: false, Input: '{"task_name": "shop.tasks.tick"}'}}
        Paused: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 minute), State: DISABLED, Input: '{"task_name": "shop.tasks.tick"}'}}
        Plain: {Type: Schedule, Properties: {Schedule: rate(1 minute)}}
        Uploads:
          Type: EventBridgeRule
          Properties:
            Pattern: {source: [aws.s3]}
            InputTransformer:
              InputPathsMap: {id: $.id, what: "$.detail-type", none: $.detail.none}
              InputTemplate: '{"task_name": "shop.tasks.index", "kwargs": {"what": "a \\"<what>\\"", "rule": <aws.events.rule-name>, "none": <none>}, "idempotency_key": <id>}'
  Queue: {Type: AWS::SQS::Queue}
  Weekly:
    Type: AWS::Scheduler::Schedule
    Properties:
      Name: weekly
      GroupName: shop
      ScheduleExpression: at(2026-11-22T03:00:00)
      Target: {Arn: !GetAtt Queue.Arn, Input: !Sub '{"task_name": "shop.tasks.clean_up", "kwargs": {}}'}
  Call:
    Type: AWS::Scheduler::Schedule
    Properties:
      ScheduleExpression: rate(1 day)
      Target:
        Arn: arn:aws:scheduler:::aws-sdk:sqs:sendMessage
        Input: !Sub '{"QueueUrl": "${Queue}", "MessageBody": "{\\"task_name\\": \\"shop.tasks.tick\\"}"}'
  Rule:
    Type: AWS::Events::Rule
    Properties:
      ScheduleExpression: rate(1 hour)
      Targets: [{Arn: !GetAtt Worker.Arn, InputPath: $.detail}, {Arn: !GetAtt Queue.Arn, Input: '{"task_name": "shop.tasks.tick"}'}, 5]
"""


@pytest.fixture
def found(tmp_path: Path) -> list[ScheduleResource]:
    """The schedules of a template with one of each kind."""
    (tmp_path / "template.yaml").write_text(textwrap.dedent(TEMPLATE))
    return schedules(read_model(tmp_path / "template.yaml", {}, "eu-west-1", "123456789012"))


def sent(schedule: ScheduleResource) -> Any:
    return event_of(sent_by(schedule, AT, "eu-west-1", "123456789012"))


def test_every_kind_is_found_with_its_target(found: list[ScheduleResource]) -> None:
    """SAM's events invoke their function; schedules and rules go to a function, a queue, or a call of SQS."""
    queue = "arn:aws:sqs:eu-west-1:123456789012:Queue"
    assert {(one.place, one.function, one.queue_arn) for one in found} == {
        *((f"Worker.{name}", "Worker", "") for name in ("Nightly", "Old", "Off", "Paused", "Plain", "Uploads")),
        ("Weekly", None, queue),
        ("Call", None, queue),
        ("Rule", "Worker", ""),
        ("Rule", None, queue),
    }
    assert {one.place for one in found if not one.is_enabled} == {"Worker.Off", "Worker.Paused"}
    assert {one.place: one.messages[0]["task_name"] for one in found if one.messages}["Call"] == "shop.tasks.tick"


def test_scheduler_replaces_its_keywords(found: list[ScheduleResource]) -> None:
    """The keywords of an input become the schedule's ARN and time, which two tries share, and what each has of its own."""
    first, second = (sent(named(found, "Nightly")) for _ in range(2))
    arn = "arn:aws:scheduler:eu-west-1:123456789012:schedule/default/WorkerNightly"
    assert first["idempotency_key"] == second["idempotency_key"] == f"{arn} 2026-11-21T03:00:00Z"
    assert (first["kwargs"]["n"], first["kwargs"]["id"] == second["kwargs"]["id"]) == (1, False)


def test_rules_transform_their_event(found: list[ScheduleResource]) -> None:
    """A rule sends its input, a part of its event, what its template makes of that, or the event itself."""
    uploads = sent(named(found, "Worker.Uploads"))
    assert uploads["kwargs"] == {"what": 'a "Scheduled Event"', "rule": "WorkerUploads", "none": ""}
    assert len(uploads["idempotency_key"]) == 36
    assert sent(named(found, "Old")) == {"task_name": "shop.tasks.tick"}
    assert sent(next(one for one in found if one.place == "Rule")) == {}
    plain = sent(named(found, "Plain"))
    assert (plain["time"], plain["detail-type"]) == ("2026-11-21T03:00:00Z", "Scheduled Event")
    assert filled('{"a": "x <b> <c>", "d": <e>}', {"b": '"1"', "c": "2", "e": '{"f": "<g>"}'}) == (
        '{"a": "x 1 2", "d": {"f": "<g>"}}'
    )
    assert [event_of(text) for text in ("words", "null", "[1]")] == ["words", None, [1]]


def test_a_name_is_one_schedule(found: list[ScheduleResource]) -> None:
    """A schedule is named by its place, its name, the name that AWS has, or its task; several are an error that lists them."""
    assert {named(found, name).place for name in ("Nightly", "Worker.Nightly", "WorkerNightly")} == {"Worker.Nightly"}
    assert named(found, "weekly").place == "Weekly"
    assert named(found, "shop.tasks.index").place == "Worker.Uploads"
    with pytest.raises(LocalError, match=r"shop\.tasks\.clean_up names several schedules: name one of them: Worker\."):
        named(found, "shop.tasks.clean_up")
    with pytest.raises(LocalError, match=r"there is no schedule Nothing: the template's schedules: Worker\.Nightly, "):
        named(found, "Nothing")


def fail(error: LocalError) -> None:
    pytest.fail(str(error))


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = AT

    def __call__(self) -> datetime:
        return self.now


def wait_for_idle(firing: Firing) -> None:
    while not firing.is_idle:
        for thread in threading.enumerate():
            if thread.name.startswith("fire-"):
                thread.join()


def test_they_fire_at_their_time(found: list[ScheduleResource]) -> None:
    """What is enabled and sends a message fires at its time, once for several that were missed, and then again."""
    fired: list[tuple[str, datetime]] = []
    clock = Clock()
    firing = Firing(found, lambda one, at: fired.append((one.place, at)), fail, clock)

    def after(**passed: float) -> list[str]:
        fired.clear()
        clock.now += timedelta(**passed)
        firing.fire_due()
        wait_for_idle(firing)
        return sorted(place for place, _ in fired)

    assert sorted(one.place for one in firing.due) == ["Call", "Rule", "Weekly", "Worker.Nightly", "Worker.Old"]
    assert after(minutes=4) == []
    assert after(minutes=1) == ["Worker.Old"]
    assert fired[0][1] == AT + timedelta(minutes=5)
    assert after(minutes=55) == ["Rule", "Worker.Old"]
    assert after(hours=23) == ["Call", "Rule", "Weekly", "Worker.Nightly", "Worker.Old"]
    assert after(hours=24) == ["Call", "Rule", "Worker.Nightly", "Worker.Old"]


def test_a_target_that_fails_ends_the_session(found: list[ScheduleResource]) -> None:
    """What this machine cannot do is told to the session."""
    problems: list[LocalError] = []

    def target(*_: object) -> None:
        raise LocalError("no room")

    firing = Firing(found, target, problems.append, Clock())
    firing.fire(named(found, "Nightly"))
    wait_for_idle(firing)
    assert [one.problem for one in problems] == ["no room"]


def test_another_process_asks_by_a_file(found: list[ScheduleResource], tmp_path: Path) -> None:
    """A name in the folder of requests fires the schedule; one that is not there does nothing."""
    fired, stop = threading.Event(), threading.Event()
    firing = Firing(found, lambda *_: fired.set(), fail, Clock())
    firing.requests = tmp_path
    (tmp_path / "1.name").write_text("Nothing")
    (tmp_path / "2.name").write_text("Worker.Nightly")
    thread = threading.Thread(target=firing.run, args=(stop,))
    thread.start()
    assert fired.wait(60)
    stop.set()
    thread.join()
    assert list(tmp_path.glob("*.name")) == []


def test_how_a_firing_ended_is_a_report() -> None:
    """A firing has the outcome that the dispatcher told, or the function's own; an error counts against the session."""
    ledger = Ledger()
    told = MessageOutcome("r-1", "failed", 1, "shop.tasks.tick", 2.0, "ValueError: no")
    ledger.fired("Worker.Old 03:00:00", Invocation({}, is_error=True, told=told))
    ledger.fired("Worker.Plain 03:00:00", Invocation({"a": 1}, duration_ms=3.0))
    ledger.fired(
        "Worker.Bad 03:00:00", Invocation({"errorType": "E", "errorMessage": "no"}, is_error=True, failed_in_init=True)
    )
    found = [(one.message_id, one.outcome, one.task) for one in ledger.reports()]
    assert found == [
        ("r-1", "failed", "shop.tasks.tick"),
        ("Worker.Plain 03:00:00", "succeeded", None),
        ("Worker.Bad 03:00:00", "failed", None),
    ]
    assert (ledger.function_errors, ledger.init_error) == (["E: no"], "E: no")


@pytest.mark.parametrize("text", ["{", MESSAGE])
def test_events_are_json(text: str) -> None:
    """An input that is no JSON is the event as a text."""
    assert event_of(text) == (text if text == "{" else json.loads(MESSAGE))
