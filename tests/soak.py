"""The soak: two workers with real parts, which are killed, given duplicates, and cut off from AWS, all at random.

One of them runs its tasks one after the other, and one in threads. A fifth of the messages goes through a FIFO queue, in
groups.

Every message has to be accounted for at the end, and each group in order. `SOAK_MESSAGES` says how many there are; ``make soak`` sends 2,000.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import os
import random
import signal
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import demo
from catalogue.soak import name_of_process
from events import message_body
from fault_proxy import Encounter, Fault, FaultProxy
from fault_proxy import serve as serve_faults
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.mapping.event_source_mapping import EventSourceMapping
from lambda_tasks.local.queue import Queue, create_queue, redrive_policy
from lambda_tasks.local.runtime.emulator_log import json_records
from lambda_tasks.local.runtime.process import Function, Runtime, running
from lambda_tasks.messages.payload import POINTER
from served_sqs import ServedQueue, ServedSqs
from stores import create_table

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_SECONDS = 5
VISIBILITY_TIMEOUT_SECONDS = 8
# Deliveries that end in a kill count too, so that SQS must not give a message up for them.
MAX_RECEIVE_COUNT = 1000
CONCURRENCY = ("1", "4")  # of each worker
KILL_EVERY_SECONDS = 3.0
FAULT_PART = 0.03
DUPLICATE_PART = 0.1
FAULTS = (Fault.REQUEST_LOST, Fault.ANSWER_LOST, Fault.SERVER_ERROR, Fault.SERVER_ERROR_AFTERWARDS)

BUCKET, ELSEWHERE = "soak-payloads", "elsewhere"
_SWALLOWED = Encounter(is_passed_on=False, is_swallowed=True)
_HANDLER = "catalogue.soak_handler.handler"
SUCCEEDING = (
    *("succeed", "take_time", "succeed_async", "recover", "alone", "together"),
    *(
        "alone_or_skipped",
        "together_async",
        "elsewhere",
        "in_steps",
    ),  # of the chaos, which knows whether one may be skipped
)
FAILING = ("fail", "overrun", "rejected")
KEYED = "keyed"  # of the chaos: one of these takes effect for all
STEPS = {"first", "part of 0", "part of 1", "one beside", "another beside"}  # of `in_steps`
FIFO_PART = 0.2
GROUP_SIZE = 5
MIX = (
    ("succeed",) * 6 + ("succeed_async",) * 3 + ("together",) * 3 + ("recover",) * 2 + ("take_time", "alone", *FAILING)
)


@dataclass
class Accounts:
    """The accounts of a soak: the messages that were sent, and the outcome of each."""

    sent: dict[str, str]
    succeeded: set[str]
    dead: dict[str, str]
    effects: list[dict[str, str]]
    logged: set[tuple[str, str, str]]
    killed: set[str]
    left: int
    duplicates: int
    faults: int
    seconds: float
    groups: dict[str, list[str]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list, repr=False)
    unrecorded: dict[str, list[str]] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def problems(self) -> list[str]:
        """Say what must not be; note in `unrecorded` which effects were killed before they were recorded."""
        found = [f"{self.left} messages are still in the queue"] if self.left else []
        for message_id, task in self.sent.items():
            if task == KEYED and message_id not in self.dead:
                continue  # succeeded, or skipped
            ended = (message_id in self.succeeded, message_id in self.dead)
            wanted = (task in SUCCEEDING, task in FAILING)
            if ended != wanted:
                found.append(f"{task} {message_id}: succeeded, dead = {ended}, expected {wanted}")
            elif ended[1] and not self.dead[message_id]:
                found.append(f"{task} {message_id} is a dead letter without a reason")
        return found + self._wrong_effects() + self._wrong_order() + self._wrong_keys() + self._wrong_steps()

    def _wrong_effects(self) -> list[str]:
        by_message = collections.defaultdict(list)
        for effect in self.effects:
            by_message[effect["message_id"]].append(effect["process"])
        found = []
        for message_id, task in self.sent.items():
            if task == KEYED:
                continue
            processes = by_message.get(message_id, [])
            killed = [one for one in processes if self._was_killed_before_the_record(message_id, one)]
            named = killed[: max(0, len(processes) - 1)]
            if named:  # the last effect may be recorded, and its process killed before it was logged
                self.unrecorded[message_id] = named
            expected = 1 if task in SUCCEEDING else 0
            if len(processes) - len(named) != expected:
                found.append(f"{task} {message_id} took effect {len(processes)} times, {len(named)} of them unrecorded")
                found += [f"  {line}" for line in self.lines if message_id in line]
        return found

    def _wrong_order(self) -> list[str]:
        """Say in which groups a message took effect before an earlier one had taken its own for the first time."""
        first: dict[str, int] = {}
        for number, effect in enumerate(self.effects):
            first.setdefault(effect["message_id"], number)
        found = []
        for group, message_ids in self.groups.items():
            order = [message_id for message_id in message_ids if message_id in first]
            if order != sorted(order, key=first.__getitem__):
                told = [f"{self.sent[one]} {one}" for one in sorted(order, key=first.__getitem__)]
                found.append(f"group {group} took effect out of order: {', '.join(told)}")
        return found

    def _wrong_keys(self) -> list[str]:
        """Say whether more than one message of a key took effect, without one of the two reasons for that."""
        keyed = {message_id for message_id, task in self.sent.items() if task == KEYED}
        if not keyed:
            return []
        effects = [(one["message_id"], one["process"]) for one in self.effects if one["message_id"] in keyed]
        unrecorded = sum(self._was_killed_before_the_record(*effect) for effect in effects)
        warned = [line for line in self.lines if "the key was not kept" in line]
        not_kept = sum(message_id in line for line in warned for message_id in keyed)
        if effects and len(effects) - unrecorded - not_kept <= 1 and keyed & self.succeeded:
            return []
        return [
            f"{len(effects)} messages of a key took effect: {effects}, {unrecorded} unrecorded, {not_kept} not kept"
        ]

    def _wrong_steps(self) -> list[str]:
        """Say which steps took effect after they had been kept, and which never did, of messages that succeeded."""
        kept: set[tuple[str, str]] = set()
        found = []
        for line in self.steps:
            one = line["message_id"], line["step"]
            if line["is_kept"]:
                kept.add(one)
            elif one in kept:
                found.append(f"the step {one[1]} of {one[0]} took effect after it was kept")
        for message_id, task in self.sent.items():
            names = {name for of, name in kept if of == message_id}
            if task == "in_steps" and message_id in self.succeeded and names != STEPS:
                found.append(f"{message_id} succeeded with the steps {sorted(names)}")
        return found

    def _was_killed_before_the_record(self, message_id: str, process: str) -> bool:
        """Tell whether that is why an effect is no record: its process was killed, and did not log that it succeeded."""
        return process in self.killed and (message_id, process, "succeeded") not in self.logged

    def summary(self) -> str:
        """Say in a few lines what happened."""
        named = "".join(f"\n  {message_id}: {', '.join(lost)}" for message_id, lost in sorted(self.unrecorded.items()))
        return (
            f"{len(self.sent)} messages in {self.seconds:.0f} s: {len(self.succeeded)} succeeded, {len(self.dead)} dead "
            f"letters; {len(self.killed)} runtimes killed, {self.duplicates} batches delivered twice, {self.faults} "
            f"calls failed; {len(self.unrecorded)} messages took effect in a process killed before the record{named}"
        )


class _RandomFaults(list[Fault]):
    """Faults without end: each request has a small chance of one."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self.happened = 0

    def __bool__(self) -> bool:
        return self._chance.random() < FAULT_PART

    def pop(self, _index: Any = 0) -> Fault:
        self.happened += 1
        return self._chance.choice(FAULTS)


