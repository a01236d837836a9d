"""This machine as Lambda for one template: everything made, functions ready, queues polled until it is stopped."""

from __future__ import annotations

import functools
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.session import Session as BotocoreSession

from lambda_tasks.local.checks.finding import RefusedTemplate, shown_path
from lambda_tasks.local.checks.refused import refused
from lambda_tasks.local.code_watch import CodeWatch
from lambda_tasks.local.embedded_aws import ACCOUNT_ID, EmbeddedAws, embedded_aws
from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.events import Event, Listener, LogLine, MessageOutcome, Waiting
from lambda_tasks.local.ledger import Ledger
from lambda_tasks.local.polling import FunctionPool, Pollers
from lambda_tasks.local.pools import Plan, make_pools
from lambda_tasks.local.queue import Queue
from lambda_tasks.local.runtime.process import Invocation
from lambda_tasks.local.schedules.firing import Firing, named
from lambda_tasks.local.schedules.resources import schedules
from lambda_tasks.local.schedules.targets import Targets
from lambda_tasks.local.template.deployment import Deployment, Source, deploy
from lambda_tasks.local.template.model import model_of, read_model

__all__ = ["Plan", "Session", "running_function", "running_session"]

_IDLE_SECONDS = 0.2
_LOOK_SECONDS = 1.0
_WORTH_A_LINE_SECONDS = 2.0


@dataclass
class Session:
    """A running template: its queues by ARN, and what became of their messages."""

    aws: EmbeddedAws
    deployment: Deployment
    queues: dict[str, Queue]
    dead_letters: list[Queue]
    ledger: Ledger
    pools: Sequence[FunctionPool]
    pollers: Pollers
    listener: Listener
    has_own_sqs: bool
    firing: Firing
    closing: ExitStack = field(default_factory=ExitStack)
    _told: dict[str, tuple[float, int]] = field(default_factory=dict)
    _looks_at: float = 0.0

    @property
    def problems(self) -> Sequence[LocalError]:
        """The problems of this machine that ended it."""
        return self.pollers.problems

    def queue_of(self, function: str) -> Queue:
        """Return the queue of a function's first event."""
        for deployed in self.deployment.functions:
            if deployed.name == function and deployed.sources:
                return self.queues[deployed.sources[0].queue_arn]
        raise LocalError(f"{function} has no queue", remedy="add an SQS event to it")

    def fire(self, name: str) -> None:
        """Let the schedule of this name fire now.

        Raises:
            LocalError: there is none, or there are several.

        """
        self.firing.fire(named(self.firing.schedules, name))

    def finish(self) -> None:
        """End the functions, and hear all that they wrote."""
        self.closing.close()

    def depth(self) -> int:
        """Count the messages in the queues that functions take from."""
        return sum(queue.depth() for queue in self.queues.values())

    def wait(self) -> None:
        """Wait until the session is stopped, and tell what waits in its queues meanwhile."""
        while not self.pollers.stop.wait(_IDLE_SECONDS):
            self._tell_what_waits()

    def wait_until_drained(self, timeout_seconds: float, progress: Callable[[int], None]) -> bool:
        """Wait until the queues are empty and nothing runs; tell whether they are.

        `progress` hears how many messages are left.
        A function whose init phase fails ends the wait: nothing but a change of its code would help.
        """
        deadline = time.monotonic() + timeout_seconds
        # Twice, since a message that becomes visible between the counts of one look is in neither.
        while (left := self.depth()) or (left := self.depth()) or not self._is_idle:
            progress(left)
            if self.ledger.init_error or time.monotonic() > deadline or self.pollers.stop.wait(_IDLE_SECONDS):
                return False
            self._tell_what_waits()
        progress(0)
        return True

    @property
    def _is_idle(self) -> bool:
        return self.firing.is_idle and all(pool.environments.is_idle for pool in self.pools)

    def _tell_what_waits(self) -> None:
        """Tell how long a queue waits, and again where more of its messages do. Messages in flight do not wait."""
        if not self.has_own_sqs or time.monotonic() < self._looks_at:
            return
        self._looks_at = time.monotonic() + _LOOK_SECONDS
        failed = frozenset[str]().union(*(pool.waiting.message_ids for pool in self.pools))
        for arn in self.queues:
            hidden = self.aws.hidden(arn)
            times = [one.seconds for one in hidden if one.message_id in failed or not one.receive_count]
            if not times or min(times) < _WORTH_A_LINE_SECONDS:
                continue
            until = time.monotonic() + min(times)
            told_until, told_count = self._told.get(arn, (0.0, 0))
            if abs(until - told_until) > _LOOK_SECONDS or len(times) > told_count:
                self._told[arn] = until, len(times)
                self.listener(Waiting(arn.rpartition(":")[2], len(times), min(times)))


