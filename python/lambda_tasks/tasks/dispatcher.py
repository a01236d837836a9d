"""An event to a partial batch response."""

from __future__ import annotations

import math
import os
import threading
import time
from typing import TYPE_CHECKING, Any, cast

import msgspec

from lambda_tasks.errors import InvalidEvent, MessageDeferred
from lambda_tasks.tasks.interrupt import SignalInterrupter
from lambda_tasks.tasks.invocation import Invocation
from lambda_tasks.tasks.job import jobs_of
from lambda_tasks.tasks.outcome import Outcome
from lambda_tasks.tasks.plan import plan
from lambda_tasks.tasks.settlement import Settlement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambda_tasks.tasks.event import LambdaContext, PartialBatchResponse, Record
    from lambda_tasks.tasks.job import Job
    from lambda_tasks.tasks.outcome import Result
    from lambda_tasks.tasks.plan import Lane, Plan
    from lambda_tasks.tasks.worker import Worker


def dispatch(event: object, context: LambdaContext | None, worker: Worker) -> PartialBatchResponse | object:
    """Run what `event` names: every record of an SQS event, or the one message that it is itself.

    Event: ``{"Records": [{"messageId", "body", "attributes", ...}]}``, answered with
    ``{"batchItemFailures": [{"itemIdentifier": "<messageId>"}]}``; or ``{"task_name", "kwargs"}``, answered with what
    the task returned.

    Raises:
        InvalidEvent: it is neither. Nothing was run, and nothing is deleted.

    """
    if isinstance(event, dict) and "Records" in event:
        return dispatch_records(_records(event["Records"]), context, worker)
    if isinstance(event, dict) and "task_name" in event:
        return dispatch_one(event, context, worker)
    raise InvalidEvent(
        f"the event is {_shape(event)}",
        remedy='expected an SQS event {"Records": [...]}, or one message {"task_name": "...", "kwargs": {...}}',
    )


def dispatch_records(records: list[Record], context: LambdaContext | None, worker: Worker) -> PartialBatchResponse:
    """Run each record and list those that SQS must keep."""
    invocation = _begin(records, context, worker)
    jobs = jobs_of(records, worker.settings, invocation.time.tasks_end_at, worker.known)
    invocation.jobs += jobs
    _run(plan(jobs), invocation)
    invocation.settlement.finish()
    return invocation.answer()


def dispatch_one(event: dict[str, Any], context: LambdaContext | None, worker: Worker) -> object:
    """Run the message that `event` is, and return the task's result as JSON types.

    Raises:
        BaseException: what the task raised, so that the invoker sees a function error.
        MessageDeferred: it is not to run now, or it is not certain that its outcome was recorded.

    """
    body = msgspec.json.encode(event).decode()
    record: Record = {"messageId": _request_id(context) or os.urandom(16).hex(), "body": body}
    return _result(_process(record, context, worker))


def process(record: Record, worker: Worker) -> Result:
    """Run one record where it was enqueued, and return its outcome.

    Raises:
        MessageDeferred: it has none.

    """
    job = _process(record, None, worker)
    if job.result is None:
        raise MessageDeferred("the message could not be dispatched", source=f"task {job.task_name}")
    return job.result


def _process(record: Record, context: LambdaContext | None, worker: Worker) -> Job:
    invocation = _begin([record], context, worker)
    (job,) = jobs_of([record], worker.settings, invocation.time.tasks_end_at, worker.known)
    invocation.jobs.append(job)
    _run(plan([job]), invocation)
    invocation.settlement.finish()
    invocation.answer()
    return job


def _begin(records: list[Record], context: LambdaContext | None, worker: Worker) -> Invocation:
    now = time.monotonic()
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    remaining_seconds = remaining() / 1000 if remaining is not None else math.inf
    clock = worker.function_time.start(remaining_seconds, worker.settings.reporting_margin_seconds, now)
    return Invocation(worker, clock, Settlement(worker, clock, _request_id(context)), records)


def _run(order: Plan, invocation: Invocation) -> None:
    """Run what the plan says: the async tasks together, and the ordinary ones, whichever kind comes first."""
    if order.async_first:
        _run_together(order.together, invocation)
    _run_ordinary(order.ordinary, invocation)
    if not order.async_first:
        _run_together(order.together, invocation)


def _run_together(lanes: Sequence[Lane], invocation: Invocation) -> None:
    if lanes:
        from lambda_tasks.tasks import event_loop  # noqa: PLC0415 - asyncio, for functions with async tasks

        event_loop.run_lanes(invocation, lanes)


def _run_ordinary(lanes: Sequence[Lane], invocation: Invocation) -> None:
    concurrency = invocation.worker.settings.concurrency
    if concurrency > 1 and len(lanes) > 1:
        from lambda_tasks.tasks import threads  # noqa: PLC0415 - for functions that ask for them

        threads.run_lanes(invocation, lanes, concurrency)
    elif threading.current_thread() is threading.main_thread():
        with SignalInterrupter(invocation.time.grace_seconds) as interrupter:
            for lane in lanes:
                invocation.run_lane(lane, interrupter)
    else:
        from lambda_tasks.tasks.interrupt_thread import ThreadInterrupter  # noqa: PLC0415 - ctypes, which is rarely needed

        for lane in lanes:
            invocation.run_lane(lane, ThreadInterrupter(invocation.worker.timer))


def _result(job: Job) -> object:
    """Return what the one message's task returned, or raise why there is nothing to return."""
    result = job.result
    if result is not None and job.is_done_with:
        return msgspec.to_builtins(result.value)
    error = result.error if result is not None else None
    if error is not None and result is not None and result.outcome is not Outcome.DEFERRED:
        raise error
    remedy = "invoke the function again: there was no time, or another invocation runs it, or the table did not answer"
    raise MessageDeferred(
        "the message did not run to its end", source=f"task {job.task_name}", remedy=remedy
    ) from error


def _records(records: object) -> list[Record]:
    if not isinstance(records, list):
        raise InvalidEvent("the event's Records are not a list", remedy="expected an SQS event")
    for record in records:
        # Without its id a message cannot be named in the answer: failing the whole batch keeps every message.
        if not isinstance(record, dict) or not isinstance(record.get("messageId"), str) or not record["messageId"]:
            raise InvalidEvent("a record has no messageId", remedy="expected the records of an SQS event")
    return cast("list[Record]", records)


def _request_id(context: LambdaContext | None) -> str:
    request_id = getattr(context, "aws_request_id", "")
    return request_id if isinstance(request_id, str) else ""


def _shape(event: object) -> str:
    if isinstance(event, dict):
        return "an object with the keys " + (", ".join(map(ascii, sorted(map(str, event))[:10])) or "(none)")
    return f"of type {type(event).__name__}"