def soak(
    aws: EmbeddedAws, emulator: Path, folder: Path, messages: int, seed: int, *, swallowed_part: float = 0.0
) -> Accounts:
    """Send the messages, let the workers have them, and return what became of each.

    Of the calls, `swallowed_part` is accepted and never answered.
    """
    chance = random.Random(seed)  # noqa: S311 - to be repeatable, not secret
    client = aws.client("sqs")
    dead_letters = create_queue(client, f"soak-dead-{seed}")
    redrive = redrive_policy(dead_letters, MAX_RECEIVE_COUNT)
    queue = create_queue(
        client, f"soak-{seed}", VisibilityTimeout=str(VISIBILITY_TIMEOUT_SECONDS), RedrivePolicy=redrive
    )
    sqs = ServedSqs()
    fifo, fifo_dead_letters = sqs.create(
        f"soak-{seed}.fifo", visibility_seconds=VISIBILITY_TIMEOUT_SECONDS, max_receive_count=MAX_RECEIVE_COUNT
    )
    table = create_table(aws)
    in_groups = round(messages * FIFO_PART)
    sent = send(queue, chance.choices(MIX, k=messages - in_groups))
    names = chance.choices(MIX, k=in_groups)
    groups: dict[str, list[str]] = {}
    for start in range(0, in_groups, GROUP_SIZE):
        group = send(fifo, names[start : start + GROUP_SIZE], group=f"group-{start // GROUP_SIZE}")
        sent |= group
        groups[f"group-{start // GROUP_SIZE}"] = list(group)
    effects = folder / "effects"
    effects.touch()
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(serve_faults(aws.endpoint_url))
        proxy.serves = sqs.answer
        proxy.meets = lambda _operation, _body: _SWALLOWED if chance.random() < swallowed_part else None
        faults = proxy.faults = _RandomFaults(chance)
        functions = [function(aws, proxy, table, effects, concurrency) for concurrency in CONCURRENCY]
        runtimes = [stack.enter_context(running(function, emulator)) for function in functions]
        run = _Run([queue, fifo], runtimes, chance, deadline=started + 60 + messages / 4)
        run.until_empty()
        lines = [line for runtime in runtimes for line in runtime.log_lines()]
        (folder / "log").write_text("\n".join(lines))
    done = succeeded(aws, table)
    if swallowed_part:  # a success that the table does not take is one all the same
        done |= {message_id for message_id, _, outcome in logged(lines) if outcome == "succeeded"}
    return Accounts(
        sent,
        succeeded=done,
        dead=dead(dead_letters) | dead(fifo_dead_letters),
        effects=read_effects(effects),
        logged=logged(lines),
        killed=run.killed,
        left=queue.depth() + fifo.depth(),
        duplicates=run.duplicates,
        faults=faults.happened,
        seconds=time.monotonic() - started,
        groups=groups,
        lines=lines,
    )


