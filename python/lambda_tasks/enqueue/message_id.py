"""The id of a message that was enqueued, from which its producer gets to its record and its result."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lambda_tasks.definition.options import Seconds
    from lambda_tasks.messages.outcome import Result
    from lambda_tasks.records import TaskRecord

_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 2.0
_GROWTH = 1.5


class MessageId(str):
    """A message id: a text, with the ways to what became of the message.

    They read the table that ``LAMBDA_TASKS_TABLE`` names, and raise `InvalidSetting` where there is none and
    `StateUnavailable` where it does not answer. Of a message that runs in this process without a table, in the mode
    ``eager`` or of a `TaskQueue`, this object itself knows the record.
    """

    _known: TaskRecord | None = None

    def record(self) -> TaskRecord | None:
        """Return the record of the message, or None where there is none yet."""
        if self._known is not None:
            return self._known
        from lambda_tasks.records import TaskRecord  # noqa: PLC0415 - for producers that look at records

        return TaskRecord.get(str(self))

    def became(self, task: str | None, result: Result | None = None) -> None:
        """Know the record of a message of this process: queued, and later what it became by `result`."""
        from lambda_tasks.records import TaskRecord  # noqa: PLC0415
        from lambda_tasks.state.record import Ending, Status  # noqa: PLC0415

        now = time.time()
        queued_at = now if self._known is None else self._known.queued_at
        if result is None:
            self._known = TaskRecord(str(self), task or "", Status.QUEUED, 0, now, 0, queued_at=now)
            return
        status = Status(result.outcome.value)
        ending = Ending.of(status, value=result.value, error=result.error, reason=result.reason)
        self._known = TaskRecord(
            str(self),
            task or "",
            status,
            0 if status in (Status.REJECTED, Status.SKIPPED) else 1,
            first_received_at=now,
            started_at=now - result.duration_ms / 1000,
            finished_at=now,
            result=ending.result,
            error_type=ending.error_type,
            error_message=ending.error_message,
            traceback=ending.traceback,
            reason=ending.reason,
            queued_at=queued_at,
        )

    def wait(self, timeout: Seconds | None = None) -> TaskRecord:
        """Return the record of the message when it has ended: succeeded, failed, was rejected or skipped.

        The record is read again and again, at longer and longer intervals of up to two seconds. `timeout` is in
        seconds, or a `timedelta`; without it the wait has no end.

        Raises:
            NotEnded: a `TimeoutError`; it did not end in time.

        """
        from lambda_tasks.records import NotEnded  # noqa: PLC0415

        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        ends_at = None if seconds is None else time.monotonic() + seconds
        interval = _FIRST_WAIT_SECONDS
        while True:
            record = self.record()
            if record is not None and record.has_ended:
                return record
            left = interval if ends_at is None else ends_at - time.monotonic()
            if left <= 0:
                status = "unknown" if record is None else record.status.value
                remedy = "wait longer, and see that a worker runs and has the same table"
                problem = f"the message has not ended within {seconds:g} s, it is {status}"
                raise NotEnded(problem, source=f"message {self}", remedy=remedy)
            time.sleep(min(interval, left))
            interval = min(interval * _GROWTH, _LONGEST_WAIT_SECONDS)

    def result(self, timeout: Seconds | None = None) -> Any:  # noqa: ANN401 - whatever the task returned
        """Wait as `wait` does, and return what the task returned, as JSON has it.

        It is None where the task returned that, where its result was too large to be kept or had no form in JSON, and
        where the message was skipped.

        Raises:
            TaskFailed: the task failed, or the message was rejected.
            NotEnded: as `wait`.

        """
        return self.wait(timeout).value()
