"""The chaos: each call of AWS is a place where a function may die, or wait for ever; then random histories, as in a soak.

A scenario is a batch of messages. Its calls are counted first, in a run in which nothing happens. Then it is run again and
again, and at one of the calls something happens, once:

- the runtime is killed before the service sees the call, or after it did;
- the call is swallowed: accepted, and never answered, before or after the service did as it was asked;
- every call of one kind is swallowed, for the whole of the first invocation.

Functions are real processes with the real runtime, layer and table; several of them work at the same time. A seed gives the
order of the cases, and the name of a case is all it takes to run it again::

    CHAOS_CASE="failing: killed after call 3" make chaos

After them come random histories: soaks, in which calls are swallowed too.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import random
import re
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from fault_proxy import Encounter, FaultProxy
from fault_proxy import serve as serve_faults
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.mapping.event_source_mapping import EventSourceMapping
from lambda_tasks.local.runtime.process import Invocation, Runtime, running
from served_sqs import ServedSqs
from soak import (
    Accounts,
    dead,
    function,
    logged,
    put_payload,
    read_effects,
    read_steps,
    runtime_processes,
    send,
    succeeded,
)
from stores import create_table

TIMEOUT_SECONDS = 4
LONGEST_CASE_SECONDS = 60  # an outage of the table puts messages off for up to 38 s


@dataclass(frozen=True)
class Scenario:
    """A batch of messages, by the names of their tasks in `catalogue.soak`, and the function that has it."""

    name: str
    tasks: tuple[str, ...]
    concurrency: str = "1"
    is_fifo: bool = False
    # SQS delivers a message again when its lease is over, or while a dead environment still has it.
    visibility_seconds: int = TIMEOUT_SECONDS + 1


SCENARIOS = (
    Scenario("ordinary", ("succeed",)),
    Scenario("several", ("succeed", "succeed", "fail", "succeed")),
    Scenario("keys", ("keyed", "keyed")),
    Scenario("keys in groups", ("keyed", "succeed", "keyed"), is_fifo=True),
    Scenario("failing", ("fail",)),
    Scenario("rejected", ("rejected",)),
    Scenario("retried", ("recover",)),
    Scenario("singleton", ("alone", "alone"), visibility_seconds=2),
    Scenario("skipping singleton", ("alone_or_skipped",), visibility_seconds=2),
    Scenario("batch task", ("together", "together", "together")),
    Scenario("async", ("succeed_async", "succeed_async", "fail", "succeed")),
    Scenario("async batch task", ("together_async", "together_async")),
    Scenario("threads", ("succeed", "fail", "recover", "together", "take_time", "alone"), concurrency="4"),
    Scenario("steps", ("in_steps",)),
    Scenario("steps among others", ("in_steps", "succeed", "in_steps"), concurrency="4"),
    Scenario("payload", ("succeed", "elsewhere", "succeed")),
    Scenario("stopped", ("overrun", "succeed")),
    Scenario("FIFO", ("succeed", "recover", "succeed_async", "fail", "succeed"), is_fifo=True),
    Scenario("FIFO batch task", ("together", "together", "recover", "together"), is_fifo=True),
    Scenario("FIFO threads", ("succeed", "fail", "alone", "take_time"), concurrency="4", is_fifo=True),
)

KILLED_BEFORE, KILLED_AFTER = "killed before", "killed after"
SWALLOWED, SWALLOWED_AFTERWARDS, ALL_SWALLOWED = "swallowed", "swallowed afterwards", "swallowed whenever"
AT_A_CALL = (KILLED_BEFORE, KILLED_AFTER, SWALLOWED, SWALLOWED_AFTERWARDS)


@dataclass(frozen=True)
class Case:
    """A scenario, and what happens at which of its calls: at the one with this number, or at all of one operation.

    Which operation a number is may differ from run to run, where several calls are made at the same time.
    """

    scenario: Scenario
    action: str = ""
    number: int = -1
    operation: str = ""

    @classmethod
    def named(cls, name: str) -> Case:
        """Return the case that has this name."""
        scenario, _, what = name.partition(": ")
        action = max((one for one in (*AT_A_CALL, ALL_SWALLOWED) if what.startswith(f"{one} ")), key=len)
        where, number = what.removeprefix(f"{action} "), what.rpartition(" ")[2]
        found = next(one for one in SCENARIOS if one.name == scenario)
        return cls(found, action, operation=where) if action == ALL_SWALLOWED else cls(found, action, int(number))

    def __str__(self) -> str:
        where = self.operation if self.action == ALL_SWALLOWED else f"call {self.number}"
        return f"{self.scenario.name}: {self.action} {where}" if self.action else self.scenario.name


@dataclass
class Verdict:
    """What a case came to: what must not be, which calls there were, and whether something happened at one."""

    case: Case
    problems: list[str]
    calls: list[str]
    happened: bool
    seconds: float
    unanswered: int = 0
    left: int = 0

    @property
    def is_late(self) -> bool:
        """Whether it is wrong in nothing but time: messages were put off, and are in the queue yet, or no answer came."""
        return self.left > 0 or (self.unanswered > 0 and not self.problems)

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong, and each invocation was answered that nobody killed."""
        return not self.problems and not self.unanswered

    def told(self) -> str:
        """Say it in a few lines."""
        at = f" ({self.calls[self.case.number]})" if 0 <= self.case.number < len(self.calls) else ""
        nothing = "" if self.happened or not self.case.action else ", but there was no such call"
        head = f"{'held' if self.holds else 'VIOLATED'}  {self.case}{at}{nothing}, {self.seconds:.0f} s"
        problems = list(self.problems)
        if self.unanswered:
            problems.append(f"{self.unanswered} invocations were not answered before the function's timeout")
        return "\n".join([head, *(f"    {problem}" for problem in problems)])


