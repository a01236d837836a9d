"""The process that `embedded_aws` starts: moto's server on a loopback port, until standard input ends.

Standard input is a pipe from the process that started this one, so it ends with that process, however that ends.
"""

from __future__ import annotations

import copy
import functools
import json
import math
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from moto.core.utils import unix_time_millis
from moto.dynamodb.models import DynamoDBBackend, dynamodb_backends
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table
from moto.moto_server import threaded_moto_server
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.server import ThreadedMotoServer
from moto.sqs import urls
from moto.sqs.models import SQSBackend, sqs_backends
from moto.sqs.responses import SQSResponse

HIDDEN_PATH = "/lambda-tasks/hidden/"
_SOURCE = "DeadLetterQueueSourceArn"
_LOOK_SECONDS = 0.1  # what becomes visible by time wakes nobody
_CHANGES = (
    "change_message_visibility",
    "change_message_visibility_batch",
    "create_queue",
    "delete_message",
    "delete_message_batch",
    "delete_queue",
    "purge_queue",
    "send_message",
    "send_message_batch",
    "set_queue_attributes",
)


class OneAtATime(SQSBackend):
    """moto's SQS, with its requests one after the other.

    moto looks at a message, or at the groups in flight, and then takes it. Between the two, another thread takes it
    too. It also looks at the groups once and then waits: two idle consumers do not see each other's messages.
    """

    __module__ = SQSBackend.__module__  # moto finds a service's URLs by it
    _turn = threading.Condition(threading.RLock())

    def receive_message(
        self,
        queue_name: str,
        count: int,
        wait_seconds_timeout: int,
        visibility_timeout: int,
        message_attribute_names: list[str] | None = None,
    ) -> list[Any]:
        """Receive what is visible; else look again until the wait is over, letting other requests pass."""
        ends_at = time.monotonic() + int(wait_seconds_timeout or 0)
        with self._turn:
            while True:
                queue = self.get_queue(queue_name)
                with _in_flight_hidden(queue), _source_noted(queue):
                    found: list[Any] = super().receive_message(
                        queue_name, count, 0, visibility_timeout, message_attribute_names
                    )
                left = ends_at - time.monotonic()
                if found or left <= 0:
                    return found
                self._turn.wait(min(left, _LOOK_SECONDS))

    def hidden(self, queue_name: str) -> list[tuple[str, float, int]]:
        """Return id, seconds until it is visible, and receive count of each message that nobody can receive now."""
        with self._turn:
            now = unix_time_millis()
            messages = self.get_queue(queue_name)._messages
            times = [(one, max(one.visible_at, one.delayed_until) - now) for one in messages]
        return [(one.id, left / 1000, one.approximate_receive_count) for one, left in times if left > 0]


@contextmanager
def _in_flight_hidden(queue: Any) -> Iterator[None]:  # noqa: ANN401 - moto's
    """Hide what is in flight for the length of a request, so that nothing becomes visible in the middle of it.

    Of a FIFO queue a whole group is in flight while one of its messages is. moto shows the second of two messages whose
    time is over before the first.
    """
    now = unix_time_millis()
    pending = queue.pending_messages
    groups = {one.group_id for one in pending if one.visible_at > now} if queue.fifo_queue else set()
    hidden = [(one, one.visible_at) for one in pending if one.visible_at > now or one.group_id in groups]
    pending.intersection_update(one for one, _ in hidden)
    for message, _ in hidden:
        message.visible_at = math.inf
    try:
        yield
    finally:
        for message, visible_at in hidden:
            message.visible_at = visible_at


@contextmanager
def _source_noted(queue: Any) -> Iterator[None]:  # noqa: ANN401 - moto's
    """Note on each message that goes to the dead-letter queue meanwhile, where it comes from."""
    dead = queue.dead_letter_queue
    count = len(dead._messages) if dead is not None else 0
    yield
    for message in dead._messages[count:] if dead is not None else ():
        message.system_attributes[_SOURCE] = {"StringValue": queue.queue_arn}


