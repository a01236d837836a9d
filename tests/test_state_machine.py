"""Two execution environments, one store and a clock, in every order that Hypothesis comes up with."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

import fault_proxy
import stores
from fault_proxy import Fault, FaultProxy
from lambda_tasks.aws.transport import Transport
from lambda_tasks.errors import LeaseLost, StateUnavailable
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.state.protocol import AlreadySucceeded, Attempt, Busy, KeyLease, Started, State
from lambda_tasks.state.record import Ending, Status
from memory_state import MemoryState
from stores import DAY, Clock, create_table, dynamodb_state, soon

pytestmark = pytest.mark.usefixtures("uncovered")

LEASE_SECONDS = 60.0
MESSAGES = ("a", "b")
ENVIRONMENTS = st.sampled_from((0, 1))


@dataclass
class Take:
    """A lease that was taken, in the order of taking. One that is not `certain` perhaps was: no answer came."""

    owner: str
    until: float
    certain: bool = True
    given_back: bool = False


@dataclass
class Takes:
    """The model of one lease."""

    clock: Clock
    all: list[Take] = field(default_factory=list)

    def add(self, owner: str, *, certain: bool) -> None:
        self.all.append(Take(owner, self.clock.now + LEASE_SECONDS, certain))

    def held(self) -> list[Take]:
        """Those that are held now, or perhaps."""
        return [one for one in self.all if one.until > self.clock.now and not one.given_back]

    def of(self, owner: str) -> Take:
        return next(one for one in self.all if one.owner == owner)

    def after(self, owner: str) -> list[Take]:
        """Those that came after that of `owner`."""
        return self.all[self.all.index(self.of(owner)) + 1 :]


@dataclass
class Message:
    """The model of a message: still queued, succeeded or perhaps, and who took it."""

    id: str
    takes: Takes
    queued: bool = True
    succeeded: bool = False
    may_have_succeeded: bool = False


class Interleavings(RuleBasedStateMachine):
    """Environments take messages of a queue that delivers at least once, and crash, while leases expire."""

    clock: Clock
    state: State
    proxy: ClassVar[FaultProxy | None] = None
    transport: ClassVar[Transport | None] = None
    table: ClassVar[str] = ""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.state = (
            dynamodb_state(self.transport, self.table, self.clock)
            if self.transport
            else MemoryState(clock=self.clock, record_ttl_seconds=14 * DAY)
        )
        prefix = uuid.uuid4().hex
        self.messages = [Message(f"{prefix}-{name}", Takes(self.clock)) for name in MESSAGES]
        self.singleton = prefix
        self.singleton_takes = Takes(self.clock)
        self.running: list[tuple[Attempt, Message] | None] = [None, None]
        self.singletons: list[KeyLease | None] = [None, None]

    @rule(environment=ENVIRONMENTS, number=st.integers(0, len(MESSAGES) - 1))
    def deliver(self, environment: int, number: int) -> None:
        """A message is delivered, also one that runs elsewhere, or whose deletion went wrong."""
        message = self.messages[number]
        if self.running[environment] is not None:
            return
        attempt = Attempt(message.id, "shop.tasks.send", LEASE_SECONDS)
        try:
            answer = self.state.start(attempt, deadline=soon())
        except StateUnavailable:
            message.takes.add(attempt.owner, certain=False)
            return
        if isinstance(answer, Started):
            assert not message.succeeded, "a success ran again"
            assert not any(one.certain for one in message.takes.held()), "two holders of one lease"
            message.takes.add(attempt.owner, certain=True)
            self.running[environment] = (attempt, message)
        elif isinstance(answer, Busy):
            assert answer.until in {one.until for one in message.takes.held()}
        else:
            assert isinstance(answer, AlreadySucceeded)
            assert message.may_have_succeeded
            message.queued = False

    @rule(environment=ENVIRONMENTS)
    def take_singleton(self, environment: int) -> None:
        """A task that runs asks for the singleton that all of them share."""
        running = self.running[environment]
        if running is None or self.singletons[environment] is not None:
            return
        attempt, _ = running
        lease = KeyLease(self.singleton, uuid.uuid4().hex, LEASE_SECONDS, attempt.message_id)
        try:
            busy = self.state.acquire(lease, deadline=soon())
        except StateUnavailable:
            self.singleton_takes.add(lease.owner, certain=False)
            return
        if busy is None:
            assert not any(one.certain for one in self.singleton_takes.held()), "two holders of one singleton"
            self.singleton_takes.add(lease.owner, certain=True)
            self.singletons[environment] = lease
        else:
            assert isinstance(busy, Busy)
            assert busy.until in {one.until for one in self.singleton_takes.held()}

    @rule(environment=ENVIRONMENTS, succeeds=st.booleans(), later=st.sampled_from([Status.RETRYING, Status.DEFERRED]))
    def end(self, environment: int, *, succeeds: bool, later: Status) -> None:
        """A task ends: with a success, and the message is deleted once that is written; or to run again."""
        running, self.running[environment] = self.running[environment], None
        if running is None:
            return
        attempt, message = running
        self.give_singleton_back(environment)
        taken_over = message.takes.after(attempt.owner)
        try:
            if succeeds:
                self.state.finish(attempt, Ending(Status.SUCCEEDED), deadline=soon())
            else:
                self.state.release(attempt, Ending(later), deadline=soon())
        except LeaseLost:
            assert taken_over, "a lease was lost that nobody took"
            return
        except StateUnavailable:
            message.takes.of(attempt.owner).certain = False
            message.may_have_succeeded |= succeeds
            return
        assert not any(one.certain for one in taken_over), "an outcome was written without the lease"
        message.takes.of(attempt.owner).given_back = True
        if succeeds:
            assert not message.succeeded, "a success was written twice"
            message.succeeded, message.may_have_succeeded, message.queued = True, True, False

    @rule(environment=ENVIRONMENTS)
    def crash(self, environment: int) -> None:
        """An execution environment is gone, and what it held stays held until that expires."""
        self.running[environment] = None
        self.singletons[environment] = None

    @rule(seconds=st.sampled_from([LEASE_SECONDS, LEASE_SECONDS - 1, 1.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.proxy is not None)
    @rule(faults=st.lists(st.sampled_from(Fault), min_size=1, max_size=3))
    def break_the_network(self, faults: list[Fault]) -> None:
        """The next calls go wrong."""
        assert self.proxy is not None
        self.proxy.faults = faults

    @invariant()
    def nothing_is_lost(self) -> None:
        """A message that is no longer queued has succeeded."""
        assert all(message.queued or message.may_have_succeeded for message in self.messages)

    def teardown(self) -> None:
        """Every message that is still queued can run once all leases are over."""
        if self.proxy is not None:
            self.proxy.faults = []
        self.running = [None, None]
        self.clock.advance(LEASE_SECONDS)
        for number, message in enumerate(self.messages):
            if message.queued:
                self.deliver(0, number)
                self.end(0, succeeds=True, later=Status.RETRYING)
            assert not message.queued, "a message was lost"

    def give_singleton_back(self, environment: int) -> None:
        lease, self.singletons[environment] = self.singletons[environment], None
        if lease is None:
            return
        taken_over = self.singleton_takes.after(lease.owner)
        try:
            self.state.surrender(lease, deadline=soon())
        except LeaseLost:
            assert taken_over, "a singleton was lost that nobody took"
        except StateUnavailable:
            self.singleton_takes.of(lease.owner).certain = False
        else:
            assert not any(one.certain for one in taken_over), "two messages of a singleton ran together, unnoticed"
            self.singleton_takes.of(lease.owner).given_back = True


@pytest.fixture(params=["memory", "dynamodb", "dynamodb with faults"])
def machine(request: pytest.FixtureRequest) -> Iterator[tuple[type[Interleavings], int]]:
    """The machine over each store, and how many examples that is worth: those over HTTP are slow."""
    if request.param == "memory":
        yield Interleavings, 400
        return
    aws: EmbeddedAws = request.getfixturevalue("embedded_aws")
    with fault_proxy.serve(aws.endpoint_url) as proxy:
        url = aws.endpoint_url if request.param == "dynamodb" else proxy.url
        with stores.transport({**aws.environ(), "AWS_ENDPOINT_URL": url}) as transport:
            parts = {"transport": transport, "table": create_table(aws), "proxy": proxy if url == proxy.url else None}
            yield type("OverDynamoDb", (Interleavings,), parts), 25


def test_no_interleaving_loses_a_message_or_runs_a_success_again(machine: tuple[type[Interleavings], int]) -> None:
    """Deliver, start, crash, expire and finish in any order: one holder of a lease, no message lost, one success each."""
    interleavings, examples = machine
    run_state_machine_as_test(interleavings, settings=settings(max_examples=examples, stateful_step_count=40))  # type: ignore[no-untyped-call, unused-ignore] # with Python 3.10
