"""Two execution environments, one queue and one table, in every order that Hypothesis comes up with.

The dispatchers are real, and so is the store of leases; SQS and the clock are the test's own. An environment that
crashes does nothing from then on: no call of it arrives, and its answer is not read.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from catalogue import controlled
from events import Context, message_body, sqs_event, sqs_record
from lambda_tasks.aws.transport import CallFailed, Transport
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.dispatch.worker import Worker
from lambda_tasks.errors import StateUnavailable
from lambda_tasks.settings import Settings
from lambda_tasks.state.protocol import Attempt, Started
from lambda_tasks.state.record import Status
from memory_state import MemoryState
from stores import Clock
from wrapper import base_environ

VISIBILITY_SECONDS = 30.0
MESSAGES = ("a", "b")
ENVIRONMENTS = st.sampled_from((0, 1))
WAIT_SECONDS = 20


@dataclass
class Sent:
    """One message, as SQS knows it."""

    visible_at: float = 0.0
    receives: int = 0
    is_deleted: bool = False


@dataclass
class Sqs:
    """A queue of those messages, and its dead-letter queue; `failing` calls fail before they do anything."""

    clock: Clock
    messages: dict[str, Sent] = field(default_factory=lambda: {message_id: Sent() for message_id in MESSAGES})
    dead: list[str] = field(default_factory=list)
    failing: int = 0


class Environment(Transport):
    """An execution environment: a dispatcher, its way to AWS, and whether it is still alive."""

    def __init__(self, number: int, sqs: Sqs, state: MemoryState) -> None:
        environ = base_environ()
        super().__init__(lambda: None, environ)  # type: ignore[arg-type, return-value]
        self.is_alive = True
        self.holds: Attempt | None = None
        self._sqs = sqs
        self.delivered = ""
        self.thread: threading.Thread | None = None
        self.answer: Any = None
        self.control = controlled.Control()
        self._name = f"environment {number} {id(self)}"
        controlled.controls[self._name] = self.control
        self._worker = Worker(Settings(), environ, state=MortalState(state, self), jitter=lambda: 0.5)
        self._worker._transport = self

    def call(self, service: str, operation: str, request: Any, **_: Any) -> dict[str, Any]:  # noqa: ARG002
        if not self.is_alive:
            raise CallFailed("this environment was killed")
        if self._sqs.failing:
            self._sqs.failing -= 1
            raise CallFailed("SQS does not answer", code="InternalError")
        if operation == "SendMessage":
            self._sqs.dead.append(request["MessageAttributes"]["lambda_tasks_message_id"]["StringValue"])
            return {"MessageId": "dead"}
        if operation == "ChangeMessageVisibilityBatch":
            for entry in request["Entries"]:
                self._sqs.messages[entry["ReceiptHandle"]].visible_at = self._sqs.clock() + entry["VisibilityTimeout"]
            return {}
        policy = '{"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:123456789012:dead"}'
        return {"Attributes": {"RedrivePolicy": policy}}

    def deliver(self, message_id: str) -> None:
        """Invoke the function with a message; return when its task waits, or the invocation is over."""
        sent = self._sqs.messages[message_id]
        sent.receives += 1
        sent.visible_at = self._sqs.clock() + VISIBILITY_SECONDS
        body = message_body("catalogue.controlled.controlled")
        record = sqs_record(body, message_id=message_id, ApproximateReceiveCount=str(sent.receives))
        record["receiptHandle"] = message_id
        self.delivered = message_id

        def invoke() -> None:
            self.answer = dispatch(sqs_event(record), Context(), self._worker)
            self.control.events.put("over")

        self.thread = threading.Thread(target=invoke, name=self._name)
        self.thread.start()
        if self.control.events.get(timeout=WAIT_SECONDS) == "over":
            self._end()

    def finish(self, how: str) -> None:
        """Let the task end, and SQS act on the answer."""
        self.control.orders.put(how)
        assert self.control.events.get(timeout=WAIT_SECONDS) == "over"
        self._end()

    def _end(self) -> None:
        assert self.thread is not None
        self.thread.join()
        self.thread = None
        self.holds = None
        if self.is_alive and self.answer == {"batchItemFailures": []}:
            self._sqs.messages[self.delivered].is_deleted = True


class MortalState:
    """The store, as long as its environment lives."""

    def __init__(self, state: MemoryState, environment: Environment) -> None:
        self._state = state
        self._environment = environment

    def __getattr__(self, name: str) -> Any:
        if not self._environment.is_alive:
            raise StateUnavailable("this environment was killed")
        return getattr(self._state, name)

    def start(self, attempt: Attempt, *, deadline: float) -> Any:
        started = self._state.start(attempt, deadline=deadline)
        if isinstance(started, Started):
            self._environment.holds = attempt
        return started


class TwoEnvironments(RuleBasedStateMachine):
    """Deliver, finish, crash, let time pass: a message is done once, or still there."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.sqs = Sqs(self.clock)
        self.state = MemoryState(clock=self.clock)
        self.environments = [Environment(number, self.sqs, self.state) for number in range(2)]
        self.held_since: dict[str, float] = {}

    def running(self, number: int) -> bool:
        return self.environments[number].thread is not None

    @precondition(lambda self: not all(map(self.running, range(2))))
    @rule(number=ENVIRONMENTS, message_id=st.sampled_from(MESSAGES), duplicate=st.booleans())
    def deliver(self, number: int, message_id: str, *, duplicate: bool) -> None:
        """SQS delivers what is visible, and now and then what is not."""
        sent = self.sqs.messages[message_id]
        due = sent.visible_at <= self.clock() or duplicate
        if not self.running(number) and not sent.is_deleted and due:
            self.environments[number].deliver(message_id)
            if self.running(number):
                attempt = self.environments[number].holds
                assert attempt is not None
                self.held_since[attempt.owner] = self.clock()

    @precondition(lambda self: any(map(self.running, range(2))))
    @rule(number=ENVIRONMENTS, how=st.sampled_from(["return", "fail", "retry"]))
    def finish(self, number: int, how: str) -> None:
        """A task ends."""
        if self.running(number):
            self.environments[number].finish(how)

    @precondition(lambda self: any(map(self.running, range(2))))
    @rule(number=ENVIRONMENTS)
    def crash(self, number: int) -> None:
        """An environment is killed while its task runs, and Lambda makes another one."""
        if self.running(number):
            killed = self.environments[number]
            killed.is_alive = False
            killed.finish("return")
            self.environments[number] = Environment(number, self.sqs, self.state)

    @precondition(lambda self: any(map(self.running, range(2))) and not all(map(self.running, range(2))))
    @rule()
    def overtake(self) -> None:
        """A lease ends before its task does, and the other environment gets the message."""
        slow = next(number for number in range(2) if self.running(number))
        self.pass_time(100.0)
        self.deliver(1 - slow, self.environments[slow].delivered, duplicate=False)

    @rule(seconds=st.sampled_from([1.0, 29.0, 31.0, 100.0]))
    def pass_time(self, seconds: float) -> None:
        """Visibility timeouts and leases end."""
        self.clock.advance(seconds)

    @rule(calls=st.integers(1, 2))
    def break_sqs(self, calls: int) -> None:
        """The next calls to SQS fail."""
        self.sqs.failing = calls

    @invariant()
    def no_message_is_lost(self) -> None:
        """A message that SQS deleted has succeeded, or is a dead letter."""
        for message_id, sent in self.sqs.messages.items():
            record = self.state.record(message_id, deadline=0)
            succeeded = record is not None and record.status is Status.SUCCEEDED
            assert not sent.is_deleted or succeeded or message_id in self.sqs.dead

    @invariant()
    def no_lease_has_two_holders(self) -> None:
        """Two environments run one message only where the lease of the first has expired."""
        holders = [one.holds for one in self.environments if one.thread is not None and one.holds is not None]
        live = [one for one in holders if self.clock() < self.held_since[one.owner] + one.lease_seconds]
        assert len({one.message_id for one in live}) == len(live)

    def teardown(self) -> None:
        """In the end every message is done, however often its environments crashed."""
        for number in range(2):
            self.finish(number, "return")
        self.sqs.failing = 0
        for _ in range(3):
            for message_id in MESSAGES:
                self.clock.advance(12 * 3600)
                self.deliver(0, message_id, duplicate=False)
                self.finish(0, "return")
        self.no_message_is_lost()
        assert all(sent.is_deleted for sent in self.sqs.messages.values())
        for environment in self.environments:
            controlled.controls.pop(environment._name)


TestTwoEnvironments = TwoEnvironments.TestCase
TestTwoEnvironments.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
