"""A simulation: the real dispatcher against a simulated SQS, a simulated table and a simulated clock.

Hours pass in a moment, and a seed gives the same history again::

    with Simulation(seed=7, max_receive_count=10, outages=[Outage("table", ends=3600)]) as simulation:
        simulation.send("ordinary", 20)
        history = simulation.run(hours=6)
    assert history.problems() == []

One invocation after the other runs in each of `concurrency` execution environments, whose calls and tasks take simulated
time. Not simulated: async tasks and several threads in one invocation, whose waiting is real.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from events import message_body
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.dispatch.worker import Worker
from lambda_tasks.errors import HardTimeLimitExceeded, SoftTimeLimitExceeded
from lambda_tasks.messages.attributes import CONTINUES
from lambda_tasks.settings import Settings
from memory_state import MemoryState
from simulated_sqs import DAY, Faults, Message, Outage, Queue, SimulatedSqs, SimulatedStore, SimulatedTransport
from simulated_time import Process, Schedule, passing
from wrapper import base_environ

__all__ = ["Outage", "Simulation", "work"]

HOUR = 3600.0
_MODULE = "catalogue.simulated"
# A message that its task fails on purpose, and one that may be skipped.
_FAILING = ("failing",)
_ENDED = ("returned", "raised")
# The longest that a call of the dispatcher's own may take, and a little more.
_RECORDED_WITHIN_SECONDS = 5.0
_MAY_BE_SKIPPED = ("alone_or_skipped",)


@dataclass
class Run:
    """One run of a message's task: its begin and its end, and how it ended. Times are seconds since the start."""

    message_id: str
    environment: int
    began: float
    ended: float = math.inf
    how: str = "died"


@dataclass
class Effect:
    """One run of a step: its name, its begin, and its end unless it was ended before."""

    name: str
    began: float
    ended: float | None = None


@dataclass
class Delivery:
    """One delivery of a message, and what the function answered: whether it is kept (None where it did not answer)."""

    at: float
    environment: int
    kept: bool | None = None


@dataclass
class Fate:
    """What became of a message: its deliveries, its runs, its dead letters, and when it was deleted or expired.

    One that `succeeds` another one took over from it, or from one that did.
    """

    message_id: str
    task: str
    group: str | None
    sent_at: float
    succeeds: str | None = None
    deliveries: list[Delivery] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    letters: list[dict[str, str]] = field(default_factory=list)
    redriven: bool = False
    expired: bool = False
    deleted_at: float | None = None

    @property
    def effects(self) -> list[Run]:
        """The runs that came to their end."""
        return [run for run in self.runs if run.how == "returned"]

    def told(self) -> str:
        """Say it in a line."""
        runs = ", ".join(f"{run.how} {run.began:.0f}-{run.ended:.0f} in {run.environment}" for run in self.runs)
        ends = [f"letter {letter.get('error_type')}: {letter.get('error_message')}" for letter in self.letters]
        ends += ["redriven by SQS"] * self.redriven + ["expired"] * self.expired
        ends += [f"deleted at {self.deleted_at:.0f}"] if self.deleted_at is not None else []
        at = " ".join(f"{delivery.at:.0f}" for delivery in self.deliveries)
        return f"{self.task} {self.message_id}: delivered at {at}; runs: {runs or 'none'}; {', '.join(ends) or 'left'}"


