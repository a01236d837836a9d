"""The result of a task as ``get_result`` gives it: made of the record of its message."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from django.utils.module_loading import import_string

from lambda_tasks.django.request import DECODER
from lambda_tasks.django.running import update
from lambda_tasks.django.tasks_api import Task, TaskError, TaskResult, TaskResultDoesNotExist, TaskResultStatus
from lambda_tasks.messages.body import MAX_ID_CHARACTERS
from lambda_tasks.state.record import Status

if TYPE_CHECKING:
    from lambda_tasks.state.record import StoredRecord

# A message that waits for another try is ready to be executed again. One that was skipped asks for nothing more.
STATUSES = {
    Status.QUEUED: TaskResultStatus.READY,
    Status.RETRYING: TaskResultStatus.READY,
    Status.DEFERRED: TaskResultStatus.READY,
    Status.RUNNING: TaskResultStatus.RUNNING,
    Status.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
    Status.SKIPPED: TaskResultStatus.SUCCESSFUL,
    Status.FAILED: TaskResultStatus.FAILED,
    Status.REJECTED: TaskResultStatus.FAILED,
}


def result_of(record: StoredRecord) -> TaskResult:
    """Return the result that `record` says.

    Raises:
        TaskResultDoesNotExist: the message was not sent by a backend of Django's, or its task is gone.

    """
    if record.request is None:
        raise TaskResultDoesNotExist(record.message_id)
    request = DECODER.decode(record.request)
    try:
        found = import_string(record.task)
    except ImportError as error:
        raise TaskResultDoesNotExist(f"{record.message_id}: there is no task {record.task}") from error
    if not isinstance(found, Task):
        raise TaskResultDoesNotExist(f"{record.message_id}: {record.task} is no task")
    status, errors = STATUSES[record.status], []
    if record.error_class is not None:
        errors = [TaskError(exception_class_path=record.error_class, traceback=record.traceback or "")]
    result = TaskResult(
        task=request.task_of(found),
        id=record.message_id,
        status=status,
        enqueued_at=request.enqueued_at,
        started_at=_moment(record.history[0].started_at if record.history else record.started_at),
        last_attempted_at=_moment(record.history[-1].started_at if record.history else record.started_at),
        finished_at=_moment(record.finished_at) if status in _FINISHED else None,
        args=request.args,
        kwargs=request.kwargs,
        backend=request.backend,
        errors=errors,
        worker_ids=_worker_ids(record),
    )
    if status is TaskResultStatus.SUCCESSFUL and record.result is not None:
        update(result, _return_value=json.loads(record.result))
    return result


def _worker_ids(record: StoredRecord) -> list[str]:
    """Return an id for each execution: that of its invocation, where it is known, or else of where the last one ran."""
    last = (record.log_stream or "local")[-MAX_ID_CHARACTERS:]
    known = [one.request_id or last for one in record.history][-record.attempts :] if record.attempts else []
    return [last] * (record.attempts - len(known)) + known


_FINISHED = (TaskResultStatus.FAILED, TaskResultStatus.SUCCESSFUL)


def _moment(epoch_seconds: float | None) -> datetime | None:
    """Return a time to the millisecond, as stores keep it."""
    return datetime.fromtimestamp(round(epoch_seconds, 3), timezone.utc) if epoch_seconds else None
