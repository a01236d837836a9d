"""An event to its answer: a partial batch response, or the result of the one message that the event is."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from typing import TYPE_CHECKING, Any, cast

import msgspec

from lambda_tasks.dispatch import lanes, rescue
from lambda_tasks.dispatch.admission import await_early, take_early
from lambda_tasks.dispatch.delivery import deliver
from lambda_tasks.dispatch.invocation import Invocation, request_id_of
from lambda_tasks.dispatch.plan import plan
from lambda_tasks.dispatch.worker import Worker
from lambda_tasks.errors import InvalidEvent, MessageDeferred
from lambda_tasks.messages.outcome import Outcome
from lambda_tasks.telemetry import log_context, told_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lambda_tasks.dispatch.job import Job
    from lambda_tasks.dispatch.plan import Plan
    from lambda_tasks.messages.outcome import Result
    from lambda_tasks.messages.sqs_event import LambdaContext, PartialBatchResponse, Record
    from lambda_tasks.settings import Settings
    from lambda_tasks.state.memory import Memory

logger = logging.getLogger("lambda_tasks")

MAX_RESPONSE_BYTES = 6 * 1024 * 1024  # https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html


def dispatch(event: object, context: LambdaContext | None, worker: Worker) -> PartialBatchResponse | object:
    """Run what `event` names: every record of an SQS event, or the one message that it is itself.

    Event: ``{"Records": [{"messageId", "body", "attributes", ...}]}``, answered with
    ``{"batchItemFailures": [{"itemIdentifier": "<messageId>"}]}``; or ``{"task_name", "kwargs"}``, with context and
    options as `lambda_tasks.messages.direct_event` has them, answered with what the task returned.

    Raises:
        InvalidEvent: it is neither. Nothing was run, and nothing is deleted.

    """
    if isinstance(event, dict) and "Records" in event:
        return _run(_records(event["Records"]), context, worker).response()
    if isinstance(event, dict) and "task_name" in event:
        return dispatch_one(event, context, worker)
    raise InvalidEvent(
        f"the event is {_shape(event)}",
        remedy='expected an SQS event {"Records": [...]}, or one message {"task_name": "...", "kwargs": {...}}',
    )


def dispatch_one(event: dict[str, Any], context: LambdaContext | None, worker: Worker) -> object:
    """Run the message that `event` is, and return the task's result as JSON types; None where it has no such form.

    The event may have ``context``, ``messageAttributes`` and ``idempotency_key`` beside the message.

    Raises:
        InvalidEvent: one of these is not of its type. Nothing was run.
        BaseException: what the task raised, so that the invoker sees a function error; without its text where
            ``LAMBDA_TASKS_LOG_ERRORS`` is ``type``, since the runtime logs it.
        MessageDeferred: it is not to run now, or it is not certain that its outcome was recorded.

    """
    from lambda_tasks.messages.direct_event import record_of  # noqa: PLC0415 - most events are SQS's

    record = record_of(event, request_id_of(context) or os.urandom(16).hex())
    (job,) = _run([record], context, worker).jobs
    return _result(job)


def process_here(record: Record, settings: Settings, keys: Memory | None = None) -> Result:
    """Run one record in this process, as the dispatcher does on Lambda, and return its outcome.

    Without a table `keys` has the keys of the messages that ran before. Whatever the process is configured for, nothing
    of this message goes to a dead-letter queue, or to a topic.

    Raises:
        MessageDeferred: it has none.

    """
    with processing_here(settings, keys) as process:
        (result,) = process([record])
    if result is None:
        raise MessageDeferred("the message could not be dispatched", source=f"message {record['messageId']}")
    return result


@contextlib.contextmanager
def processing_here(
    settings: Settings, keys: Memory | None = None
) -> Iterator[Callable[[list[Record]], list[Result | None]]]:
    """Give a function that runs the records of a batch in this process, as `process_here` does one.

    It returns their outcomes in order, and None for one that has none.
    """
    worker = Worker.of_process(settings.replace(dead_letter_queue_url=None, failure_topic_arn=None))
    worker.memory_keys, worker.runs_here = keys, True
    with contextlib.closing(worker):
        yield lambda records: [job.result for job in _run(records, None, worker).jobs]


def _run(records: list[Record], context: LambdaContext | None, worker: Worker) -> Invocation:
    invocation = Invocation(worker, records, context, rescue.rescue)
    run(invocation)
    return invocation


def run(invocation: Invocation) -> None:
    """Take the records of an invocation the whole way. Where the runtime has to be started anew, end this process."""
    worker = invocation.worker
    told_errors.choose(worker.settings.log_errors)
    for jobs in deliver(invocation):
        # After the modules of tasks, which may set up logging.
        log_context.carry(worker.settings.log_context, shows_process=worker.is_one_of_several)
        _run_in_order(plan(jobs), invocation)
    invocation.settlement.finish()
    if invocation.watchdog is not None:
        invocation.watchdog.dismiss()
    _restart_where_needed(invocation)


def _run_in_order(order: Plan, invocation: Invocation) -> None:
    """Run what the plan says: the async tasks together, and the ordinary ones, whichever kind comes first."""
    if invocation.worker.state is not None:
        take_early(order.together, invocation)
        take_early(order.ordinary, invocation)
        await_early(invocation)
    if order.async_first:
        _run_together(order, invocation)
    concurrency = invocation.worker.settings.concurrency
    if concurrency > 1 and len(order.ordinary) > 1:
        from lambda_tasks.dispatch import threads  # noqa: PLC0415 - for functions that ask for them

        threads.run_lanes(order.ordinary, invocation, concurrency)
    elif order.ordinary:
        lanes.run_all(order.ordinary, invocation)
    if not order.async_first:
        _run_together(order, invocation)
    invocation.await_settled()


def _run_together(order: Plan, invocation: Invocation) -> None:
    if order.together:
        from lambda_tasks.dispatch import event_loop  # noqa: PLC0415 - asyncio, for functions with async tasks

        event_loop.run_lanes(order.together, invocation, goes_on=True)


def _restart_where_needed(invocation: Invocation) -> None:
    guard = invocation.worker.memory_guard
    if guard is not None and invocation.is_exhausted:
        guard.give_up()  # again: a task of another thread may have set its limit
        logger.error("a task ran out of memory, which stays used: the runtime is started anew")
        rescue.answer_and_restart(invocation)
    if invocation.has_stuck_calls and invocation.can_answer:
        rescue.answer_and_restart(invocation)


def _result(job: Job) -> object:
    """Return what the one message's task returned, or raise why there is nothing to return."""
    result = job.result
    if result is not None and job.is_done_with:
        return _as_json(result.value, job.message_id)
    error = result.error if result is not None else None
    if error is not None and result is not None and result.outcome is not Outcome.DEFERRED:
        raise told_errors.for_invoker(error)
    remedy = "invoke the function again: there was no time, or another invocation runs it, or the table did not answer"
    raise MessageDeferred(
        "the message did not run to its end", source=f"task {job.task_name}", remedy=remedy
    ) from error


