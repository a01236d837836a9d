"""Where the firings of a session go: into its functions, without a queue, or into its queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError

from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.events import Fired, Listener
from lambda_tasks.local.ledger import Ledger
from lambda_tasks.local.polling import FunctionPool
from lambda_tasks.local.queue import Queue
from lambda_tasks.local.schedules.firing import event_of
from lambda_tasks.local.schedules.resources import ScheduleResource, parsed
from lambda_tasks.local.schedules.sent import sent_by


class Targets:
    """The functions of a session, by their logical ids, and its queues, by their ARNs."""

    def __init__(
        self,
        pools: Sequence[FunctionPool],
        queues: Mapping[str, Queue],
        ledger: Ledger,
        listener: Listener,
        place: tuple[str, str],
    ) -> None:
        self._pools = {pool.deployed.name: pool for pool in pools}
        self._queues = queues
        self._ledger = ledger
        self._listener = listener
        self._region, self._account_id = place

    def has(self, schedule: ScheduleResource) -> bool:
        """Tell whether a schedule's target is here."""
        return schedule.function in self._pools or schedule.queue_arn in self._queues

    def take(self, schedule: ScheduleResource, at: datetime) -> None:
        """Do what a firing asks for: invoke a function once and note how that ended, or send a message.

        Raises:
            LocalError: the function could not be started, or the queue refused the message.

        """
        text = sent_by(schedule, at, self._region, self._account_id)
        self._listener(Fired(schedule.place, at.strftime("%Y-%m-%dT%H:%M:%SZ")))
        if schedule.function in self._pools:
            invocation = self._pools[str(schedule.function)].environments.invoke(event_of(text))
            self._ledger.fired(f"{schedule.place} {at:%H:%M:%S}", invocation)
            return
        try:
            self._send(self._queues[schedule.queue_arn], schedule, text)
        except (BotoCoreError, ClientError) as error:
            remedy = "correct the schedule's target"
            raise LocalError(f"{schedule.place} cannot send: {error}", remedy=remedy) from error

    def _send(self, queue: Queue, schedule: ScheduleResource, text: str) -> None:
        if schedule.is_call:  # of a universal target, whose input is the request
            request = parsed(text)
            queue.client.send_message(**{**request, "QueueUrl": queue.url})
        elif schedule.message_group:
            queue.send(text, MessageGroupId=schedule.message_group)
        else:
            queue.send(text)
