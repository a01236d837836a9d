"""The pollers of a session: threads that take batches from the queues and have the functions handle them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.ledger import Ledger
from lambda_tasks.local.mapping.event_source_mapping import EventSourceMapping
from lambda_tasks.local.mapping.message_groups import MessageGroups
from lambda_tasks.local.queue import Queue
from lambda_tasks.local.runtime.environments import Environments
from lambda_tasks.local.runtime.process import Invocation
from lambda_tasks.local.template.deployment import DeployedFunction, Source
from lambda_tasks.local.waiting import WaitingMessages

_POLL_SECONDS = 1  # so that a session that is stopped ends soon


@dataclass(frozen=True)
class FunctionPool:
    """A function of the template with its execution environments, at most `limit` of them."""

    deployed: DeployedFunction
    environments: Environments
    limit: int
    waiting: WaitingMessages


class Pollers:
    """The threads of all mappings. `stop` ends them; a problem of this machine sets it and is kept in `problems`."""

    def __init__(self, ledger: Ledger) -> None:
        self.stop = threading.Event()
        self.problems: list[LocalError] = []
        self._ledger = ledger

    @contextmanager
    def polling(self, pools: Sequence[FunctionPool], queues: dict[str, Queue]) -> Iterator[None]:
        """Poll the queues, by ARN, of the functions' events until the ``with`` block ends; then end the functions."""
        groups = {arn: MessageGroups() for arn in queues}
        threads = []
        for pool in pools:
            for source in pool.deployed.sources:
                queue = queues[source.queue_arn]
                mapping = _mapping(source, queue, groups[source.queue_arn], pool, self._ledger.filtered)
                count = min(source.maximum_concurrency or pool.limit, pool.limit)
                threads += [
                    threading.Thread(
                        target=self._poll, args=(mapping, pool.waiting), name=f"{source.name}-{number}", daemon=True
                    )
                    for number in range(count)
                ]
        with ExitStack() as closing:
            for pool in pools:
                pool.environments.prepare()
            for thread in threads:
                thread.start()
                closing.callback(thread.join)
            for pool in pools:
                closing.callback(pool.environments.close)  # ends what still runs, which its thread waits for
            closing.callback(self.stop.set)
            yield

    def _poll(self, mapping: EventSourceMapping, waiting: WaitingMessages) -> None:
        while not self.stop.is_set():
            try:
                changes = waiting.changes
                batch = mapping.poll(_POLL_SECONDS, is_stopping=self.stop.is_set)
                if batch is not None:
                    self._ledger.batch(batch)
                    waiting.note(mapping.queue, batch, changes)
            except LocalError as error:
                self.give_up(error)
            except (BotoCoreError, ClientError) as error:
                self.give_up(LocalError(f"SQS did not answer: {error}", remedy="check --endpoint-url"))

    def give_up(self, problem: LocalError) -> None:
        """End the session for a problem of this machine."""
        if not self.stop.is_set():  # else it is what ending a function in the middle looks like
            self.problems.append(problem)
            self.stop.set()


def _mapping(
    source: Source, queue: Queue, groups: MessageGroups, pool: FunctionPool, on_filtered: Callable[[int], None]
) -> EventSourceMapping:
    def invoke(event: dict[str, Any]) -> Invocation:
        pool.waiting.begin(record["messageId"] for record in event["Records"])
        return pool.environments.invoke(event)

    return EventSourceMapping(
        queue,
        invoke,
        source.batch_size,
        source.window_seconds,
        source.filter_criteria,
        source.reports_failures,
        groups,
        on_filtered,
    )
