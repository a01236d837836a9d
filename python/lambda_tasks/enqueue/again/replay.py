"""A message made of a record, and linked to the first one: the record of the new one names it."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from lambda_tasks.aws.queue_address import is_fifo
from lambda_tasks.errors import EnqueueFailed, LambdaTasksError
from lambda_tasks.messages import body
from lambda_tasks.messages.attributes import ATTRIBUTE, REPLAY_OF, as_attributes
from lambda_tasks.state.protocol import Queued

if TYPE_CHECKING:
    from lambda_tasks.enqueue.again.calling import Call
    from lambda_tasks.state.protocol import State
    from lambda_tasks.state.record import StoredRecord

_RECORD_SECONDS = 15.0


class Replay:
    """The message that would be sent for a record, or the `obstacle` that there is."""

    def __init__(self, record: StoredRecord) -> None:
        self.record = record
        self._request = _decoded(record.request)
        self.obstacle = _obstacle(record, has_request=bool(self._request))

    @property
    def first_id(self) -> str:
        """The id of the first message, which all replays of it name."""
        return self.record.replay_of or self.record.message_id

    def send(self, call: Call, queue_url: str, state: State, group: str | None = None) -> str:
        """Send the message to a queue, and return its id. It is queued from then on, where the table takes that.

        Raises:
            LambdaTasksError: there is an obstacle, or SQS did not take it.

        """
        if self.obstacle:
            raise EnqueueFailed(f"it cannot be sent again: {self.obstacle}", source=f"message {self.record.message_id}")
        request = self._fields(group, goes_to_fifo=is_fifo(queue_url))
        message_id = str(call("SendMessage", queue_url, request)["MessageId"])
        queued = Queued(message_id, self.record.task, queue_url.rpartition("/")[2], time.time(), self.first_id)
        with contextlib.suppress(LambdaTasksError):  # it was sent: its record begins when it is received, at the latest
            state.queued([queued], deadline=time.monotonic() + _RECORD_SECONDS)
        return message_id

    def _fields(self, group: str | None, *, goes_to_fifo: bool) -> dict[str, Any]:
        """Return the fields of SendMessage, but for the queue."""
        texts = {ATTRIBUTE: _in_ascii(self.record.context), REPLAY_OF: self.first_id}
        request: dict[str, Any] = {"MessageBody": self._body(), "MessageAttributes": as_attributes(texts)}
        if group or goes_to_fifo:
            request["MessageGroupId"] = group or self.first_id
        if goes_to_fifo:
            request["MessageDeduplicationId"] = str(uuid.uuid4())
        return request

    def _body(self) -> str:
        sent = self._request
        if not sent:
            return body.encode(self.record.task, (self.record.kwargs or "").encode())
        more = {"args": sent["args"]} if sent.get("args") else {}
        return body.encode(self.record.task, msgspec.json.encode(sent.get("kwargs", {})), more)


def _obstacle(record: StoredRecord, *, has_request: bool) -> str:
    if not record.has_ended:
        return f"it has not ended, it is {record.status}"
    if not record.task:
        return "it names no task"
    if has_request:  # of a framework's task it holds all arguments
        return ""
    if record.kwargs is None and not record.kwargs_note:
        return "its kwargs were not recorded: see LAMBDA_TASKS_RECORD_KWARGS"
    if record.kwargs_note:
        return f"its record does not hold all that it had: {record.kwargs_note}"
    return ""


def _decoded(request: str | None) -> dict[str, Any]:
    """Return what the sender had recorded of a framework's task; empty for another message."""
    found = json.loads(request) if request else {}
    return found if isinstance(found, dict) else {}


def _in_ascii(context: str | None) -> str | None:
    """Return the context as SQS takes it, which takes no control characters."""
    return None if context is None else json.dumps(json.loads(context))
