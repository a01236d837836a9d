"""A job: one message on its way to an outcome."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import structs

from lambda_tasks.errors import DeliveriesExhausted
from lambda_tasks.limits.timeouts import was_cut_short
from lambda_tasks.messages import context as contexts
from lambda_tasks.messages.outcome import GOES_ON, RATED, Outcome
from lambda_tasks.messages.sqs_event import fifo_group, receive_count
from lambda_tasks.setting_values import LONGEST_FUNCTION_SECONDS
from lambda_tasks.telemetry.report import report_of

if TYPE_CHECKING:
    from typing import Protocol

    from lambda_tasks.definition.definition import Definition
    from lambda_tasks.definition.keys import Key
    from lambda_tasks.dispatch.worker import Worker
    from lambda_tasks.limits.timeouts import InvocationTime, Limits
    from lambda_tasks.messages.context import Context
    from lambda_tasks.messages.outcome import PutOff, Result
    from lambda_tasks.messages.sqs_event import Record
    from lambda_tasks.state.protocol import Attempt, KeyLease, Started
    from lambda_tasks.state.side_calls import SideCall
    from lambda_tasks.state.turns import RateLimit
    from lambda_tasks.telemetry.report import Report

    class Work(Protocol):
        """The steps of a message in this delivery. `finished` counts those that it finished, `text` is for the record.

        The message `has_gone_on` where an earlier delivery put the rest off.
        """

        finished: int
        has_gone_on: bool

        @property
        def text(self) -> str | None:
            """What replaces the record's text of how far the steps have come; None for nothing."""
            ...


_A_MOMENT = 0.001


class HeldLeases(NamedTuple):
    """The leases that a message has while its task runs."""

    attempt: Attempt
    started: Started
    singleton: KeyLease | None = None
    held_since: float = 0.0  # epoch seconds
    acquired_at: float = 0.0  # a reading of ``time.monotonic``


class Stage:
    """What the steps of a message need of the call that they run in, which began at `began_at` (``time.monotonic``).

    `line` is the thread, or the asyncio task, that the task's own code runs in.
    """

    __slots__ = ("_limits", "_time", "began_at", "line", "worker")

    def __init__(self, worker: Worker, limits: Limits, time: InvocationTime, began_at: float, line: object) -> None:
        self.worker = worker
        self._limits = limits
        self._time = time
        self.began_at = began_at
        self.line = line

    @property
    def ends_at(self) -> float:
        """When the work has to be put off, a reading of ``time.monotonic``: the invocation ends, or a limit for it.

        A limit that is the task's own, or the settings', ends the task, as that of any other one.
        """
        given, tasks_end_at = self._limits, self._time.tasks_end_at
        if self.began_at + given.hard < tasks_end_at - _A_MOMENT:
            return tasks_end_at
        return self.began_at + min(given.soft, given.hard)

    @property
    def has_whole_time(self) -> bool:
        """Whether a fresh invocation would not give the task more time."""
        return not was_cut_short(self._time.tasks_end_at - self.began_at, self._time.fresh_seconds)


