"""Tasks of ``django.tasks``, as an application has them that knows nothing of Lambda."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied

from lambda_tasks import Retry
from lambda_tasks.django import options
from lambda_tasks.django.tasks_api import TaskContext

from .api import task
from .models import Tree

seen: list[Any] = []


@task
def noop(*args: Any, **kwargs: Any) -> None:
    seen.append((args, kwargs))


@task()
async def noop_async(*args: Any, **kwargs: Any) -> str:
    seen.append((args, kwargs))
    return "async"


@task
def answer() -> int:
    return 42


@task
def echo(value: Any) -> Any:
    return value


@task(queue_name="mail")
def mail(*, to: str) -> str:
    return to


@task
def fail(message: str) -> None:
    raise ValueError(message)


@task
def refuse() -> None:
    raise PermissionDenied(ValueError("deep"))


@task
def leave() -> None:
    raise SystemExit("over")


@task
def unspeakable() -> object:
    return object()


@task(takes_context=True)
def attempt(context: TaskContext, text: str = "") -> dict[str, Any]:
    result = context.task_result
    return {"attempt": context.attempt, "id": result.id, "text": text, "status": str(result.status.value)}


@task(takes_context=True)
@options(retry_delay=0, max_retries=2)
def retry_once(context: TaskContext) -> int:
    if context.attempt < 2:
        raise Retry(delay=0)
    return int(context.attempt)


@task
@options(retry_on=ConnectionError, max_retries=0, hard_timeout=0.05)
def impatient() -> None:
    while True:
        seen.append(1)


@task
@options(singleton=("tree",), singleton_busy="skip")
def water(tree: int, litres: int = 1) -> None:
    seen.append((tree, litres))


@task(queue_name="mail", takes_context=True)
@options(group=("tree",))
def pick(context: TaskContext, tree: Any, basket: int = 1) -> None:
    seen.append((context.attempt, tree, basket))


@task
@options(group=("nobody",))
def lost() -> None: ...


@task
@options(atomic=True)
def plant(name: str) -> None:
    Tree.objects.create(name=name)
    if name == "weed":
        raise ValueError(name)


@task(backend="immediate")
def elsewhere() -> str:
    return "here all the same"


def no_task() -> None:
    seen.append("ran")


def _hidden() -> None: ...


renamed = task(_hidden)
