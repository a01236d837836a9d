"""What the parts of the store have in common: the tables of one database, and writes that know what they change."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, connections, transaction

from lambda_tasks.django.models import TaskKey, TaskRecord
from lambda_tasks.django.store.database import Database
from lambda_tasks.errors import StateUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_tasks.django.store.rows import Row

_TRIES = 20  # against as many others that write the same row at the same time


class Store:
    """The tables in one database of Django's. `clock` gives epoch seconds."""

    def __init__(self, alias: str, *, record_ttl_seconds: float, clock: Callable[[], float]) -> None:
        self._database = Database(alias)
        self._records = TaskRecord._base_manager.using(alias)
        self._keys = TaskKey._base_manager.using(alias)
        self._record_ttl_seconds = record_ttl_seconds
        self._clock = clock

    def _settled(self, function: Callable[[], object | None], deadline: float) -> Any:  # noqa: ANN401
        """Return the first answer of `function` that is one: it decides by a row that others may change meanwhile."""
        for _ in range(_TRIES):
            answer = self._database.write(function, deadline=deadline)
            if answer is not None:
                return answer
        raise StateUnavailable("others wrote the same row all the time", source=f"database {self._database.alias}")

    def _insert(self, model: Any, values: Row) -> bool:  # noqa: ANN401 - Django has no types
        """Insert a row, and tell whether there was none."""
        alias = self._database.alias
        within = connections[alias].in_atomic_block  # an error would break the transaction, but for a savepoint
        try:
            with transaction.atomic(using=alias) if within else contextlib.nullcontext():
                model._base_manager.using(alias).create(**values)
        except IntegrityError:
            return False
        return True

    def _write_key(self, row: Row, **values: object) -> bool:
        """Write where the row is still the one that was read, and tell whether it was."""
        same = self._keys.filter(key=row["key"], version=row["version"])
        return bool(same.update(**values, version=row["version"] + 1))