def _as_json(value: object, message_id: str) -> object:
    """Return the JSON types that `value` is in JSON. Without any it is None: an error now would repeat the effect."""
    try:
        try:
            encoded = msgspec.json.encode(value)
        except (TypeError, ValueError):  # such as a subclass of str, which the standard library takes
            encoded = json.dumps(value, default=msgspec.to_builtins, allow_nan=False).encode()
        decoded = msgspec.json.decode(encoded)
        if len(json.dumps(decoded, allow_nan=False)) <= MAX_RESPONSE_BYTES:
            return decoded
        problem = f"it is larger than {MAX_RESPONSE_BYTES} bytes"
    except Exception as error:  # noqa: BLE001 - the value's own code may raise anything
        problem = told_errors.text(error)
    logger.warning("the result of message %s is answered as null: %s", message_id, problem)
    return None


def _records(records: object) -> list[Record]:
    if not isinstance(records, list):
        raise InvalidEvent("the event's Records are not a list", remedy="expected an SQS event")
    for record in records:
        # Without its id a message cannot be named in the answer: failing the whole batch keeps every message.
        message_id = record.get("messageId") if isinstance(record, dict) else None
        if not (isinstance(message_id, str) and message_id and (message_id.isascii() or _is_utf8(message_id))):
            raise InvalidEvent("a record has no messageId", remedy="expected the records of an SQS event")
    return cast("list[Record]", records)


def _is_utf8(text: str) -> bool:
    """Tell whether `text` has a form in UTF-8, as all that an answer names must have."""
    return text == text.encode("utf-8", "replace").decode()


def _shape(event: object) -> str:
    if isinstance(event, dict):
        return "an object with the keys " + (", ".join(map(ascii, sorted(map(str, event))[:10])) or "(none)")
    return f"of type {type(event).__name__}"