@dataclass
class History:
    """What happened: the fate of each message, by its id."""

    fates: dict[str, Fate]
    died: dict[int, float]
    ended_at: float
    lease_seconds: float

    def problems(self) -> list[str]:
        """Say what must not be, whatever failed meanwhile."""
        found = []
        for fate in self.fates.values():
            found += [f"{problem}: {fate.told()}" for problem in self._problems_of(fate)]
        return found + self._overlaps() + self._disorder()

    def _problems_of(self, fate: Fate) -> Iterator[str]:
        is_dead = bool(fate.letters) or fate.redriven
        if fate.redriven or any(not letter.get("error_message") for letter in fate.letters):
            yield "dead without a reason"
        if is_dead and not fate.runs:
            yield "died unrun"
        elif is_dead and fate.task not in _FAILING:
            yield "died, and its task does not fail"
        if len(fate.letters) > 1:
            yield f"{len(fate.letters)} letters"
        if fate.expired:
            yield "expired"
        elif fate.deleted_at is None and not is_dead:
            yield "is left in the queue"
        ended = [run for run in fate.runs if run.how in _ENDED]
        if fate.deleted_at is not None and not ended and not is_dead and not self._was_skipped(fate):
            yield "deleted unrun"
        final = [run for run in ended if run.how == "returned" or fate.task in _FAILING]
        if len(final) - len([run for run in final[:-1] if self._was_unrecorded(run)]) > 1:
            yield f"took effect {len(final)} times"

    def _was_unrecorded(self, run: Run) -> bool:
        """Tell whether the environment died between the run's end and its record: then it runs again."""
        return run.ended <= self.died.get(run.environment, math.inf) < run.ended + _RECORDED_WITHIN_SECONDS

    def _was_skipped(self, fate: Fate) -> bool:
        """Tell whether another message of the singleton had its lease when a message was deleted."""
        at = fate.deleted_at
        others = [one for one in self.fates.values() if one.task == fate.task and one is not fate]
        runs = [run for other in others for run in other.runs]
        return (
            fate.task in _MAY_BE_SKIPPED
            and at is not None
            and any(run.began <= at <= self._lease_ends_at(run) + _RECORDED_WITHIN_SECONDS for run in runs)
        )

    def _lease_ends_at(self, run: Run) -> float:
        return run.began + self.lease_seconds if run.how == "died" else run.ended

    def _overlaps(self) -> list[str]:
        """Say which messages of a singleton ran at the same time."""
        found = []
        for task in ("alone", "alone_or_skipped"):
            runs = [run for fate in self.fates.values() if fate.task == task for run in fate.runs]
            runs = sorted(runs, key=lambda run: run.began)
            for before, after in itertools.pairwise(runs):
                if after.began < before.ended:
                    found.append(f"{task} ran twice at the same time: {before} and {after}")
        return found

    def _disorder(self) -> list[str]:
        """Say in which FIFO groups a message took effect, or was given up, before an earlier one was through."""
        groups = collections.defaultdict(list)
        for fate in self.fates.values():
            if fate.group is not None:
                groups[fate.group].append(fate)
        found = []
        for group, fates in groups.items():
            times = [max(ends) for fate in fates if (ends := [run.ended for run in fate.runs if run.how in _ENDED])]
            if times != sorted(times):
                found.append(f"group {group} ran out of order: {[fate.told() for fate in fates]}")
        return found