def send(queue: Queue | ServedQueue, names: Sequence[str], group: str | None = None) -> dict[str, str]:
    """Send a message for each of the tasks, in order; return their names by message id."""
    sent, order = {}, uuid.uuid4().hex
    for number, name in enumerate(names):
        body = message_body(f"catalogue.soak.{'succeed' if name == 'rejected' else name}", number=number)
        if name == "elsewhere":
            body = json.dumps([POINTER, {"s3BucketName": BUCKET, "s3Key": ELSEWHERE}])
        elif name == KEYED:
            body = message_body(f"catalogue.soak.{name}", number=number, order=order)
        elif name == "rejected":
            body = body.replace(f'"number": {number}', '"number": "none"')
        options = {"MessageGroupId": group, "MessageDeduplicationId": f"{group}-{number}"} if group else {}
        sent[queue.send(body, **options)] = name
    return sent


def function(
    aws: EmbeddedAws,
    proxy: FaultProxy,
    table: str,
    effects: Path,
    concurrency: str,
    timeout_seconds: int = TIMEOUT_SECONDS,
) -> Function:
    """Return the function of the soak: its calls go through `proxy`, and its tasks note their effects in a file."""
    return Function(
        code=ROOT / "tests",
        handler=_HANDLER,
        layers=(demo.LAYER,),
        environ={
            **aws.environ(),
            "AWS_ENDPOINT_URL": proxy.url,
            "AWS_LAMBDA_EXEC_WRAPPER": "/opt/bin/lambda-tasks-exec",
            "LAMBDA_TASKS_CONCURRENCY": concurrency,
            "LAMBDA_TASKS_MODULES": "catalogue.soak",
            "LAMBDA_TASKS_PAYLOAD_BUCKET": BUCKET,
            "LAMBDA_TASKS_TABLE": table,
            "SOAK_EFFECTS": str(effects),
        },
        timeout_seconds=timeout_seconds,
    )


