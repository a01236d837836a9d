"""A message and what is to be done for it: its task, its validated kwargs, its context; or why it cannot run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lambda_tasks.errors import InvalidTask, MessageRejected, PayloadUnavailable
from lambda_tasks.tasks import context as contexts
from lambda_tasks.tasks.delivery import fifo_group, read, receive_count
from lambda_tasks.tasks.lookup import find_task
from lambda_tasks.tasks.message import Message
from lambda_tasks.tasks.outcome import Outcome, Result
from lambda_tasks.tasks.retry import retries_so_far

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambda_tasks.settings import Settings
    from lambda_tasks.tasks.claims import Claim
    from lambda_tasks.tasks.context import Context
    from lambda_tasks.tasks.event import Record
    from lambda_tasks.tasks.task import Task

Known = dict[str, "Task[..., Any]"]


class Job:
    """One delivery on its way to an outcome. There is one for each message, so it works out only what is asked for.

    `record` is as it came, `sent` as the sender meant it. `result` is its outcome: from the beginning where it cannot
    run, because there is no task for it or its kwargs do not fit. It `is_settled` when what that asks for was done (or
    is being done), and `is_done_with` when SQS may delete it.
    """

    task_name: str | None = None
    task: Task[..., Any] | None = None
    kwargs: Any = None
    n_retries = 0
    claim: Claim | None = None
    result: Result | None = None
    is_settled = is_done_with = False
    _context: Context | None = None

    def __init__(self, record: Record, started_at: float, must_end_at: float, known: Known, settings: Settings) -> None:
        received, self.sent = read(record)
        self.record = record
        self.group = fifo_group(record)
        self.started_at = started_at
        self.must_end_at = must_end_at
        if isinstance(received, Message):
            self.task_name = received.task_name
            self.n_retries = received.n_retries
            self._prepare(received, known, settings)
        else:
            outcome = Outcome.DEFERRED if isinstance(received, PayloadUnavailable) else Outcome.REJECTED
            self.result = Result(outcome, None, received)

    @property
    def message_id(self) -> str:
        """SQS's id of the message."""
        return self.record["messageId"]

    @property
    def receive_count(self) -> int:
        """How often SQS has delivered the message, this time included."""
        return receive_count(self.record)

    @property
    def retries(self) -> int:
        """How often the message was tried before."""
        return retries_so_far(self.receive_count, self.n_retries)

    @property
    def context(self) -> Context:
        """What the message carries."""
        if self._context is None:
            self._context = contexts.from_record(
                self.sent,
                task=self.task_name or "",
                attempt=self.retries + 1,
                receive_count=self.receive_count,
                remaining_time_ms=self.remaining_time_ms,
            )
        return self._context

    def forget_context(self) -> None:
        """Let go of the context, which refers to this object: without a cycle both go at once."""
        self._context = None

    def remaining_time_ms(self) -> int:
        """Return the milliseconds that the task may still run."""
        return int(min(max(0.0, self.must_end_at - time.monotonic()), 900.0) * 1000)

    def _prepare(self, received: Message, known: Known, settings: Settings) -> None:
        """Find the task and validate the kwargs, or note why not."""
        name = received.task_name
        try:
            task = known.get(name)
            if task is None:
                task = known[name] = find_task(name, settings)
            self.kwargs = task.decode_kwargs(received.kwargs)
            self.task = task
        except (MessageRejected, InvalidTask) as error:
            self.result = Result(Outcome.REJECTED, name, error)
        except BaseException as error:  # noqa: BLE001 - the task's module raised while it was imported
            self.result = Result(Outcome.FAILED, name, error)


def jobs_of(records: Sequence[Record], settings: Settings, must_end_at: float, known: Known) -> list[Job]:
    """Return a job for each record. `known` holds the tasks that were found before, and takes those found now."""
    now = time.time()
    return [Job(record, now, must_end_at, known, settings) for record in records]


def ms_since(started: float) -> float:
    """Return the milliseconds since `started`, a reading of ``time.perf_counter``."""
    return (time.perf_counter() - started) * 1000
