"""The tasks of the orchard. The module imports a model, so that it cannot be imported before Django is set up."""

from __future__ import annotations

import os
import threading
import time
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import connection, connections

from lambda_tasks import Retry, task

from .models import Tree

seen: list[Any] = []


@task
def plant(*, name: str) -> int:
    tree = Tree.objects.create(name=name)
    return int(tree.pk)


@task
def look(*, name: str = "") -> int:
    """Tell which connection this is, and note it with the process and the thread."""
    connection.ensure_connection()
    connection.cursor().execute("SELECT 1")
    seen.append((name, threading.get_ident(), connection.connection, len(connection.queries)))
    return os.getpid()


@task
async def look_async(*, name: str) -> None:
    await Tree.objects.acreate(name=name)
    seen.append(await sync_to_async(lambda: connection.connection)())


@task(atomic=True)
def plant_and_raise(*, name: str, error: str = "") -> None:
    Tree.objects.create(name=name)
    if error == "Retry":
        raise Retry(delay=1)
    if error:
        raise LookupError(error)


@task(atomic=True, hard_timeout=0.05)
def plant_for_too_long(*, name: str) -> None:
    Tree.objects.create(name=name)
    while True:
        time.sleep(0.01)


@task(atomic="archive", ignore_errors=LookupError)
def archive(*, name: str, fail: bool = False) -> bool:
    Tree.objects.using("archive").create(name=name)
    if fail:
        raise LookupError(name)
    return bool(connections["archive"].in_atomic_block)


@task(atomic=False)
def plant_bare(*, name: str) -> bool:  # noqa: ARG001
    return bool(connection.in_atomic_block)


@task
def tell_atomic() -> bool:
    return bool(connection.in_atomic_block)


@task(atomic="nowhere")
def misplaced() -> None: ...


@task(singleton=True)
def prune() -> None: ...


@task
def note(*, amount: Decimal, aware: datetime, naive: datetime, key: UUID, text: str) -> None:
    seen.append((amount, aware, naive, key, text))


@task
def anything(*, value: Any) -> None:
    seen.append(value)


@task(atomic=True)
def plant_and_ask(*, name: str) -> None:
    """Plant a tree, and run another task here, in the middle of the transaction."""
    Tree.objects.create(name=name)
    plant_bare.enqueue(name=name)
    seen.append(connection.connection)


@task
def plant_in(*, database: str, name: str, fail: bool = False) -> bool:
    """Plant a tree, and tell whether that is in a transaction."""
    Tree.objects.using(database).create(name=name)
    if fail:
        raise LookupError(name)
    return bool(connections[database].in_atomic_block)


@task(singleton=True, singleton_busy="skip", record_kwargs=True)
def mow(*, name: str = "") -> str:
    connection.cursor().execute("SELECT 1")
    return name
