"""This machine as Lambda for one template: everything made, functions ready, queues polled until it is stopped."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session as BotocoreSession

from lambda_tasks.local import runtime, runtime_server, template
from lambda_tasks.local.code_watch import CodeWatch
from lambda_tasks.local.deployment import FUNCTION, DeployedFunction, Deployment, Source, deploy
from lambda_tasks.local.embedded_aws import ACCOUNT_ID, EmbeddedAws, embedded_aws
from lambda_tasks.local.emulator import emulator
from lambda_tasks.local.environments import Environments
from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.event_source_mapping import EventSourceMapping
from lambda_tasks.local.layers import find_layer
from lambda_tasks.local.ledger import Ledger
from lambda_tasks.local.log_lines import InitReport, Listener, LogFollower, LogLine, outcome_of
from lambda_tasks.local.preparation import Function
from lambda_tasks.local.queue import Queue
from lambda_tasks.local.runtime import RunningFunction
from lambda_tasks.local.secret_values import put_values

_OUR_HANDLER = "lambda_tasks.handler.handler"
_POLLERS = 5  # as many as Lambda starts with for a standard queue
_POLL_SECONDS = 1  # so that a session that is stopped ends soon
_IDLE_SECONDS = 0.2


@dataclass(frozen=True)
class Plan:
    """What to run, and how. `values` are those of the environment file; they are not shown by repr."""

    template: Path
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict)
    layers: Mapping[str, Path] = field(default_factory=dict)
    cache: Path = Path()
    region: str = "eu-west-1"
    port: int = 0
    endpoint_url: str | None = None
    concurrency: int = 2
    uses_emulator: bool = True
    mounts: bool = True


@dataclass
class Session:
    """A running template. `stop` is set when it is to end."""

    aws: EmbeddedAws
    deployment: Deployment
    queues: dict[str, Queue]
    dead_letters: list[Queue]
    ledger: Ledger
    closing: ExitStack = field(default_factory=ExitStack)
    stop: threading.Event = field(default_factory=threading.Event)
    problems: list[LocalError] = field(default_factory=list)

    def queue_of(self, function: str) -> Queue:
        """Return the queue of a function's first event."""
        for deployed in self.deployment.functions:
            if deployed.name == function and deployed.sources:
                return self.queues[deployed.sources[0].queue_arn]
        raise LocalError(f"{function} has no queue", remedy="add an SQS event to it")

    def finish(self) -> None:
        """End the functions, and read all that they logged."""
        self.stop.set()
        self.closing.close()

    def depth(self) -> int:
        """Count the messages in the queues that functions take from."""
        return sum(queue.depth() for queue in self.queues.values())

    def wait_until_drained(self, timeout_seconds: float, progress: Callable[[int], None]) -> bool:
        """Wait until the queues are empty; tell whether they are. `progress` hears how many messages are left."""
        deadline = time.monotonic() + timeout_seconds
        while left := self.depth():
            progress(left)
            if time.monotonic() > deadline or self.stop.wait(_IDLE_SECONDS):
                return False
        progress(0)
        return True


@contextmanager
def running_session(plan: Plan, listener: Listener, step: Callable[[str], None]) -> Iterator[Session]:
    """Make what the template describes and poll its queues, until the ``with`` block ends. `step` hears what is done.

    Raises:
        LocalError: something in the template, or on this machine, keeps it from running.

    """
    ledger = Ledger()
    with ExitStack() as closing:
        read = template.read(plan.template, plan.parameters, plan.region, ACCOUNT_ID)
        step("Starting the embedded AWS")
        aws = closing.enter_context(embedded_aws(plan.region, port=plan.port))
        sqs = _external_sqs(plan) if plan.endpoint_url else aws.client("sqs")
        deployment = deploy(read, aws, sqs, creates_queues=plan.endpoint_url is None)
        sources = {source.queue_arn: deployment.queue_of_arn(source.queue_arn) for source in _sources(deployment)}
        if not sources:
            raise LocalError("no function has an SQS event", source=str(plan.template), remedy="add one to its Events")
        arns = list(dict.fromkeys(deployment.dead_letters))
        dead_letters = [queue for arn in arns for queue in deployment.queues.values() if queue.arn == arn]
        session = Session(aws, deployment, sources, dead_letters, ledger)
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="lambda-tasks-layers-")))
        layers = _layers(deployment, plan, folder, step)
        start = _start(plan, step)
        hears = functools.partial(_hear, ledger, listener)
        pools = []
        for deployed in deployment.functions:
            if not deployed.sources:
                continue
            given = put_values(plan.values, deployed, aws)
            function = _function(given, aws, plan, layers)
            limit = max(1, min(plan.concurrency, deployed.concurrency or plan.concurrency))
            follow = functools.partial(_follow, hears)
            pool = Environments(function, start, limit, follow)
            closing.callback(pool.close)
            pools.append((deployed, pool, limit))
        for deployed, pool, _ in pools:
            watch = CodeWatch(deployed.code, functools.partial(_replace, deployed, pool, listener))
            closing.callback(watch.close)
        closing.enter_context(session.closing)
        _poll_all(pools, session, session.closing)
        yield session