@dataclass
class _Plan:
    """What meets the calls of a case."""

    case: Case
    kill: Callable[[], object]
    calls: list[str] = field(default_factory=list)
    happened: bool = False
    is_first_invocation: bool = True
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def meets(self, operation: str, body: bytes) -> Encounter | None:
        """Count a call, and say what meets it."""
        if operation == "UpdateItem":
            operation = _update(body)
        with self._lock:
            number = len(self.calls)
            self.calls.append(operation)
            if self.case.action == ALL_SWALLOWED:
                is_it = self.is_first_invocation and operation == self.case.operation
            else:
                is_it = number == self.case.number
            if not is_it:
                return None
            self.happened = True
        return {
            KILLED_BEFORE: Encounter(before=self.kill, is_passed_on=False),
            KILLED_AFTER: Encounter(after=self.kill),
            SWALLOWED: Encounter(is_passed_on=False, is_swallowed=True),
            SWALLOWED_AFTERWARDS: Encounter(is_swallowed=True),
            ALL_SWALLOWED: Encounter(is_passed_on=False, is_swallowed=True),
        }[self.case.action]


def _update(body: bytes) -> str:
    """Say what an update of the table is for: an item's lease begins or ends, or something else of it changes."""
    does = (
        "ends" if re.search(rb'REMOVE[^"]*#lease_until', body) else "starts" if b":lease_until" in body else "changes"
    )
    return f"{next((kind for kind in ('singleton', 'key') if f'{kind}#'.encode() in body), 'message')} {does}"


