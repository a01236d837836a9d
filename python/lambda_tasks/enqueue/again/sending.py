"""Records sent again from where tasks are enqueued: as new messages, or by the dead letters of their messages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lambda_tasks import settings as process
from lambda_tasks.aws.queue_address import QueueAddress
from lambda_tasks.enqueue.again.letters import DeadLetterQueue
from lambda_tasks.enqueue.again.replay import Replay
from lambda_tasks.errors import ConfigurationError, EnqueueFailed, InvalidSetting, LambdaTasksError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lambda_tasks.enqueue.again.calling import Call
    from lambda_tasks.enqueue.again.letters import Letter
    from lambda_tasks.settings import Settings
    from lambda_tasks.state.protocol import State
    from lambda_tasks.state.record import StoredRecord

_MOST_LETTERS = 10_000


class Sent:
    """The account of messages that were to be sent again, by the ids of their records: new ids, and errors."""

    def __init__(self) -> None:
        self.ids: dict[str, str] = {}
        self.errors: dict[str, LambdaTasksError] = {}

    def note(self, record: StoredRecord, send: Callable[[], str]) -> None:
        """Note what `send` returns or raises."""
        try:
            self.ids[record.message_id] = send()
        except LambdaTasksError as error:
            self.errors[record.message_id] = error


def replayed(records: Sequence[StoredRecord], call: Call, settings: Settings, state: State) -> Sent:
    """Send a new message for each record to the queue that it names."""
    sent = Sent()
    for one in records:
        sent.note(one, lambda one=one: Replay(one).send(call, _queue_url(one, settings), state))  # type: ignore[misc]
    return sent


def redriven(records: Sequence[StoredRecord], call: Call, settings: Settings) -> Sent:
    """Send the dead letter of each record back to the queue that the record names.

    All letters of a queue are looked at once, and those that nobody asked for are left there.
    """
    sent = Sent()
    by_queue: dict[str, list[StoredRecord]] = {}
    for one in records:
        try:
            by_queue.setdefault(_dead_letter_url(one, call, settings), []).append(one)
        except LambdaTasksError as error:
            sent.errors[one.message_id] = error
    for url, of_queue in by_queue.items():
        try:
            _redrive(of_queue, DeadLetterQueue(call, url), settings, sent)
        except LambdaTasksError as error:
            unsent = (one for one in of_queue if one.message_id not in sent.ids)
            sent.errors.update((one.message_id, error) for one in unsent)
    return sent


def _redrive(records: Sequence[StoredRecord], queue: DeadLetterQueue, settings: Settings, sent: Sent) -> None:
    letters = queue.receive(_MOST_LETTERS)
    left = {one.receipt_handle: one for one in letters}
    by_id = {message_id: one for one in letters for message_id in _ids_of(one)}
    try:
        for record in records:
            letter = by_id.get(record.message_id)
            if letter is None:
                problem = "it has no dead letter, or not any more"
                sent.errors[record.message_id] = EnqueueFailed(problem, source=f"message {record.message_id}")
                continue
            sent.note(record, lambda: queue.send_back(letter, _queue_url(record, settings)))  # noqa: B023 - called at once
            if record.message_id in sent.ids:
                del left[letter.receipt_handle]
    finally:
        queue.release(list(left.values()))


def _ids_of(letter: Letter) -> list[str]:
    """Return the ids that the record of a letter may have: SQS's own, or that of a framework's task."""
    try:
        own = json.loads(letter.body).get("id")
    except (ValueError, AttributeError, RecursionError):
        own = None
    return [letter.message_id, own] if isinstance(own, str) else [letter.message_id]


def _queue_url(record: StoredRecord, settings: Settings) -> str:
    """Return the URL of the queue that a record names: as tasks call it, or as SQS does."""
    name = record.queue or "default"
    for variable, url in settings.queue_urls.items():
        if url.rstrip("/").rpartition("/")[2] == name or variable == process.queue_url_variable(name):
            return url
    remedy = "set the LAMBDA_TASKS_QUEUE_URL of that queue here too"
    raise InvalidSetting(f"the queue {name!r} has no URL", source=f"message {record.message_id}", remedy=remedy)


def _dead_letter_url(record: StoredRecord, call: Call, settings: Settings) -> str:
    """Return the URL of the queue for dead letters: the one that is configured, or that of the redrive policy."""
    if settings.dead_letter_queue_url:
        return settings.dead_letter_queue_url
    url = _queue_url(record, settings)
    answer = call("GetQueueAttributes", url, {"AttributeNames": ["RedrivePolicy"]})
    try:
        arn = json.loads(answer["Attributes"]["RedrivePolicy"])["deadLetterTargetArn"]
        found = QueueAddress.of_arn(arn, process.environ())
    except (LookupError, ValueError, TypeError):
        found = None
    if found is None:
        remedy = "set LAMBDA_TASKS_DEAD_LETTER_QUEUE_URL"
        raise ConfigurationError("the queue has no redrive policy", source=url, remedy=remedy)
    return found.url