class _Run:
    """The event source mappings, one a worker, and what goes wrong around them."""

    def __init__(
        self, queues: Sequence[Queue | ServedQueue], runtimes: Sequence[Runtime], chance: random.Random, deadline: float
    ) -> None:
        self.killed: set[str] = set()
        self.duplicates = 0
        self._queues = queues
        self._runtimes = runtimes
        self._chance = chance
        self._deadline = deadline
        self._done = threading.Event()
        self._invoking = [threading.Lock() for _ in runtimes]

    def until_empty(self) -> None:
        pollers = itertools.product(self._queues, range(len(self._runtimes)))
        threads = [threading.Thread(target=self._poll, args=poller) for poller in pollers]
        threads.append(threading.Thread(target=self._kill))
        for thread in threads:
            thread.start()
        while any(queue.depth() for queue in self._queues) and time.monotonic() < self._deadline:
            self._done.wait(0.5)
        self._done.set()
        for thread in threads:
            thread.join()

    def _poll(self, queue: Queue | ServedQueue, number: int) -> None:
        mapping = EventSourceMapping(cast("Any", queue), lambda wanted: self._deliver(number, wanted))
        while not self._done.is_set():
            mapping.poll(wait_seconds=1)

    def _deliver(self, number: int, wanted: dict[str, Any]) -> Any:
        """Have a worker handle a batch, and at random another one too: meanwhile, or before the batch is deleted."""
        if self._chance.random() >= DUPLICATE_PART:
            return self._invoke(number, wanted)
        self.duplicates += 1
        other = (number + 1) % len(self._runtimes)
        again = threading.Thread(target=self._invoke, args=(other, wanted))  # its answer is not read
        is_meanwhile = self._chance.random() < 0.5
        if is_meanwhile:
            again.start()
        answer = self._invoke(number, wanted)
        if not is_meanwhile:
            again.start()
        again.join()
        return answer

    def _invoke(self, number: int, wanted: dict[str, Any]) -> Any:
        with self._invoking[number]:  # an execution environment has one invocation at a time
            try:
                return self._runtimes[number].invoke(wanted)
            except LocalError:  # killed between two invocations, which Lambda would not route to
                return self._runtimes[number].invoke(wanted)

    def _kill(self) -> None:
        while not self._done.wait(self._chance.expovariate(1 / KILL_EVERY_SECONDS)):
            runtimes = list(runtime_processes())
            if runtimes:
                pid, name = self._chance.choice(runtimes)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.killed.add(name)


def runtime_processes(effects: Path | None = None) -> Iterator[tuple[int, str]]:
    """Yield the runtimes that this process started: pid, and the name that they have in the effects.

    `effects` narrows it to those of one function, by the file that it notes its effects in.
    """
    wanted = b"" if effects is None else f"SOAK_EFFECTS={effects}".encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                pid = int(folder.name)
                arguments = (folder / "cmdline").read_bytes().split(b"\0")
                # The emulator's arguments hold those of the runtime, and its parent is this process.
                if b"python" in arguments[0] and arguments[-2:-1] == [_HANDLER.encode()] and _is_ours(os.getsid(pid)):
                    if wanted and wanted not in (folder / "environ").read_bytes().split(b"\0"):
                        continue
                    yield pid, name_of_process(pid)


def _is_ours(session: int) -> bool:
    """Tell whether this process started a session: others on this machine may run a soak too."""
    return int(Path(f"/proc/{session}/stat").read_text().rpartition(")")[2].split()[1]) == os.getpid()


def put_payload(aws: EmbeddedAws) -> None:
    """Put the message that is elsewhere into its bucket."""
    client = aws.client("s3")
    with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": aws.region})
    client.put_object(Bucket=BUCKET, Key=ELSEWHERE, Body=message_body("catalogue.soak.succeed", number=0).encode())


def logged(lines: Sequence[str]) -> set[tuple[str, str, str]]:
    """Return the outcomes that were logged: message, process, outcome."""
    records = json_records(lines)
    return {(one["message_id"], one["runtime_process"], one["outcome"]) for one in records if "outcome" in one}


def read_effects(path: Path) -> list[dict[str, str]]:
    """Return the effects of all messages, in order."""
    return [line for line in _read(path) if "step" not in line]


def read_steps(path: Path) -> list[dict[str, Any]]:
    """Return the effects of steps, and when these were kept, in order."""
    return [line for line in _read(path) if "step" in line]


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def succeeded(aws: EmbeddedAws, table: str) -> set[str]:
    """Return the messages whose record says that they succeeded."""
    client = aws.client("dynamodb")
    pages = client.get_paginator("scan").paginate(TableName=table)
    items = [item for page in pages for item in page["Items"]]
    return {
        item["id"]["S"].removeprefix("message#") for item in items if item.get("status", {}).get("S") == "succeeded"
    }


def dead(queue: Queue | ServedQueue) -> dict[str, str]:
    """Return the reason of each dead letter, by the message id that it had."""
    found: dict[str, str] = {}
    while messages := queue.receive(limit=100):
        for message in messages:
            given = message.get("MessageAttributes", {})
            attributes = {str(name): str(value.get("StringValue", "")) for name, value in given.items()}
            message_id = attributes.get("lambda_tasks_message_id") or str(message["MessageId"])
            found[message_id] = attributes.get("lambda_tasks_error_type", "")
        queue.delete(messages)
    return found