class Lane:
    """A function, its table and its way to AWS, which has one case after the other."""

    def __init__(self, aws: EmbeddedAws, runtime: Runtime, proxy: FaultProxy, table: str, effects: Path) -> None:
        self._aws = aws
        self._runtime = runtime
        self._proxy = proxy
        self._sqs = ServedSqs()
        proxy.serves = self._sqs.answer
        self._table = table
        self._effects = effects
        self._killed: set[str] = set()
        self._timed_out = 0
        self._plan: _Plan | None = None

    def run(self, case: Case) -> Verdict:
        """Let the function have the case's messages until none is left."""
        started, scenario = time.monotonic(), case.scenario
        plan = self._plan = _Plan(case, self._kill)
        self._timed_out = 0
        suffix = ".fifo" if scenario.is_fifo else ""
        messages, dead_letters = self._sqs.create(
            f"chaos-{uuid.uuid4()}{suffix}", visibility_seconds=scenario.visibility_seconds, max_receive_count=1000
        )
        sent = send(messages, scenario.tasks, group="group" if scenario.is_fifo else None)
        self._proxy.meets = plan.meets
        mapping = EventSourceMapping(cast("Any", messages), self._invoke)
        while messages.depth() and time.monotonic() < started + LONGEST_CASE_SECONDS:
            mapping.poll(wait_seconds=1)
        self._proxy.meets = lambda _operation, _body: None
        lines = self._runtime.log_lines()
        done = succeeded(self._aws, self._table)
        if case.action in (SWALLOWED, ALL_SWALLOWED):  # a success that the table does not take is one all the same
            done |= {message_id for message_id, _, outcome in logged(lines) if outcome == "succeeded"}
        accounts = Accounts(
            sent,
            succeeded=done & sent.keys(),
            dead=dead(dead_letters),
            effects=[effect for effect in read_effects(self._effects) if effect["message_id"] in sent],
            logged=logged(lines),
            killed=self._killed,
            left=messages.depth(),
            duplicates=0,
            faults=int(plan.happened),
            seconds=time.monotonic() - started,
            groups={"group": list(sent)} if scenario.is_fifo else {},
            lines=lines,
            steps=[line for line in read_steps(self._effects) if line["message_id"] in sent],
        )
        problems = accounts.problems()
        return Verdict(case, problems, plan.calls, plan.happened, accounts.seconds, self._timed_out, accounts.left)

    def _invoke(self, wanted: dict[str, Any]) -> Invocation:
        try:
            answer = self._runtime.invoke(wanted)
        except LocalError:  # killed between two invocations, which Lambda would not route to
            answer = self._runtime.invoke(wanted)
        if self._plan is not None:
            self._plan.is_first_invocation = False
        if answer.is_error and answer.payload.get("errorType") == "Sandbox.Timedout":
            self._timed_out += 1
            alive = {name for _, name in runtime_processes(self._effects)}
            self._killed |= {effect["process"] for effect in read_effects(self._effects)} - alive
        return answer

    def _kill(self) -> None:
        for pid, name in runtime_processes(self._effects):
            with contextlib.suppress(ProcessLookupError):
                self._killed.add(name)
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def lane(aws: EmbeddedAws, emulator: Path, folder: Path, concurrency: str) -> Iterator[Lane]:
    """Start a function of the soak, whose tasks run in so many threads."""
    effects = folder / f"effects-{uuid.uuid4()}"
    effects.touch()
    table = create_table(aws)
    with serve_faults(aws.endpoint_url) as proxy:
        configuration = function(aws, proxy, table, effects, concurrency, TIMEOUT_SECONDS)
        with running(configuration, emulator) as runtime:
            yield Lane(aws, runtime, proxy, table, effects)


def cases_of(scenario: Scenario, calls: Sequence[str]) -> list[Case]:
    """Return each case of a scenario with these calls."""
    at_a_call = [
        Case(scenario, action, number, operation) for action in AT_A_CALL for number, operation in enumerate(calls)
    ]
    return at_a_call + [Case(scenario, ALL_SWALLOWED, operation=operation) for operation in dict.fromkeys(calls)]


class Chaos:
    """Cases, run in several lanes at a time, each told as it ends."""

    def __init__(
        self, aws: EmbeddedAws, emulator: Path, folder: Path, *, lanes: int, tell: Callable[[str], object]
    ) -> None:
        self._aws = aws
        self._emulator = emulator
        self._folder = folder
        self._lanes = lanes
        self._tell = tell
        put_payload(aws)

    def cases(self, scenarios: Sequence[Scenario]) -> list[Case]:
        """Run the scenarios with nothing in their way, and return each case of the calls that they made."""
        verdicts = self.run([Case(one) for one in scenarios])
        assert not any(verdict.problems for verdict in verdicts), [verdict.told() for verdict in verdicts]
        calls = {verdict.case.scenario: verdict.calls for verdict in verdicts}
        return [case for scenario in scenarios for case in cases_of(scenario, calls[scenario])]

    def run(self, cases: Sequence[Case], *, ends_at: float = float("inf")) -> list[Verdict]:
        """Run as many of the cases as there is time for, until `ends_at`, a reading of ``time.monotonic``."""
        verdicts: list[Verdict] = []
        waiting: dict[str, queue.SimpleQueue[Case]] = {}
        for case in cases:
            waiting.setdefault(case.scenario.concurrency, queue.SimpleQueue()).put(case)
        errors: list[BaseException] = []

        def work(concurrency: str) -> None:
            try:
                with lane(self._aws, self._emulator, self._folder, concurrency) as mine:
                    while time.monotonic() < ends_at and not errors:
                        verdict = mine.run(waiting[concurrency].get_nowait())
                        verdicts.append(verdict)
                        self._tell(verdict.told())
            except queue.Empty:
                pass
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
                errors.append(error)

        kinds = list(itertools.islice(itertools.cycle(waiting), max(self._lanes, len(waiting))))
        threads = [threading.Thread(target=work, args=(kind,)) for kind in kinds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return verdicts


def shuffled(cases: Sequence[Case], seed: int) -> list[Case]:
    """Return the cases in the order of a seed."""
    mixed = list(cases)
    random.Random(seed).shuffle(mixed)  # noqa: S311 - to be repeatable, not secret
    return mixed
