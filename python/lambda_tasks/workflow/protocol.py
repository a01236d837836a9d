"""What steps need of the dispatcher, and leave to it: the message whose task runs, and the call that it runs in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from lambda_tasks.messages.outcome import PutOff


class Stage(Protocol):
    """The call of a task: see `lambda_tasks.dispatch.job.Stage`."""

    worker: Any
    line: object

    @property
    def ends_at(self) -> float:
        """When the work has to be put off, a reading of ``time.monotonic``."""
        ...

    @property
    def has_whole_time(self) -> bool:
        """Whether a fresh invocation would not give the task more time."""
        ...


class Origin(Protocol):
    """A message whose task runs: see `lambda_tasks.dispatch.job.Job`. `work` and `put_off` are the steps' own."""

    task_name: str | None
    definition: Any
    leases: Any
    must_end_at: float
    result: object
    stage: Any
    put_off: PutOff | None
    work: Any

    @property
    def own_id(self) -> str:
        """The id of the record."""
        ...