@contextmanager
def running_session(plan: Plan, listener: Listener, step: Callable[[str], None]) -> Iterator[Session]:
    """Make what the template describes and poll its queues, until the ``with`` block ends. `step` hears what is done.

    Raises:
        LocalError: something in the template, or on this machine, keeps it from running.

    """
    ledger = Ledger()
    hears = functools.partial(_hear, ledger, listener)
    with _deployed(plan, step) as (aws, deployment, closing):
        sources = {source.queue_arn: deployment.queue_of_arn(source.queue_arn) for source in _sources(deployment)}
        found = schedules(model_of(deployment.template))
        fired = [named(found, name) for name in plan.fire]
        targets = {one.function for one in found if one.messages or one in fired}
        wanted = [one for one in deployment.functions if one.sources or one.name in targets]
        if not wanted:
            raise _nothing_to_poll(deployment)
        arns = list(dict.fromkeys(deployment.dead_letters))
        dead_letters = [queue for arn in arns for queue in deployment.queues.values() if queue.arn == arn]
        pools = make_pools(wanted, deployment, aws, plan, hears, step, closing)
        pollers = Pollers(ledger)
        queues = {queue.arn: queue for queue in deployment.queues.values()}
        to = Targets(pools, queues, ledger, hears, (plan.region, ACCOUNT_ID))
        firing = Firing([one for one in found if to.has(one)], to.take, pollers.give_up)
        has_own_sqs = plan.endpoint_url is None
        session = Session(aws, deployment, sources, dead_letters, ledger, pools, pollers, hears, has_own_sqs, firing)
        watch = CodeWatch([pool.deployed.code for pool in pools], functools.partial(_code_changed, pools, hears))
        closing.callback(watch.close)
        closing.enter_context(session.closing)
        session.closing.enter_context(pollers.polling(pools, sources))
        session.closing.enter_context(_firing(firing, pollers.stop))
        yield session


@contextmanager
def _firing(firing: Firing, stop: threading.Event) -> Iterator[None]:
    """Let schedules fire at their time until the ``with`` block ends, which sets `stop`."""
    thread = threading.Thread(target=firing.run, args=(stop,), name="schedules", daemon=True)
    if firing.schedules:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if firing.schedules:
            thread.join()


@contextmanager
def running_function(
    plan: Plan, name: str, listener: Listener, step: Callable[[str], None]
) -> Iterator[Callable[[Any], Invocation]]:
    """Make what the template describes, and give what invokes one function, by its logical id, with an event.

    Raises:
        LocalError: something in the template, or on this machine, keeps it from running.

    """
    with _deployed(plan, step) as (aws, deployment, closing):
        wanted = [one for one in deployment.functions if one.name == name]
        if not wanted:
            reason = deployment.skipped.get(name, "it is not in the template")
            raise LocalError(f"{name} does not run here: {reason}", source=str(plan.template), remedy="name another")
        [pool] = make_pools(wanted, deployment, aws, plan, listener, step, closing)
        yield pool.environments.invoke


@contextmanager
def _deployed(plan: Plan, step: Callable[[str], None]) -> Iterator[tuple[EmbeddedAws, Deployment, ExitStack]]:
    with ExitStack() as closing:
        model = read_model(plan.template, plan.parameters, plan.region, ACCOUNT_ID)
        if findings := refused(model):
            raise RefusedTemplate(shown_path(model.template.path), findings)
        step("Starting the embedded AWS")
        aws = closing.enter_context(embedded_aws(plan.region, port=plan.port))
        sqs = _external_sqs(plan) if plan.endpoint_url else aws.client("sqs")
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="lambda-tasks-code-")))
        deployment = deploy(model.template, aws, sqs, folder, creates_queues=plan.endpoint_url is None)
        yield aws, deployment, closing


def _nothing_to_poll(deployment: Deployment) -> LocalError:
    names = [one.name for one in deployment.functions]
    remedy = "add one, or a schedule, to its Events"
    if names:
        remedy += f", or run it with an event: lambda-tasks invoke --function {names[0]} --event FILE"
    elif deployment.skipped:
        name, reason = next(iter(deployment.skipped.items()))
        remedy = f"{name} is skipped: {reason}"
    return LocalError("no function has an SQS event", source=str(deployment.template.path), remedy=remedy)


def _sources(deployment: Deployment) -> list[Source]:
    return [source for function in deployment.functions for source in function.sources]


def _hear(ledger: Ledger, listener: Listener, event: Event) -> None:
    if isinstance(event, MessageOutcome):
        ledger.outcome(event)
    listener(event)


def _code_changed(pools: Sequence[FunctionPool], listener: Listener, files: Sequence[Path]) -> None:
    """Start each function whose code has changed again, and show it at once what failed with the old code."""
    for pool in pools:
        own = [file for file in files if file.is_relative_to(pool.deployed.code.resolve())]
        if not own:
            continue
        pool.environments.replace()
        released = pool.waiting.release()
        more = f" and {len(own) - 1} more" if len(own) > 1 else ""
        back = {0: "", 1: ", and the message that waits comes back now"}.get(
            released, f", and the {released} messages that wait come back now"
        )
        listener(LogLine(pool.deployed.name, f"{own[0].name}{more} changed: the function starts again{back}"))


def _external_sqs(plan: Plan) -> Any:  # noqa: ANN401 - botocore makes its clients at run time
    session = BotocoreSession()
    session.set_credentials("testing", "testing") if session.get_credentials() is None else None
    config = Config(connect_timeout=5, retries={"max_attempts": 1})
    return session.create_client("sqs", region_name=plan.region, endpoint_url=plan.endpoint_url, config=config)
