"""An event to a partial batch response."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

import msgspec

from lambda_tasks.errors import InvalidEvent
from lambda_tasks.tasks.event import attribute
from lambda_tasks.tasks.execution import Outcome, Result, execute
from lambda_tasks.tasks.telemetry import log_result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lambda_tasks.settings import Settings
    from lambda_tasks.tasks.event import LambdaContext, PartialBatchResponse, Record


def dispatch(event: object, context: LambdaContext, settings: Settings) -> PartialBatchResponse | object:
    """Run what `event` names: every record of an SQS event, or the one message that it is itself.

    Event: ``{"Records": [{"messageId", "body", "attributes", ...}]}``, answered with
    ``{"batchItemFailures": [{"itemIdentifier": "<messageId>"}]}``; or ``{"task_name", "kwargs"}``, answered with what
    the task returned.

    Raises:
        InvalidEvent: it is neither. Nothing was run, and nothing is deleted.

    """
    if isinstance(event, dict) and "Records" in event:
        return dispatch_records(_records(event["Records"]), settings)
    if isinstance(event, dict) and "task_name" in event:
        return dispatch_one(event, context, settings)
    raise InvalidEvent(
        f"the event is {_shape(event)}",
        remedy='expected an SQS event {"Records": [...]}, or one message {"task_name": "...", "kwargs": {...}}',
    )


def dispatch_records(records: Iterable[Record], settings: Settings) -> PartialBatchResponse:
    """Run each record and list those that SQS must keep."""
    failures = []
    unfinished_groups = set()
    for record in records:
        group = _fifo_group(record)
        if group is not None and group in unfinished_groups:
            result = Result(Outcome.DEFERRED)
        else:
            result = execute(record.get("body"), settings)
        log_result(record, result)
        if not result.outcome.deletes_message:
            failures.append(record["messageId"])
            unfinished_groups.add(group)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failures]}


def dispatch_one(event: dict[str, Any], context: LambdaContext, settings: Settings) -> object:
    """Run the message that `event` is, and return the task's result as JSON types.

    Raises:
        BaseException: what the task raised, so that the invoker sees a function error.

    """
    result = execute(msgspec.json.encode(event), settings)
    log_result({"messageId": getattr(context, "aws_request_id", "")}, result)
    if result.error is not None and result.outcome is not Outcome.SUCCEEDED:
        raise result.error
    return msgspec.to_builtins(result.value)


def import_modules(settings: Settings) -> None:
    """Import what ``LAMBDA_TASKS_MODULES`` names in full, so that the init phase pays for it and not a message."""
    for module in settings.modules_named_in_full:
        importlib.import_module(module)


def _records(records: object) -> list[Record]:
    if not isinstance(records, list):
        raise InvalidEvent("the event's Records are not a list", remedy="expected an SQS event")
    for record in records:
        # Without its id a message cannot be named in the answer: failing the whole batch keeps every message.
        if not isinstance(record, dict) or not isinstance(record.get("messageId"), str) or not record["messageId"]:
            raise InvalidEvent("a record has no messageId", remedy="expected the records of an SQS event")
    return cast("list[Record]", records)


def _fifo_group(record: Record) -> str | None:
    """Return the message group where order counts: on a FIFO queue (a standard queue's groups are for fairness)."""
    return attribute(record, "MessageGroupId") if attribute(record, "SequenceNumber") else None


def _shape(event: object) -> str:
    if isinstance(event, dict):
        return "an object with the keys " + (", ".join(map(ascii, sorted(map(str, event))[:10])) or "(none)")
    return f"of type {type(event).__name__}"
