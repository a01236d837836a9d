"""The means for an application's tests: a queue that records and runs messages, and the events that Lambda would pass.

With pytest the fixture ``task_queue`` is there by itself. Elsewhere ``with TaskQueue() as task_queue:`` is the same.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
import hashlib
import itertools
import json
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, cast, overload

from lambda_tasks import settings
from lambda_tasks.definition.lookup import find_task
from lambda_tasks.dispatch import dispatcher
from lambda_tasks.enqueue import destination, topics
from lambda_tasks.enqueue.message_id import MessageId
from lambda_tasks.enqueue.sqs_rules import SqsRules
from lambda_tasks.life_cycle import setup
from lambda_tasks.limits import enclosed_loop
from lambda_tasks.messages import body
from lambda_tasks.messages.attributes import ATTRIBUTE
from lambda_tasks.state.memory import Memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from lambda_tasks.enqueue.outgoing import Outgoing
    from lambda_tasks.messages.outcome import Result
    from lambda_tasks.messages.sqs_event import Record
    from lambda_tasks.tasks.task import Task

__all__ = [
    "LambdaContext",
    "Ran",
    "Recorded",
    "TaskQueue",
    "lambda_context",
    "message_body",
    "sqs_event",
    "sqs_record",
]

_FINAL = ("succeeded", "skipped", "failed", "rejected")
_MOST_DELIVERIES = 100  # of a message that is put off again and again
_BATCH_SIZE = 10  # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-parameters.html

_NUMBERS = itertools.count(1)


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A message that was enqueued: its task, its kwargs in the annotated types, and how it would be sent.

    The kwargs are a ``dict``; for a batch task they are of its items' type. Tasks of ``django.tasks`` may have `args`.
    """

    message_id: MessageId
    task_name: str
    kwargs: Any
    queue: str
    context: Mapping[str, Any]
    delay_seconds: int
    group: str | None
    deduplication_id: str | None
    at: datetime | None
    outgoing: Outgoing = dataclasses.field(repr=False, compare=False)
    is_fifo: bool = dataclasses.field(default=False, repr=False, compare=False)
    args: tuple[Any, ...] = ()


class Ran(NamedTuple):
    """The outcome of a message (``"succeeded"``, ``"failed"``...), after how many deliveries, and why."""

    message: Recorded
    outcome: str
    deliveries: int
    value: object = None
    error: BaseException | None = None


class TaskQueue(Sequence[Recorded]):
    """The messages that were enqueued within its ``with`` block, in order, whatever ``LAMBDA_TASKS_MODE`` says.

    With `strict` it takes what SQS would take, and runs it as Lambda would: a queue's URL is set, a message is not too
    large, a FIFO queue (by its URL) gets a group and no delay, and drops what has been sent before; `run` takes up to
    ten messages of a queue together. With `any_queue` no URL needs to be set, as long as none is: then any kind of
    queue is there. The fixture ``task_queue`` has both. `published` are the messages to topics.
    """

    def __init__(self, *, strict: bool = False, any_queue: bool = False) -> None:
        self._rules = SqsRules(must_be_named=not any_queue) if strict else None
        self._recorded: list[Recorded] = []
        self._pending: list[Recorded] = []
        self._keys = Memory()
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> TaskQueue:
        setup.set_up(settings.environ(), is_worker=False)
        if self._rules is None:
            diverted = destination.diverted(self._record)
        else:
            diverted = destination.diverted(
                functools.partial(self._rules.take, record=self._record), self._rules.queue_of
            )
        self._closing.enter_context(diverted)
        self.published = self._closing.enter_context(topics.kept())
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @overload
    def __getitem__(self, index: int) -> Recorded: ...

    @overload
    def __getitem__(self, index: slice) -> list[Recorded]: ...

    def __getitem__(self, index: int | slice) -> Recorded | list[Recorded]:
        return self._recorded[index]

    def __len__(self) -> int:
        return len(self._recorded)

    def __repr__(self) -> str:
        return f"<TaskQueue: {len(self)} enqueued, {len(self._pending)} not run yet>"

    def of(self, task: Task[..., Any]) -> list[Recorded]:
        """Return the messages that run `task`."""
        return [one for one in self if one.task_name == task.name]

    def clear(self) -> None:
        """Forget every message, and the keys of those that ran."""
        self._keys = Memory()
        self._recorded.clear()
        self._pending.clear()
        if self._rules is not None:
            self._rules.forget()

    def run(self, *, raise_errors: bool = True) -> list[Ran]:
        """Run the messages that have not run yet, and those that they enqueue, as the dispatcher would on Lambda.

        Delays and backoffs are not waited for: a message that is to be retried is delivered again at once. Within a
        running event loop they run in a thread, since there is no such loop on Lambda either.

        Raises:
            BaseException: the error of the first message that failed or was rejected, after all of them have run;
                with `raise_errors` false it is in the result alone.

        """
        ran = _without_loop(self._run_all)
        for one in ran:
            if raise_errors and one.error is not None and one.outcome in ("failed", "rejected"):
                raise one.error
        return ran

    def _run_all(self) -> list[Ran]:
        ran: list[Ran] = []
        while self._pending:
            with dispatcher.processing_here(settings.current().replace(table=None), self._keys) as process:
                ran += self._run_batches(process)
        positions = {one.message_id: position for position, one in enumerate(self._recorded)}
        return sorted(ran, key=lambda one: positions.get(one.message.message_id, len(positions)))

    def _run_batches(self, process: Callable[[list[Record]], list[Result | None]]) -> list[Ran]:
        """Run messages of one queue together, up to a mapping's default batch size, until each has its outcome."""
        first, ran, deliveries = self._pending[0], [], 0
        batch = [first]
        if self._rules is not None:
            batch = [one for one in self._pending if one.queue == first.queue][:_BATCH_SIZE]
        self._pending = [one for one in self._pending if one not in batch]
        while batch:
            deliveries += 1
            results = process([_delivered(one, deliveries) for one in batch])
            left = []
            for one, result in zip(batch, results, strict=True):
                outcome = "deferred" if result is None else result.outcome.value
                one.message_id.became(one.task_name, result)
                if outcome not in _FINAL and deliveries < _MOST_DELIVERIES:
                    left.append(one)
                elif result is None:
                    ran.append(Ran(one, outcome, deliveries))
                else:
                    ran.append(Ran(one, outcome, deliveries, result.value, result.error))
            batch = left
        return ran

    def _record(self, outgoing: Outgoing, *, is_fifo: bool = False) -> str:
        received = body.decode(outgoing.body)
        kwargs = find_task(outgoing.task_name, settings.Settings()).decode_kwargs(received.kwargs)
        context = outgoing.attributes.get(ATTRIBUTE)
        recorded = Recorded(
            message_id=MessageId(uuid.uuid4()),
            task_name=outgoing.task_name,
            kwargs=kwargs,
            queue=outgoing.queue,
            context=json.loads(context["StringValue"]) if context else {},
            delay_seconds=outgoing.delay_seconds or 0,
            group=outgoing.group,
            deduplication_id=outgoing.deduplication_id,
            at=outgoing.at,
            args=tuple(json.loads(bytes(received.args) or b"[]")),
            outgoing=outgoing,
            is_fifo=is_fifo,
        )
        recorded.message_id.became(recorded.task_name)
        self._recorded.append(recorded)
        self._pending.append(recorded)
        return recorded.message_id