def function_folders(plan: Plan) -> dict[str, Path]:
    """Return the folder of code of each function that has a queue, by logical id, without making anything.

    Raises:
        LocalError: the template cannot be used.

    """
    read = template.read(plan.template, plan.parameters, plan.region, ACCOUNT_ID)
    found = {}
    for name, resource in read.resources(FUNCTION).items():
        properties = read.function_properties(resource)
        if any(event.get("Type") == "SQS" for event in properties.get("Events", {}).values()):
            found[name] = plan.template.parent / str(read.resolve({"uri": properties.get("CodeUri", "")})["uri"])
    return found


def _sources(deployment: Deployment) -> list[Source]:
    return [source for function in deployment.functions for source in function.sources]


def _layers(deployment: Deployment, plan: Plan, folder: Path, step: Callable[[str], None]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for function in deployment.functions:
        for name in function.layers:
            if name not in found:
                step(f"Unpacking the layer {name}" if name in plan.layers else f"Building the layer {name}")
                found[name] = find_layer(name, deployment.template, plan.layers, folder)
    return found


def _start(plan: Plan, step: Callable[[str], None]) -> Callable[[Function], AbstractContextManager[RunningFunction]]:
    """Return how functions are started: under the emulator, or by our own server where that does not run."""
    if plan.uses_emulator:
        step("Fetching AWS's runtime interface emulator")
        with contextlib.suppress(LocalError):
            binary = emulator(plan.cache)
            return lambda function: runtime.running(function, binary, mount=plan.mounts)
    return lambda function: runtime_server.serving(function, mount=plan.mounts)


def _function(deployed: DeployedFunction, aws: EmbeddedAws, plan: Plan, layers: Mapping[str, Path]) -> Function:
    environ = dict(aws.environ())
    if plan.endpoint_url:
        environ["AWS_ENDPOINT_URL_SQS"] = plan.endpoint_url
    return Function(
        code=deployed.code,
        handler=deployed.handler,
        layers=tuple(layers[name] for name in deployed.layers),
        environ={**environ, **deployed.environ},
        name=deployed.name,
        memory_mb=deployed.memory_mb,
        timeout_seconds=deployed.timeout_seconds,
        log_format=deployed.log_format,
    )


def _follow(listener: Listener, function: Function, running: RunningFunction) -> LogFollower:
    return LogFollower(function.name, running, listener, is_sequential=function.handler == _OUR_HANDLER)


def _hear(ledger: Ledger, listener: Listener, line: LogLine | InitReport) -> None:
    if isinstance(line, LogLine) and (outcome := outcome_of(line)):
        ledger.outcome(outcome)
    listener(line)


def _replace(deployed: DeployedFunction, pool: Environments, listener: Listener, files: Sequence[str]) -> None:
    name = Path(files[0]).name
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    listener(LogLine(deployed.name, f"{name}{more} changed: the function starts again"))
    pool.replace()


def _poll_all(
    pools: Sequence[tuple[DeployedFunction, Environments, int]], session: Session, closing: ExitStack
) -> None:
    threads = []
    for deployed, pool, limit in pools:
        for source in deployed.sources:
            mapping = EventSourceMapping(
                session.queues[source.queue_arn],
                pool.invoke,
                source.batch_size,
                source.window_seconds,
                source.filter_criteria,
                source.reports_failures,
            )
            count = min(source.maximum_concurrency or _POLLERS, limit)
            threads += [
                threading.Thread(target=_poll, args=(mapping, session), name=f"{source.name}-{number}", daemon=True)
                for number in range(count)
            ]
    for thread in threads:
        thread.start()
    for thread in threads:
        closing.callback(thread.join)
    for _, pool, _ in pools:
        closing.callback(pool.close)  # ends what still runs, which its thread waits for
    closing.callback(session.stop.set)


def _poll(mapping: EventSourceMapping, session: Session) -> None:
    while not session.stop.is_set():
        try:
            batch = mapping.poll(_POLL_SECONDS, is_stopping=session.stop.is_set)
            if batch is not None:
                session.ledger.batch(batch)
        except LocalError as error:
            _give_up(session, error)
        except (BotoCoreError, ClientError) as error:
            _give_up(session, LocalError(f"SQS did not answer: {error}", remedy="check --endpoint-url"))


def _give_up(session: Session, problem: LocalError) -> None:
    if not session.stop.is_set():  # else it is what ending a function in the middle looks like
        session.problems.append(problem)
        session.stop.set()


def _external_sqs(plan: Plan) -> Any:  # noqa: ANN401 - botocore makes its clients at run time
    session = BotocoreSession()
    session.set_credentials("testing", "testing") if session.get_credentials() is None else None
    config = Config(connect_timeout=5, retries={"max_attempts": 1})
    return session.create_client("sqs", region_name=plan.region, endpoint_url=plan.endpoint_url, config=config)
