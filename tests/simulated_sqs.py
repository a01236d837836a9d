"""A simulated SQS: queues with visibility timeouts, redrive policies and retention, and the calls that a function makes."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lambda_tasks.aws.transport import CallFailed, Transport
from lambda_tasks.errors import MAX_VISIBILITY_SECONDS, StateUnavailable
from lambda_tasks.state.protocol import State
from simulated_time import Schedule, SimulatedTime
from wrapper import ACCOUNT, REGION

DAY = 86400.0
LATENCY_SECONDS = 0.02


@dataclass(eq=False)
class Message:
    """A message in a queue. Times are seconds since the start."""

    message_id: str
    body: str
    sent_at: float
    number: int
    group: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    visible_at: float = 0.0
    received_at: float = math.nan
    first_received_at: float = math.nan
    receive_count: int = 0
    handle: str = ""
    redriven: bool = False


class Clock(Protocol):
    """The seconds since some start (`epoch_seconds`), and who is to know that something changed."""

    epoch_seconds: float

    @property
    def now(self) -> float:
        """The seconds that have passed."""
        ...

    def notify(self, what: object) -> None:
        """Tell that `what` has changed."""
        ...


class Queue:
    """A queue. What is received `max_receive_count` times and not deleted goes to `dead_letters`, as SQS does it."""

    def __init__(
        self,
        schedule: Clock,
        name: str,
        *,
        visibility_seconds: float = 180,
        retention_seconds: float = 4 * DAY,
        max_receive_count: int | None = None,
        dead_letters: Queue | None = None,
    ) -> None:
        self.name = name
        self.arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        self.is_fifo = name.endswith(".fifo")
        self.messages: list[Message] = []
        self.expired: list[Message] = []
        self.deleted: list[tuple[float, Message]] = []
        self.max_receive_count = max_receive_count
        self.dead_letters = dead_letters
        self._schedule = schedule
        self._visibility_seconds = visibility_seconds
        self.retention_seconds = retention_seconds
        self._numbers = itertools.count(1)
        self._deduplicated: set[str] = set()

    def send(self, body: str, *, group: str | None = None, attributes: dict[str, Any] | None = None) -> Message:
        """Take a message."""
        number, now = next(self._numbers), self._schedule.now
        message = Message(f"{self.name}-{number:06}", body, now, number, group, attributes or {}, visible_at=now)
        self._add(message)
        return message

    def receive(self, limit: int) -> list[Message]:
        """Return up to `limit` messages that are visible: of a FIFO group in order, and none behind one in flight."""
        now = self._schedule.now
        self._expire(now)
        received: list[Message] = []
        held: set[str | None] = set()
        for message in list(self.messages):
            if message.visible_at > now:
                held.add(message.group)
                continue
            if self.is_fifo and message.group in held:
                continue
            if self.max_receive_count is not None and message.receive_count >= self.max_receive_count:
                self._redrive(message)
                continue
            if len(received) < limit:
                received.append(message)
                self._hand_out(message, now)
        return received

    def delete(self, handle: str) -> None:
        """Delete the message of this receipt; on a FIFO queue only while it is in flight."""
        for message in self.messages:
            if message.handle == handle and not (self.is_fifo and message.visible_at <= self._schedule.now):
                self.messages.remove(message)
                self.deleted.append((self._schedule.now, message))
                return self._schedule.notify(self)
        return None

    def change_visibility(self, handle: str, seconds: float) -> str | None:
        """Let a message in flight become visible in so many seconds; return the code of SQS's refusal, or None."""
        now = self._schedule.now
        for message in self.messages:
            if message.handle == handle:
                if message.visible_at <= now:
                    return "MessageNotInflight"
                if now + seconds > message.received_at + MAX_VISIBILITY_SECONDS:
                    return "InvalidParameterValue"
                message.visible_at = now + seconds
                self._schedule.notify(self)
                return None
        return "ReceiptHandleIsInvalid"

    def next_visible_at(self) -> float:
        """Return when the next message becomes visible that is not."""
        return min((one.visible_at for one in self.messages if one.visible_at > self._schedule.now), default=math.inf)

    def record(self, message: Message) -> dict[str, Any]:
        """Return a message as Lambda hands it to the function."""
        attributes = {
            "ApproximateReceiveCount": str(message.receive_count),
            "SentTimestamp": self._ms(message.sent_at),
            "SenderId": "AIDAEXAMPLE",
            "ApproximateFirstReceiveTimestamp": self._ms(message.first_received_at),
        }
        if message.group is not None:
            attributes["MessageGroupId"] = message.group
        if self.is_fifo:
            attributes |= {"SequenceNumber": f"{message.number:020}", "MessageDeduplicationId": message.message_id}
        return {
            "messageId": message.message_id,
            "receiptHandle": message.handle,
            "body": message.body,
            "attributes": attributes,
            "messageAttributes": {
                name: {"dataType": value["DataType"], "stringValue": value.get("StringValue", "")}
                for name, value in message.attributes.items()
            },
            "eventSource": "aws:sqs",
            "eventSourceARN": self.arn,
            "awsRegion": REGION,
        }

    def take(self, request: Mapping[str, Any]) -> Message:
        """Take what ``SendMessage`` sends: on a FIFO queue once for each deduplication id."""
        deduplication_id = request.get("MessageDeduplicationId")
        if deduplication_id is not None and deduplication_id in self._deduplicated:
            return next(one for one in self.messages if one.attributes.get("deduplication") == deduplication_id)
        return self.send(
            str(request["MessageBody"]),
            group=request.get("MessageGroupId"),
            attributes=dict(request.get("MessageAttributes") or {}),
        )

    def _ms(self, seconds: float) -> str:
        return str(round((self._schedule.epoch_seconds + seconds) * 1000))

    def _hand_out(self, message: Message, now: float) -> None:
        message.receive_count += 1
        message.received_at = now
        if message.receive_count == 1:
            message.first_received_at = now
        message.visible_at = now + self._visibility_seconds
        message.handle = f"{message.message_id}-{message.receive_count}"

    def _redrive(self, message: Message) -> None:
        self.messages.remove(message)
        if self.dead_letters is not None:
            message.redriven = True
            self.dead_letters._add(message)

    def _expire(self, now: float) -> None:
        for message in list(self.messages):
            if now >= message.sent_at + self.retention_seconds:
                self.messages.remove(message)
                self.expired.append(message)

    def _add(self, message: Message) -> None:
        self.messages.append(message)
        self._schedule.notify(self)


