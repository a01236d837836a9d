"""A delivery and what is to be done for it: its task, its validated kwargs, its context; or why it cannot run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lambda_tasks.errors import InvalidTask, LambdaTasksError, MessageRejected, PayloadUnavailable
from lambda_tasks.tasks import context as contexts
from lambda_tasks.tasks import delivery as deliveries
from lambda_tasks.tasks.lookup import find_task
from lambda_tasks.tasks.outcome import Outcome, Result
from lambda_tasks.tasks.retry import retries_so_far

if TYPE_CHECKING:
    from lambda_tasks.settings import Settings
    from lambda_tasks.tasks.claims import Claim
    from lambda_tasks.tasks.delivery import Delivery
    from lambda_tasks.tasks.event import Record
    from lambda_tasks.tasks.message import Message
    from lambda_tasks.tasks.task import Task


class Job:
    """One delivery on its way to an outcome.

    `refusal` is the result of one that cannot run: no task could be found for it, or its kwargs do not fit.
    """

    __slots__ = ("claim", "context", "delivery", "kwargs", "must_end_at", "refusal", "retries", "started_at", "task")

    def __init__(self, delivery: Delivery, must_end_at: float) -> None:
        received = delivery.received
        n_retries = 0 if isinstance(received, LambdaTasksError) else received.n_retries
        self.delivery = delivery
        self.must_end_at = must_end_at
        self.retries = retries_so_far(delivery.receive_count, n_retries)
        self.started_at = time.time()
        self.task: Task[..., Any] | None = None
        self.kwargs: Any = None
        self.refusal: Result | None = None
        self.claim: Claim | None = None
        self.context = contexts.from_record(
            delivery.sent,
            task="" if isinstance(received, LambdaTasksError) else received.task_name,
            attempt=self.retries + 1,
            receive_count=delivery.receive_count,
            remaining_time_ms=self.remaining_time_ms,
        )

    @property
    def task_name(self) -> str | None:
        """The task that the message names, whether there is one or not."""
        return self.context.task or None

    @property
    def is_async(self) -> bool:
        """Whether the task is an ``async def``."""
        return self.task is not None and self.task.is_async

    def remaining_time_ms(self) -> int:
        """Return the milliseconds that the task may still run."""
        return int(min(max(0.0, self.must_end_at - time.monotonic()), 900.0) * 1000)

    def prepare(self, settings: Settings) -> None:
        """Find the task and validate the kwargs, or note why not."""
        started = time.perf_counter()
        outcome: Outcome
        problem: LambdaTasksError
        received = self.delivery.received
        try:
            self.task, self.kwargs = _task_and_kwargs(received, settings)
        except (MessageRejected, InvalidTask) as error:
            outcome, problem = Outcome.REJECTED, error
        except PayloadUnavailable as error:
            outcome, problem = Outcome.DEFERRED, error
        except BaseException as error:  # noqa: BLE001 - the task's module raised while it was imported
            self.refusal = Result(Outcome.FAILED, self.task_name, error, duration_ms=ms_since(started))
            return
        else:
            return
        self.refusal = Result(outcome, self.task_name, problem, duration_ms=ms_since(started))


def jobs_of(records: list[Record], settings: Settings, must_end_at: float) -> list[Job]:
    """Return a prepared job for each record."""
    jobs = [Job(deliveries.read(record), must_end_at) for record in records]
    for job in jobs:
        job.prepare(settings)
    return jobs


def ms_since(started: float) -> float:
    """Return the milliseconds since `started`, a reading of ``time.perf_counter``."""
    return (time.perf_counter() - started) * 1000


def _task_and_kwargs(received: Message | LambdaTasksError, settings: Settings) -> tuple[Task[..., Any], Any]:
    if isinstance(received, LambdaTasksError):
        raise received
    task = find_task(received.task_name, settings)
    return task, task.decode_kwargs(received.kwargs)
