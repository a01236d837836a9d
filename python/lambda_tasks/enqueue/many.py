"""Many messages at once: batches that overlap, entries that SQS refused sent again, and a result for each."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, NamedTuple

from lambda_tasks import after_fork
from lambda_tasks.aws import calls
from lambda_tasks.aws.transport import CallFailed, backoff
from lambda_tasks.enqueue import offloading, outgoing, queued
from lambda_tasks.enqueue.outgoing import Outgoing
from lambda_tasks.enqueue.results import Enqueued
from lambda_tasks.errors import EnqueueFailed, InvalidKwargs, InvalidTask, LambdaTasksError
from lambda_tasks.messages.payload import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lambda_tasks.aws.queue_address import QueueAddress
    from lambda_tasks.definition.definition import Definition
    from lambda_tasks.enqueue.message_options import MessageOptions
    from lambda_tasks.enqueue.queued import Recording
    from lambda_tasks.settings import Settings

    Results = list[tuple[int, str | LambdaTasksError]]

logger = logging.getLogger("lambda_tasks")

_MAX_ENTRIES = 10  # of one SendMessageBatch, with at most 1 MiB of messages together
_THREADS = 4
_WAITING_BATCHES = 2 * _THREADS
_ATTEMPTS = 6  # of an entry that SQS refused through no fault of ours
_GIVE_UP_AFTER = 3  # whole calls that failed, one after the other: the rest would only wait for the same


class Numbered(NamedTuple):
    """A message, and its number among all of them."""

    number: int
    message: Outgoing


def common(definition: Definition, options: MessageOptions) -> Outgoing:
    """Return what all messages have in common.

    Raises:
        InvalidTask: no message can name the task, or a queue would take only the first of them.

    """
    if options.deduplication_id is not None:
        remedy = "a queue would keep the first alone: use the queue's content-based deduplication, or enqueue()"
        raise InvalidTask("many messages have one deduplication ID", source=f"task {definition.name}", remedy=remedy)
    return outgoing.template(definition, options)


def one_by_one(
    definition: Definition,
    common: Outgoing,
    many_kwargs: Iterable[Mapping[str, Any]],
    send: Callable[[Outgoing], str],
) -> Enqueued:
    """Give each message to `send` by itself; only this package's own errors become an entry's."""
    enqueued = Enqueued()
    for index, kwargs in enumerate(many_kwargs):
        try:
            message = outgoing.with_body(common, definition, _checked(definition, kwargs))
        except InvalidKwargs as error:
            enqueued.record(index, error)
            continue
        try:
            enqueued.record(index, send(message))
        except EnqueueFailed as error:
            enqueued.record(index, error)
    return _reported(definition, enqueued)


def in_batches(
    definition: Definition,
    common: Outgoing,
    many_kwargs: Iterable[Mapping[str, Any]],
    queue: QueueAddress,
    current: Settings,
) -> Enqueued:
    """Send the messages to SQS, taking no more of `many_kwargs` than a few batches ahead."""
    enqueued = Enqueued()
    sender = _Sender(queue)

    def messages() -> Iterator[Numbered]:
        for index, kwargs in enumerate(many_kwargs):
            try:
                message = outgoing.with_body(common, definition, _checked(definition, kwargs))
                message = message.due(queue) or message
                yield Numbered(index, offloading.offloaded(message, MAX_MESSAGE_BYTES, current))
            except LambdaTasksError as error:
                enqueued.record(index, error)

    common.request(queue)  # an error of every message is raised, and not noted of each
    threads = 1 if queue.is_fifo else _THREADS
    if queued.are_recorded(current):
        with queued.Recording(common.task_name, queue, current) as recording:
            _send_all(in_batches_of_sqs(messages()), sender, _Noted(enqueued, recording), threads=threads)
    else:
        _send_all(in_batches_of_sqs(messages()), sender, enqueued, threads=threads)
    return _reported(definition, enqueued)


def _send_all(found: Iterator[list[Numbered]], sender: _Sender, enqueued: Enqueued | _Noted, *, threads: int) -> None:
    first = list(itertools.islice(found, 2))
    every = itertools.chain(first, found)
    if len(first) < 2 or threads == 1:  # order counts on a FIFO queue
        for batch in every:
            _record(enqueued, sender.send(batch))
        return
    with ThreadPoolExecutor(threads, "lambda-tasks-enqueue", after_fork.note_thread) as pool:
        pending: set[Future[Results]] = set()
        for batch in every:
            if len(pending) >= _WAITING_BATCHES:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for one in done:
                    _record(enqueued, one.result())
            pending.add(pool.submit(sender.send, batch))
        for one in pending:
            _record(enqueued, one.result())


class _Sender:
    """A sender of batches, from several threads, which gives up where no call succeeds any more."""

    def __init__(self, queue: QueueAddress) -> None:
        self._queue = queue
        self._calls = calls.calls()
        self._failed_in_a_row = 0

    def send(self, batch: list[Numbered]) -> Results:
        """Return message id or error of each message of `batch`."""
        results: Results = []
        waiting = batch
        for attempt in range(1, _ATTEMPTS + 1):
            answered, waiting = self._send_once(waiting, is_last=attempt == _ATTEMPTS)
            results += answered
            if not waiting:
                break
            time.sleep(backoff(attempt))
        return results

    def _send_once(self, batch: list[Numbered], *, is_last: bool) -> tuple[Results, list[Numbered]]:
        """Send a batch and return the results that are final, and the messages to send again."""
        if self._failed_in_a_row >= _GIVE_UP_AFTER:
            error: LambdaTasksError = self._failed(f"not sent, after {_GIVE_UP_AFTER} calls in a row had failed")
            return [(one.number, error) for one in batch], []
        entries = [{"Id": str(number), **one.message.request(self._queue)} for number, one in enumerate(batch)]
        try:
            answer = self._calls.sqs("SendMessageBatch", self._queue, {"Entries": entries})
        except LambdaTasksError as caught:
            self._failed_in_a_row += 1
            error = self._failed(caught.problem, caught) if isinstance(caught, CallFailed) else caught
            return [(one.number, error) for one in batch], []
        self._failed_in_a_row = 0
        return self._read(batch, answer, is_last=is_last)

    def _read(
        self, batch: list[Numbered], answer: Mapping[str, Any], *, is_last: bool
    ) -> tuple[Results, list[Numbered]]:
        results: Results = [(batch[int(one["Id"])].number, one["MessageId"]) for one in answer.get("Successful", ())]
        again = []
        for one in answer.get("Failed", ()):
            refused = batch[int(one["Id"])]
            if is_last or one.get("SenderFault"):
                results.append((refused.number, self._failed(f"SQS refused the message: {one.get('Code')}")))
            else:
                again.append(refused)
        return results, again

    def _failed(self, problem: str, cause: BaseException | None = None) -> EnqueueFailed:
        remedy = "check the queue's URL, the role's sqs:SendMessage and the network"
        error = EnqueueFailed(problem, source=f"queue {self._queue.url}", remedy=remedy)
        error.__cause__ = cause
        return error


class _Noted:
    """The results of messages of which those that were sent are recorded."""

    def __init__(self, enqueued: Enqueued, recording: Recording) -> None:
        self._enqueued = enqueued
        self._recording = recording

    def record(self, index: int, result: str | LambdaTasksError) -> None:
        """Note the message id, or the error, of the entry at `index`."""
        self._enqueued.record(index, result)
        if isinstance(result, str):
            self._recording.add(result)


def _checked(definition: Definition, kwargs: object) -> Mapping[str, Any]:
    if not isinstance(kwargs, Mapping):
        remedy = 'give one mapping for each message, such as {"order_id": 1}'
        raise InvalidKwargs(f"the kwargs are {type(kwargs).__name__}", source=f"task {definition.name}", remedy=remedy)
    return kwargs


def _record(enqueued: Enqueued | _Noted, results: Results) -> None:
    for index, result in results:
        enqueued.record(index, result)


def _reported(definition: Definition, enqueued: Enqueued) -> Enqueued:
    """Log the messages that were not enqueued: a caller may not look at the result."""
    for index, error in enqueued.failures():
        logger.error(
            "%d of %d messages of %s were not enqueued, the first is entry %d: %s",
            enqueued.failed,
            len(enqueued),
            definition.name,
            index,
            error,
        )
        break
    return enqueued


def in_batches_of_sqs(messages: Iterable[Numbered]) -> Iterator[list[Numbered]]:
    """Yield the messages in batches, in order, each as soon as nothing more fits into it."""
    batch: list[Numbered] = []
    batch_bytes = 0
    for one in messages:
        size_bytes = one.message.size_bytes
        if batch and batch_bytes + size_bytes > MAX_MESSAGE_BYTES:
            yield batch
            batch, batch_bytes = [], 0
        batch.append(one)
        batch_bytes += size_bytes
        if len(batch) == _MAX_ENTRIES:
            yield batch
            batch, batch_bytes = [], 0
    if batch:
        yield batch