class Responses(SQSResponse):
    """moto's answers, with the queue that a dead letter comes from."""

    def receive_message(self) -> Any:  # noqa: ANN401
        """Answer with the attribute that AWS gives to what a redrive policy has moved."""
        answer: Any = super().receive_message()
        found = {
            one.id: one.system_attributes.get(_SOURCE)
            for one in self.sqs_backend.get_queue(self._get_queue_name())._messages
        }
        for message in answer.result.get("Messages", ()):
            if (source := found.get(message["MessageId"])) and "Attributes" in message:
                message["Attributes"][_SOURCE] = source["StringValue"]
        return answer


def _in_turn(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: OneAtATime, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        with self._turn:
            try:
                return method(self, *arguments, **options)
            finally:
                self._turn.notify_all()

    return call


for _name in _CHANGES:
    setattr(OneAtATime, _name, _in_turn(getattr(SQSBackend, _name)))


class Inserting(DynamoDBBackend):
    """moto's DynamoDB, where an INSERT of PartiQL leaves an item that is there as it is, as AWS does.

    moto replaces the item, and hands every item of every table to its parser.
    """

    __module__ = DynamoDBBackend.__module__  # moto finds a service's URLs by it

    def batch_execute_statement(self, statements: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Execute each statement, and answer with an error for each that failed."""
        return [self._inserted(one) or super(Inserting, self).batch_execute_statement([one])[0] for one in statements]

    def _inserted(self, statement: dict[str, Any]) -> dict[str, Any] | None:
        insertion = _INSERT.fullmatch(statement["Statement"])
        if insertion is None or insertion["table"] not in self.tables:
            return None
        table = self.tables[insertion["table"]]
        item = dict(zip(re.findall(r"'(\w+)': \?", insertion["item"]), statement["Parameters"], strict=True))
        if table.get_item(DynamoType(item[table.hash_key_attr])) is not None:
            return {"Error": {"Code": "DuplicateItem", "Message": "Duplicate primary key exists in table"}}
        table.put_item(item)
        return {"TableName": table.name}


def _lightly_copied(table: Table, _: dict[int, object]) -> Any:  # noqa: ANN401 - moto's
    """Return a copy of a table whose items share their values, for moto, which copies a table for each transaction.

    It puts the copy in the table's place where an action fails. Values are replaced by an update, and not changed.
    """
    copied = copy.copy(table)
    copied.items = copy.copy(table.items)
    for key, item in table.items.items():
        light: Any = copy.copy(item)
        light.attrs = dict(light.attrs)
        copied.items[key] = light
    return copied


Table.__deepcopy__ = _lightly_copied  # type: ignore[attr-defined]

_INSERT = re.compile(r'INSERT INTO "(?P<table>[^"]+)" VALUE \{(?P<item>[^{}]*)\}')


class Application(DomainDispatcherApplication):
    """moto's services, with DynamoDB's requests one after the other, and the hidden messages of a queue.

    moto looks at a condition, and then writes: between the two, another thread's write of the same item would pass.
    """

    _dynamodb = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:  # noqa: ANN401 - as WSGI has it
        """Answer one request."""
        path = environ.get("PATH_INFO", "")
        if path.startswith(HIDDEN_PATH):
            account_id, region, queue_name = path.removeprefix(HIDDEN_PATH).split("/")
            sqs: Any = sqs_backends[account_id][region]
            answer = json.dumps(sqs.hidden(queue_name))
            start_response("200 OK", [("Content-Type", "application/json")])
            return [answer.encode()]
        if not environ.get("HTTP_X_AMZ_TARGET", "").startswith("DynamoDB_"):
            return super().__call__(environ, start_response)
        with self._dynamodb:
            return super().__call__(environ, start_response)


def main(stdin: TextIO, stdout: TextIO, port: int = 0) -> None:
    """Print the server's address as one line, then serve until `stdin` ends; `port` 0 is a free one."""
    sqs_backends.backend = OneAtATime
    dynamodb_backends.backend = Inserting
    urls.url_paths.update(dict.fromkeys(urls.url_paths, Responses().dispatch))
    threaded_moto_server.DomainDispatcherApplication = Application  # type: ignore[attr-defined] # imported there
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", file=stdout, flush=True)
    stdin.read()  # the server's thread is a daemon and ends with the process; stopping it in order takes half a second


if __name__ == "__main__":
    main(sys.stdin, sys.stdout, int(sys.argv[1]))