class Job:
    """A job is one message on its way to an outcome. It works out only what is asked for, since there are many.

    `task_name` is what the message says, which may be anything until the task `is_found`. `message_id` is SQS's, and
    `record_id` the sender's own where there is one; `record` is as it came, `sent` as the sender meant it. `result` is
    its outcome: from the beginning where it cannot run, because there is no task for it or its kwargs do not fit. It
    `is_settled` when what that asks for is being done, `is_concluded` when it was done, and `is_done_with` when SQS may
    delete it. Messages that one call of a batch task takes have the same `batch_key`; any other message has None.
    Those of one `singleton_key`, or `key`, run one after the other. A message with `expires_at` (epoch seconds) does
    not start after that. One with a `rate_limit` runs at its turn, `turn_at` (epoch seconds), where it has one.

    With a table, `attempts` counts the deliveries that started, this one included; without one, `known_deferrals` are
    those of this process. An `early` call takes its lease before its turn comes. `is_elsewhere` tells that another
    delivery has the lease, until `due_at` (epoch seconds), `busy_seconds` how long another message may keep the
    singleton. A message that `ended_earlier` is completed, and does not run. One
    that `is_unrun` fails without ever having run.

    Where there is a store for steps, `stage` is what they need of the call, and `work` is theirs once there are any;
    they `put_off` the rest for another delivery. A message that `continues` another one has that one's record. Where
    its queue delivers a message that goes on no more often, a new one takes it over after `hands_over_after` seconds;
    it `is_last` where it would be dead otherwise.
    """

    task_name: str | None = None
    is_found = False
    record_id: str | None = None
    definition: Definition | None = None
    kwargs: Any = None
    batch_key: object = None
    is_alone = True
    singleton_key: str | None = None
    key: Key | None = None
    rate_limit: RateLimit | None = None
    turn_at: float | None = None
    key_lease: KeyLease | None = None
    n_retries = 0
    expires_at: float | None = None
    attempts = 0
    known_deferrals = 0
    has_run = False
    early: SideCall[Result | None] | None = None
    is_elsewhere = False
    due_at = 0.0
    busy_seconds = 0.0
    ended_earlier: Attempt | None = None
    has_letter = is_unrun = False
    leases: HeldLeases | None = None
    result: Result | None = None
    is_settled = is_done_with = is_concluded = False
    _receive_count = 0
    known_context: Context | None = None
    stage: Stage | None = None
    work: Work | None = None
    put_off: PutOff | None = None
    continues = False
    hands_over_after: float | None = None
    is_last = False

    def __init__(self, record: Record, sent: Record, started_at: float, must_end_at: float) -> None:
        self.record = record
        self.message_id = record["messageId"]
        self.receipt_handle = record.get("receiptHandle")  # None where SQS did not deliver the message
        self.sent = sent
        self.group = fifo_group(record)
        self.started_at = started_at
        self.must_end_at = must_end_at

    @property
    def own_id(self) -> str:
        """The id of the record: the sender's own where there is one, that of the first message where it continues."""
        return self.record_id or self.message_id

    def may_be_taken_over(self, result: Result) -> bool:
        """Tell whether a new message may take over from this one: it has spent its deliveries by going on."""
        if self.group is not None:
            return False  # the new one would come behind those that wait for this one
        if result.reason == GOES_ON:
            return True
        has_gone_on = self.continues or (self.work is not None and self.work.has_gone_on)
        return has_gone_on and (result.outcome is Outcome.RETRYING or self.is_elsewhere)

    def exhausted(self, result: Result) -> Result:
        """Return the outcome of the last delivery, which was not to be that: the message fails, with the reason."""
        error = result.error
        if result.outcome is Outcome.DEFERRED:
            self.is_unrun = not self.has_run and self.attempts <= 1
            deferrals = self.receive_count - max(0, self.attempts - (not self.has_run))
            reason = result.reason or (str(error) if error is not None else "it could not run")
            exhausted = DeliveriesExhausted(
                f"deferred {deferrals} times: {reason}",
                remedy="raise the queue's maxReceiveCount, and redrive the message"
                if result.reason != RATED
                else "raise the rate, or the queue's maxReceiveCount and retention, and redrive the message",
            )
            exhausted.__cause__ = error
            error = exhausted
        return structs.replace(result, outcome=Outcome.FAILED, error=error, visible_after_seconds=None)

    @property
    def receive_count(self) -> int:
        """How often SQS has delivered the message, this time included."""
        if not self._receive_count:
            self._receive_count = receive_count(self.record)
        return self._receive_count

    @property
    def retries(self) -> int:
        """How often the message was tried before: in deliveries that started, and as messages that it is a copy of."""
        earlier = self.attempts - 1 if self.attempts else self.receive_count - 1 - self.known_deferrals
        return max(0, earlier) + max(0, self.n_retries)

    @property
    def context(self) -> Context:
        """The context that the message carries."""
        if self.known_context is None:
            self.known_context = contexts.from_record(
                self.sent,
                task=self.task_name or "",
                attempt=self.retries + 1,
                receive_count=self.receive_count,
                remaining_time_ms=self.remaining_time_ms,
                origin=self,
            )
        return self.known_context

    def report(self, result: Result) -> Report:
        """Return the report of this delivery, whose outcome is `result`."""
        return report_of(
            self.record,
            result,
            self.context,
            started_at=self.started_at,
            is_unrun=self.is_unrun,
            is_found=self.is_found,
            steps_finished=None if self.work is None else self.work.finished,
        )

    def remaining_time_ms(self) -> int:
        """Return the milliseconds that the task may still run."""
        seconds = max(0.0, self.must_end_at - time.monotonic())
        return int((seconds if seconds < math.inf else LONGEST_FUNCTION_SECONDS) * 1000)