@dataclass(frozen=True)
class Outage:
    """A time in which a part of the calls fail: of `of` ("table", "sqs", or one operation of it, such as "start").

    A call that fails takes `seconds`, or as long as its deadline allows. With `afterwards` the service did as it was
    asked, and the answer is lost. Times are seconds since the start.
    """

    of: str
    begins: float = 0.0
    ends: float = math.inf
    part: float = 1.0
    seconds: float = math.inf
    afterwards: bool = False
    code: str = ""


class Faults:
    """The outages of a simulation, and the time that calls take."""

    def __init__(self, schedule: Schedule, clock: SimulatedTime, outages: tuple[Outage, ...], chance: random.Random):
        self._schedule = schedule
        self._clock = clock
        self._outages = outages
        self._chance = chance

    def around(self, names: tuple[str, str], deadline: float | None, call: Callable[[], Any], failed: Any) -> Any:
        """Call what a service does, or raise what `failed` makes of the outage that is in its place."""
        outage = self._outage(names)
        left = math.inf if deadline is None else max(0.0, deadline - self._clock.monotonic())
        if outage is None:
            if left < LATENCY_SECONDS:
                self._schedule.sleep(left)
                raise failed(Outage(names[0]))
            self._schedule.sleep(LATENCY_SECONDS)
            return call()
        if outage.afterwards:
            call()
        self._schedule.sleep(min(outage.seconds, left) if min(outage.seconds, left) < math.inf else 3)
        raise failed(outage)

    def _outage(self, names: tuple[str, str]) -> Outage | None:
        now = self._schedule.now
        for outage in self._outages:
            if outage.of in names and outage.begins <= now < outage.ends and self._chance.random() < outage.part:
                return outage
        return None


class SimulatedSqs:
    """The queues by name, and the operations of SQS that a function uses."""

    def __init__(self, queues: Mapping[str, Queue]) -> None:
        self.queues = queues

    def answer(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return what SQS answers.

        Raises:
            CallFailed: it refuses the request.

        """
        queue = self.queues[request["QueueUrl"].rpartition("/")[2]]
        answer: dict[str, Any] = getattr(self, f"_{operation}")(queue, request)
        return answer

    def _GetQueueAttributes(self, queue: Queue, _: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802 - AWS's name
        attributes = {"QueueArn": queue.arn, "MessageRetentionPeriod": f"{queue.retention_seconds:.0f}"}
        if queue.dead_letters is not None:
            policy = {"deadLetterTargetArn": queue.dead_letters.arn, "maxReceiveCount": queue.max_receive_count}
            attributes["RedrivePolicy"] = json.dumps(policy)
        return {"Attributes": attributes}

    def _ChangeMessageVisibility(self, queue: Queue, request: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        code = queue.change_visibility(request["ReceiptHandle"], request["VisibilityTimeout"])
        if code:
            raise CallFailed(f"sqs answered 400 {code}", code=code)
        return {}

    def _ChangeMessageVisibilityBatch(self, queue: Queue, request: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        entries = request["Entries"]
        assert 1 <= len(entries) <= 10
        codes = {one["Id"]: queue.change_visibility(one["ReceiptHandle"], one["VisibilityTimeout"]) for one in entries}
        failed = [{"Id": entry, "Code": code, "SenderFault": True} for entry, code in codes.items() if code]
        return {"Successful": [{"Id": entry} for entry, code in codes.items() if not code], "Failed": failed}

    def _SendMessage(self, queue: Queue, request: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"MessageId": queue.take(request).message_id}


class SimulatedTransport(Transport):
    """The signed transport, with the simulated SQS at its end."""

    def __init__(self, faults: Faults, sqs: SimulatedSqs) -> None:
        self._faults = faults
        self._sqs = sqs

    def call(self, service: str, operation: str, request: Any, **where: Any) -> dict[str, Any]:
        """See `Transport.call`."""
        assert service == "sqs", f"{service} is not simulated"
        called: dict[str, Any] = self._faults.around(
            ("sqs", operation), where["deadline"], lambda: self._sqs.answer(operation, request), _call_failed
        )
        return called

    def send(self, *_: Any, **__: Any) -> bytes:
        """See `Transport.send`: no service with such an API is simulated."""
        raise CallFailed("nobody is there", code="AccessDenied")

    def close(self) -> None:
        """See `Transport.close`."""


class SimulatedStore:
    """A store that is away, or throttled, when the simulation says so."""

    def __init__(self, faults: Faults, store: State) -> None:
        self._faults = faults
        self.store = store

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        def call(*arguments: Any, **options: Any) -> Any:
            return self._faults.around(
                ("table", name), options.get("deadline"), lambda: method(*arguments, **options), _store_failed
            )

        return call


def _call_failed(outage: Outage) -> CallFailed:
    return CallFailed(f"{outage.of} does not answer", code=outage.code, retryable=not outage.code)


def _store_failed(outage: Outage) -> StateUnavailable:
    return StateUnavailable(f"{outage.of} does not answer")
