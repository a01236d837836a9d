"""Many messages at once: batches that overlap, and an account of each message, however the call ends.

On a FIFO queue the messages of one call are one group. Each is sent by itself, when the one before it is there: SQS may
refuse an entry in the middle of a batch and take those behind it.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import uuid
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import msgspec

from lambda_tasks import after_fork
from lambda_tasks.enqueue import offloading, outgoing, queued
from lambda_tasks.enqueue.giving_up import GivingUp
from lambda_tasks.enqueue.results import Enqueued
from lambda_tasks.enqueue.sender import Numbered, Sender
from lambda_tasks.errors import (
    EnqueueFailed,
    InvalidKwargs,
    InvalidTask,
    LambdaTasksError,
    MessageTooLarge,
    SoftTimeLimitExceeded,
)
from lambda_tasks.messages.payload import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lambda_tasks.aws.queue_address import QueueAddress
    from lambda_tasks.definition.definition import Definition
    from lambda_tasks.enqueue.message_options import MessageOptions
    from lambda_tasks.enqueue.outgoing import Outgoing
    from lambda_tasks.settings import Settings

logger = logging.getLogger("lambda_tasks")

_MAX_ENTRIES = 10  # of one SendMessageBatch, with at most 1 MiB of messages together
_THREADS = 4
_ATTEMPTS = 6  # of an entry that SQS refused through no fault of ours
_WAITING_BATCHES = 2 * _THREADS


def common(definition: Definition, options: MessageOptions) -> Outgoing:
    """Return what all messages have in common.

    Raises:
        InvalidTask: no message can name the task, or a queue would take only the first of them.

    """
    if options.idempotency_key is not None:
        remedy = "leave it out, and name kwargs in @task(idempotency_key=...)"
        raise InvalidTask("many messages have one idempotency key", source=f"task {definition.name}", remedy=remedy)
    if options.deduplication_id is not None:
        remedy = "leave it out: on a FIFO queue each of many messages has one of its own"
        raise InvalidTask("many messages have one deduplication ID", source=f"task {definition.name}", remedy=remedy)
    return outgoing.template(definition, options)


def one_by_one(
    definition: Definition,
    common: Outgoing,
    many_kwargs: Iterable[Mapping[str, Any]],
    send: Callable[[Outgoing], str],
    *,
    queue: QueueAddress | None = None,
) -> Enqueued:
    """Give each message to `send` by itself; only this package's own errors become an entry's.

    `queue` is the one that schedules send to: where none can be made any more, the rest is not tried.
    """
    enqueued = Enqueued()
    messages = _Messages(definition, common, many_kwargs, enqueued, queue)
    giving_up = GivingUp("calls")
    with _Accounted(enqueued):
        for number, message in messages:
            try:
                message_id = giving_up.run(functools.partial(send, message)) if queue else send(message)
            except (EnqueueFailed, MessageTooLarge) as error:
                enqueued.record(number, error)
            else:
                enqueued.record(number, message_id)
        messages.raise_what_broke_them()
    return _reported(definition, enqueued)


def in_batches(
    definition: Definition,
    common: Outgoing,
    many_kwargs: Iterable[Mapping[str, Any]],
    queue: QueueAddress,
    current: Settings,
) -> Enqueued:
    """Send the messages to SQS, taking no more of `many_kwargs` than a few batches ahead."""
    common.request(queue)  # an error of every message is raised, and not noted of each
    enqueued = Enqueued()
    messages = _Messages(definition, common, many_kwargs, enqueued, queue)
    with _Accounted(enqueued), contextlib.ExitStack() as stack:
        sender = Sender(queue, enqueued, attempts=_ATTEMPTS)
        if queued.are_recorded(current):
            sender.recording = stack.enter_context(queued.Recording(common.task_name, queue, current))
        taken = _offloaded(messages, sender, queue, current)
        batches = in_batches_of_sqs(taken, max_entries=1 if queue.is_fifo else _MAX_ENTRIES)
        if queue.is_fifo:
            for batch in batches:
                sender.send(batch)
        else:
            _send_all(batches, sender)
        messages.raise_what_broke_them()
    return _reported(definition, enqueued)


class _Messages:
    """The messages that an iterable's kwargs make, with their numbers, in order. What makes none is noted at once.

    An error of the iterable itself ends them, and is raised when what it gave before has been sent.
    """

    def __init__(
        self,
        definition: Definition,
        common: Outgoing,
        many_kwargs: Iterable[Mapping[str, Any]],
        enqueued: Enqueued,
        queue: QueueAddress | None,
    ) -> None:
        self._definition = definition
        self._common = common
        self._many_kwargs = many_kwargs
        self._enqueued = enqueued
        self._queue = queue
        self._broken: Exception | None = None
        self._deduplication_id = uuid.uuid4().hex if queue is not None and queue.is_fifo else ""

    def __iter__(self) -> Iterator[Numbered]:
        found = iter(self._many_kwargs)
        for number in itertools.count():
            try:
                kwargs = next(found)
            except StopIteration:
                return
            except SoftTimeLimitExceeded:
                raise
            except Exception as error:  # noqa: BLE001 - it is raised again, once all is sent that came before it
                self._broken = error
                return
            self._enqueued.expect(number)
            try:
                yield Numbered(number, self._message(number, kwargs))
            except LambdaTasksError as error:
                self._enqueued.record(number, error)

    def raise_what_broke_them(self) -> None:
        """Raise the error that the iterable ended with, if it did."""
        if self._broken is not None:
            raise self._broken

    def _message(self, number: int, kwargs: object) -> Outgoing:
        definition = self._definition
        if not isinstance(kwargs, Mapping):
            problem = f"the kwargs are {type(kwargs).__name__}"
            remedy = 'give one mapping for each message, such as {"order_id": 1}'
            raise InvalidKwargs(problem, source=f"task {definition.name}", remedy=remedy)
        message = outgoing.with_body(self._common, definition, kwargs)
        if not self._deduplication_id:
            return message
        # Its content is no id: equal messages would be one, and each is reported as sent.
        return msgspec.structs.replace(message, deduplication_id=f"{self._deduplication_id}-{number}")


def _offloaded(messages: _Messages, sender: Sender, queue: QueueAddress, current: Settings) -> Iterator[Numbered]:
    """Yield the messages as SQS takes them, with bodies that are too large in S3."""
    uploads = GivingUp("uploads")

    def offloaded(message: Outgoing) -> Outgoing:
        if sender.refusal:
            raise EnqueueFailed(sender.refusal)
        return uploads.run(lambda: offloading.offloaded(message, MAX_MESSAGE_BYTES, current))

    for number, found in messages:
        message = found.due(queue) or found
        try:
            fits = message.size_bytes <= MAX_MESSAGE_BYTES
            yield Numbered(number, message if fits else offloaded(message))
        except LambdaTasksError as error:
            sender.not_sent(number, error)


def _send_all(found: Iterator[list[Numbered]], sender: Sender) -> None:
    first = list(itertools.islice(found, 2))
    if len(first) < 2:
        for batch in first:
            sender.send(batch)
        return
    with ThreadPoolExecutor(_THREADS, "lambda-tasks-enqueue", after_fork.note_thread) as pool:
        pending: set[Future[None]] = set()
        try:
            for batch in itertools.chain(first, found):
                if len(pending) >= _WAITING_BATCHES:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    _raise_errors(done)
                pending.add(pool.submit(sender.send, batch))
            _raise_errors(pending)
        except BaseException:
            sender.stop("not sent, since the call was interrupted")
            raise


def _raise_errors(futures: Iterable[Future[None]]) -> None:
    for one in futures:
        one.result()


class _Accounted:
    """The end of a call: an error, Ctrl-C included, carries what was sent until then as ``error.enqueued``."""

    def __init__(self, enqueued: Enqueued) -> None:
        self._enqueued = enqueued

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None:
            vars(error)["enqueued"] = self._enqueued  # some errors let no attribute be set


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


def in_batches_of_sqs(messages: Iterable[Numbered], max_entries: int = _MAX_ENTRIES) -> Iterator[list[Numbered]]:
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
        if len(batch) == max_entries:
            yield batch
            batch, batch_bytes = [], 0
    if batch:
        yield batch