class Simulation:
    """One queue and its dead-letter queue, one function, and its table (unless `has_table` is false).

    Of the invocations a part of `crashes` dies, at a random moment of their first `crash_within_seconds`. A part of
    `duplicates` of the batches is delivered to a second environment as well.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        concurrency: int = 4,
        batch_size: int = 10,
        timeout_seconds: float = 120,
        visibility_seconds: float | None = None,
        max_receive_count: int = 10,
        retention_seconds: float = 4 * DAY,
        is_fifo: bool = False,
        has_table: bool = True,
        outages: Sequence[Outage] = (),
        crashes: float = 0.0,
        crash_within_seconds: float = 5.0,
        duplicates: float = 0.0,
        settings: Settings | None = None,
    ) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - to be repeatable, not secret
        self.schedule = Schedule()
        self._stack = contextlib.ExitStack()
        self._clock = self._stack.enter_context(passing(self.schedule))
        self._stack.callback(self.schedule.close)
        suffix = ".fifo" if is_fifo else ""
        self.dead_letters = Queue(self.schedule, f"dead{suffix}", retention_seconds=14 * DAY)
        self.queue = Queue(
            self.schedule,
            f"queue{suffix}",
            visibility_seconds=6 * timeout_seconds if visibility_seconds is None else visibility_seconds,
            retention_seconds=retention_seconds,
            max_receive_count=max_receive_count,
            dead_letters=self.dead_letters,
        )
        queues = {queue.name: queue for queue in (self.queue, self.dead_letters)}
        faults = Faults(self.schedule, self._clock, tuple(outages), self.chance)
        self._transport = SimulatedTransport(faults, SimulatedSqs(queues))
        self._store = SimulatedStore(faults, MemoryState(clock=self._clock.time)) if has_table else None
        self._settings = settings or Settings()
        self._concurrency, self._batch_size, self._timeout_seconds = concurrency, batch_size, timeout_seconds
        self._crashes, self._crash_within_seconds = crashes, crash_within_seconds
        self._duplicates = duplicates
        self._fates: dict[str, Fate] = {}
        self._environments = itertools.count(1)
        self._running: dict[Process, _Environment] = {}
        self._senders = 0
        self._died: dict[int, float] = {}
        self.effects: list[Effect] = []

    @property
    def state(self) -> MemoryState:
        """The store behind the table."""
        assert self._store is not None
        assert isinstance(self._store.store, MemoryState)
        return self._store.store

    def __enter__(self) -> Simulation:
        _current.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        _current.remove(self)

    def send(self, task: str, count: int = 1, *, every: float = 0, group: str | None = None, **kwargs: Any) -> None:
        """Send messages for a task of `catalogue.simulated`, one `every` so many seconds."""
        self._senders += 1

        def sending(_: Process) -> None:
            for number in range(count):
                body = message_body(f"{_MODULE}.{task}", number=number, **kwargs)
                message = self.queue.send(body, group=group)
                fate = Fate(message.message_id, task, group, self.schedule.now)
                self._fates[message.message_id] = fate
                if every:
                    self.schedule.sleep(every)
            self._senders -= 1

        self.schedule.start(sending)

    def run(self, *, hours: float) -> History:
        """Let the function have the messages until none is left, for up to so many hours; return what happened."""
        for _ in range(self._concurrency):
            self._start_environment()
        self.schedule.run_until(hours * HOUR, lambda: not self._senders and not self.queue.messages)
        history = self._history()
        self.schedule.close()
        return history

    def work(self, seconds: float, message_id: str) -> None:
        """Be a task's work: take `seconds`, and the task's limits where they come first."""
        process = self.schedule.process
        assert process is not None, "only ordinary tasks are simulated, one at a time in each environment"
        environment = self._running[process]
        run = environment.run = Run(message_id, environment.number, self.schedule.now)
        self._fates[message_id].runs.append(run)
        ends_at = self.schedule.now + seconds
        limit_at = min(process.soft_at, process.hard_at)
        self.schedule.sleep(min(ends_at, max(limit_at, self.schedule.now)) - self.schedule.now)
        run.ended = self.schedule.now
        environment.run = None
        if limit_at < ends_at:
            run.how = "interrupted"
            raise SoftTimeLimitExceeded if process.soft_at < process.hard_at else HardTimeLimitExceeded
        run.how = "returned"

    def step(self, name: str, seconds: float) -> None:
        """Be the work of a step, as `work` is that of a task."""
        process = self.schedule.process
        began, now = self.schedule.now, self.schedule.now
        limit_at = math.inf if process is None else min(process.soft_at, process.hard_at)
        effect = Effect(name, began)
        self.effects.append(effect)
        self.schedule.sleep(max(0.0, min(now + seconds, limit_at) - now))
        if limit_at < now + seconds:
            raise SoftTimeLimitExceeded if process and process.soft_at < process.hard_at else HardTimeLimitExceeded
        effect.ended = self.schedule.now

    def fail(self, message_id: str, error: BaseException) -> None:
        """Be the end of a task that fails: note it, and raise `error`."""
        self._fates[message_id].runs[-1].how = "raised"
        raise error

    def _start_environment(self, batch: Sequence[Message] = ()) -> None:
        """Start an execution environment, which polls; or one that has a single batch, a duplicate."""
        worker = Worker(
            self._settings,
            base_environ(),
            state=self._store,
            transport=self._transport,
            jitter=self.chance.random,
            most_side_threads=0,
        )
        environment = _Environment(next(self._environments), worker)

        def live(process: Process) -> None:
            self._running[process] = environment
            process.died = died
            if batch:
                self._invoke(environment, process, batch)
            while not batch:
                messages = self.queue.receive(self._batch_size)
                if messages:
                    self._handle(environment, process, messages)
                else:
                    self.schedule.wait_for(self.queue, self.queue.next_visible_at())

        def died() -> None:
            self._died[environment.number] = self.schedule.now
            if environment.run is not None:
                environment.run.ended = self.schedule.now
            if not batch:
                self._start_environment()

        self.schedule.start(live)

    def _handle(self, environment: _Environment, process: Process, messages: Sequence[Message]) -> None:
        """Do as the event source mapping does: invoke the function, and delete what it does not keep."""
        handles = [message.handle for message in messages]
        if self.chance.random() < self._duplicates:
            self._start_environment(messages)
        for handle, is_kept in zip(handles, self._invoke(environment, process, messages), strict=True):
            if not is_kept:
                self.queue.delete(handle)

    def _invoke(self, environment: _Environment, process: Process, messages: Sequence[Message]) -> list[bool]:
        """Invoke the function, and return which messages it keeps. It may die meanwhile."""
        now = self.schedule.now
        process.dies_at = now + self._timeout_seconds
        if self.chance.random() < self._crashes:
            process.dies_at = now + self.chance.uniform(0, self._crash_within_seconds)
        deliveries = [Delivery(now, environment.number) for _ in messages]
        for message, delivery in zip(messages, deliveries, strict=True):
            self._fate_of(message).deliveries.append(delivery)
        event = {"Records": [self.queue.record(one) for one in messages]}
        answer: Any = dispatch(event, _Context(self.schedule, now + self._timeout_seconds), environment.worker)
        process.dies_at = math.inf
        kept = {item["itemIdentifier"] for item in answer["batchItemFailures"]}
        for message, delivery in zip(messages, deliveries, strict=True):
            delivery.kept = message.message_id in kept
        return [bool(delivery.kept) for delivery in deliveries]

    def _fate_of(self, message: Message) -> Fate:
        """Return the fate of a message, also of one that the function sent, to take over from another one."""
        if message.message_id not in self._fates:
            succeeds = message.attributes[CONTINUES]["StringValue"]
            fate = Fate(message.message_id, self._fates[succeeds].task, message.group, message.sent_at, succeeds)
            self._fates[message.message_id] = fate
        return self._fates[message.message_id]

    def _history(self) -> History:
        for at, message in self.queue.deleted:
            self._fate_of(message).deleted_at = at
        for message in self.queue.expired:
            self._fate_of(message).expired = True
        for message in self.dead_letters.messages:
            if message.redriven:
                self._fates[message.message_id].redriven = True
            else:
                reason = {
                    name.removeprefix("lambda_tasks_"): str(value.get("StringValue"))
                    for name, value in message.attributes.items()
                }
                self._fates[reason["message_id"]].letters.append(reason)
        return History(self._fates, self._died, self.schedule.now, lease_seconds=self._timeout_seconds + 1)


@dataclass
class _Environment:
    """An execution environment: its number, its worker, and the run that it is in."""

    number: int
    worker: Worker
    run: Run | None = None


class _Context:
    """The context object of an invocation."""

    aws_request_id = "11111111-2222-3333-4444-555555555555"

    def __init__(self, schedule: Schedule, ends_at: float) -> None:
        self._schedule, self._ends_at = schedule, ends_at

    def get_remaining_time_in_millis(self) -> int:
        return round((self._ends_at - self._schedule.now) * 1000)


_current: list[Simulation] = []


def work(seconds: float, message_id: str) -> None:
    """Do as `Simulation.work` says, in the simulation that runs."""
    _current[-1].work(seconds, message_id)


def step(name: str, seconds: float) -> None:
    """Do as `Simulation.step` says, in the simulation that runs."""
    _current[-1].step(name, seconds)


def times(name: str) -> int:
    """Return how often a step began to run."""
    return sum(one.name == name for one in _current[-1].effects)


def runs_of(message_id: str) -> int:
    """Return how often the message's task began to run."""
    return len(_current[-1]._fates[message_id].runs)


def fail(message_id: str, error: BaseException) -> None:
    """Do as `Simulation.fail` says, in the simulation that runs."""
    _current[-1].fail(message_id, error)