def message_body(task: str | Task[..., Any], /, **kwargs: object) -> str:
    """Return the body of a message that runs a task, given as itself or by its dotted path. Nothing is validated."""
    name = task if isinstance(task, str) else task.name
    return json.dumps({"task_name": name, "kwargs": kwargs, "n_retries": 0})


def sqs_record(body: object, *, message_id: str | None = None, **attributes: str) -> Record:
    """Return one record of an SQS event; `attributes` are SQS's own, such as ``MessageGroupId``."""
    number = next(_NUMBERS)
    record: dict[str, Any] = {
        "messageId": message_id or f"00000000-0000-0000-0000-{number:012}",
        "receiptHandle": f"handle-{number}",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1790000000000",
            "SenderId": "AIDAEXAMPLE",
            "ApproximateFirstReceiveTimestamp": "1790000000001",
            **attributes,
        },
        "messageAttributes": {},
        "md5OfBody": hashlib.md5(str(body).encode("utf-8", "replace"), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:queue",
        "awsRegion": "eu-west-1",
    }
    return cast("Record", record)


def sqs_event(*messages: Record | Recorded | str) -> dict[str, Any]:
    """Return the event of one batch: of records, of messages of a `TaskQueue`, or of bodies."""
    return {"Records": [_record(one) for one in messages]}


@dataclasses.dataclass
class LambdaContext:
    """The context object of an invocation, with always the same time left."""

    remaining_time_ms: int = 60_000
    aws_request_id: str = "11111111-2222-3333-4444-555555555555"
    function_name: str = "function"
    function_version: str = "$LATEST"
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:function"
    memory_limit_in_mb: str = "512"
    log_group_name: str = "/aws/lambda/function"
    log_stream_name: str = "2026/01/01/[$LATEST]00000000000000000000000000000000"

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds that are left."""
        return self.remaining_time_ms


def lambda_context(**values: Any) -> LambdaContext:  # noqa: ANN401 - the fields of LambdaContext
    """Return a context object; `values` are the fields of `LambdaContext`, such as ``remaining_time_ms=100``."""
    return LambdaContext(**values)


def _record(one: Record | Recorded | str) -> Record:
    if isinstance(one, str):
        return sqs_record(one)
    if isinstance(one, Recorded):
        return _delivered(one, 1)
    return one


def _delivered(recorded: Recorded, receive_count: int) -> Record:
    record = recorded.outgoing.record(receive_count=receive_count, message_id=recorded.message_id)
    if recorded.is_fifo:
        record["eventSourceARN"] += ".fifo"
    return record


def _without_loop(run: Callable[[], list[Ran]]) -> list[Ran]:
    """Call `run` where no event loop runs: in a thread, if one does here."""
    if not enclosed_loop.is_running():
        return run()
    with ThreadPoolExecutor(1, thread_name_prefix="lambda-tasks-test") as thread:
        return thread.submit(contextvars.copy_context().run, run).result()
