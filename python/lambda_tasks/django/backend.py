"""The backend of ``django.tasks`` that sends a task's messages to SQS, for the dispatcher to run on Lambda.

Source: https://docs.djangoproject.com/en/6.0/ref/tasks/
"""

from __future__ import annotations

import sys
import time
import uuid
from typing import TYPE_CHECKING, Any

import msgspec
from django.core.checks import Error, Warning  # noqa: A004 - as Django has it
from django.utils import timezone

from lambda_tasks import settings
from lambda_tasks.definition import values
from lambda_tasks.django import results, running
from lambda_tasks.django.definition import GROUP, check_options, group_of, options_of
from lambda_tasks.django.request import Request
from lambda_tasks.django.tasks_api import (
    BaseTaskBackend,
    InvalidTask,
    Task,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_enqueued,
)
from lambda_tasks.enqueue import destination, outgoing
from lambda_tasks.errors import LambdaTasksError
from lambda_tasks.state import openers, opening
from lambda_tasks.state.protocol import Queued

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from django.core.checks import CheckMessage

    from lambda_tasks.enqueue.outgoing import Outgoing
    from lambda_tasks.state.protocol import State

_STORE_SECONDS = 10.0


class LambdaTasksBackend(BaseTaskBackend):
    """The backend of ``django.tasks`` for AWS Lambda.

    ``OPTIONS`` are options of `lambda_tasks.task` for all tasks of the backend; classes may be dotted paths.
    """

    supports_defer = True
    supports_async_task = True
    supports_priority = False  # SQS has no order but that of a FIFO group: give urgent tasks a queue of their own

    @property
    def supports_get_result(self) -> bool:
        """Whether results are kept: where there is a table."""
        return self.store() is not None

    @property
    def task_options(self) -> Mapping[str, Any]:
        """The options of the dispatcher for all tasks of this backend."""
        options: Mapping[str, Any] = self.options
        return options

    def validate_task(self, task: Task) -> None:
        """Refuse a task that could not be enqueued.

        Raises:
            InvalidTask: it is not at the top level of a module, or asks for what SQS does not have.

        """
        super().validate_task(task)
        if task.func.__module__ == "__main__":
            raise InvalidTask("Task function must be defined in a module that the worker can import.")

    def enqueue(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:
        """Send the message of a task, and return its result, which is READY.

        Raises:
            InvalidTask: as `validate_task`; or the task's name does not lead to it.
            TypeError: an argument has no form in JSON.
            LambdaTasksError: as `lambda_tasks.tasks.task.Task.enqueue`.

        """
        self.validate_task(task)
        _check_name(task)
        result = TaskResult(
            task=task,
            id=uuid.uuid4().hex,
            status=TaskResultStatus.READY,
            enqueued_at=_now(),
            started_at=None,
            last_attempted_at=None,
            finished_at=None,
            args=args,
            kwargs=kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        message = _message(result)
        self._record(result)
        if settings.current().mode == "eager" and not destination.is_diverted():
            self._run_here(result, message)
        else:
            destination.send(message)
            task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult:
        """Return the result of a task, by one read of the table.

        Raises:
            NotImplementedError: there is no table.
            TaskResultDoesNotExist: there is no such result, or not any more.

        """
        store = self.store()
        if store is None:
            raise NotImplementedError("Results are kept where LAMBDA_TASKS_TABLE names a table.")
        record = store.record(str(result_id), deadline=time.monotonic() + _STORE_SECONDS)
        if record is None:
            raise TaskResultDoesNotExist(result_id)
        return results.result_of(record)

    def check(self, **_: Any) -> Iterator[CheckMessage]:  # noqa: ANN401 - as Django calls it
        """Yield what is wrong with the configuration of this backend."""
        source = f"TASKS[{self.alias!r}]"
        try:
            check_options(self.task_options)
        except (LambdaTasksError, ImportError) as error:
            yield Error(f"{source} has OPTIONS that are not usable: {error}", id="lambda_tasks.E001")
        try:
            current = settings.current()
        except LambdaTasksError as error:
            yield Error(str(error), id="lambda_tasks.E002")
            return
        if current.record_database is not None and openers.django is None:
            hint = 'Add "lambda_tasks.django" to INSTALLED_APPS.'
            yield Error(
                "LAMBDA_TASKS_TABLE names Django's database, and its app is missing.", hint=hint, id="lambda_tasks.E006"
            )
        for queue in sorted(self.queues) if current.mode == "sqs" else ():
            variable = settings.queue_url_variable(queue)
            if variable not in current.queue_urls:
                hint = f'Set {variable}, or LAMBDA_TASKS = {{"QUEUE_URLS": {{{queue!r}: ...}}}}.'
                yield Warning(f"{source} has the queue {queue!r}, which has no URL.", hint=hint, id="lambda_tasks.W001")

    def store(self) -> State | None:
        """Return the store that keeps results, or None where there is none, as for what a test records."""
        if destination.is_diverted() or settings.current().table is None:
            return None
        return opening.of_process()

    def _record(self, result: TaskResult) -> None:
        """Record the message before it can be received, so that its result exists from the beginning."""
        store = self.store()
        if store is None:
            return
        due = result.task.run_after
        queued = Queued(
            result.id,
            result.task.module_path,
            result.task.queue_name,
            result.enqueued_at.timestamp(),
            request=Request.of(result).with_arguments(result),
            due_at=0.0 if due is None else _aware(due).timestamp(),
        )
        store.queued([queued], deadline=time.monotonic() + _STORE_SECONDS)

    def _run_here(self, result: TaskResult, message: Outgoing) -> None:
        """Run the message in this process. What the task raises is in its result, as for every other message."""
        task_enqueued.send(type(self), task_result=result)
        running.awaited[result.id] = result
        try:
            destination.send(message)
        except KeyboardInterrupt:
            raise
        except BaseException:
            if result.status is not TaskResultStatus.FAILED:
                raise
        finally:
            running.awaited.pop(result.id, None)


def _now() -> datetime:
    """Return the time to the millisecond, as all others of a result are: none that is later seems earlier."""
    now: datetime = timezone.now()
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _check_name(task: Task) -> None:
    found = getattr(sys.modules.get(task.func.__module__), task.func.__qualname__, None)
    if not isinstance(found, Task) or found.func is not task.func:
        raise InvalidTask(f"{task.module_path} does not lead to the task: no message can name it.")


def _message(result: TaskResult) -> Outgoing:
    task = result.task
    more = {
        "args": msgspec.Raw(values.encode_value(result.args)),
        "id": result.id,
        "origin": Request.of(result),
    }
    at = None if task.run_after is None else _aware(task.run_after)
    group = group_of(options_of(task).get(GROUP), running.Call(task, result.args, result.kwargs))
    # Where the queue does not deduplicate by content: one message, however often it is sent again.
    url = settings.current().queue_urls.get(settings.queue_url_variable(task.queue_name), "")
    deduplication_id = result.id if url.endswith(".fifo") else None
    body = task.module_path, values.encode(result.kwargs), more
    return outgoing.of_body(*body, queue=task.queue_name, at=at, group=group, deduplication_id=deduplication_id)


def _aware(moment: datetime) -> datetime:
    """Return a time with its zone: where ``USE_TZ`` is off, Django's times are those of ``TIME_ZONE``."""
    return timezone.make_aware(moment) if timezone.is_naive(moment) else moment
