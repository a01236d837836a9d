"""The decorator of django-lambda-tasks 0.8.1, for tasks that moved from there: an import changes, and nothing else."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from django.conf import settings as of_django

from lambda_tasks.definition.definition import Definition
from lambda_tasks.tasks.task import Task

if TYPE_CHECKING:
    from lambda_tasks.definition.options import Seconds

P = ParamSpec("P")
R = TypeVar("R")

# Theirs go on for two days, each after the same time. Ours wait twice as long each time: so many take hours as well,
# and fewer than the four days for which a queue keeps a message by default.
_MOST_RETRIES = 10
_LEAST_RETRY_SECONDS = 5  # which theirs add at random

task_logger = logging.getLogger("lambda_tasks.task")


class MovedTask(Task[P, R]):
    """A task that is also enqueued as those of django-lambda-tasks are."""

    def execute_on_commit(self, *, _delay: Seconds = 0, **kwargs: Any) -> None:  # noqa: ANN401 - those of the task
        """Enqueue as `Task.enqueue_on_commit` does, `_delay` seconds later.

        Raises:
            LambdaTasksError: as `Task.enqueue_on_commit` and `Task.options`.

        """
        task: Task[..., R] = self.options(delay=_delay) if _delay else self
        task.enqueue_on_commit(**kwargs)


@overload
def lambda_task(func: Callable[P, R], /) -> MovedTask[P, R]: ...


@overload
def lambda_task(
    *,
    retry_delay: Seconds = ...,
    soft_timeout: Seconds | None = ...,
    hard_timeout: Seconds | None = ...,
    queue: str = ...,
    retry_on: tuple[type[BaseException], ...] = ...,
    singleton: bool = ...,
    retry_singleton: bool = ...,
) -> Callable[[Callable[P, R]], MovedTask[P, R]]: ...


def lambda_task(
    func: Callable[P, R] | None = None,
    /,
    *,
    retry_delay: Seconds = 0,
    retry_singleton: bool = True,
    **options: Any,
) -> MovedTask[P, R] | Callable[[Callable[P, R]], MovedTask[P, R]]:
    """Make a task of a function, as django-lambda-tasks does: it runs in a transaction, and `retry_on` for long.

    Raises:
        InvalidTask: as `lambda_tasks.task`.

    """
    given = {
        "atomic": True,
        "max_retries": min(getattr(of_django, "LAMBDA_TASKS_MAX_RETRIES", _MOST_RETRIES), _MOST_RETRIES),
        "retry_delay": retry_delay or _LEAST_RETRY_SECONDS,
        "singleton_busy": "defer" if retry_singleton else "skip",
        **options,
    }
    make = functools.partial(_make, given)
    return make if func is None else make(func)


def _make(options: dict[str, Any], function: Callable[P, R]) -> MovedTask[P, R]:
    return MovedTask(Definition.of(function, options))
