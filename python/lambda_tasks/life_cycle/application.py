"""What Django does around a request, around a message: connections are closed or checked, queries forgotten."""

from __future__ import annotations

import contextlib
import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from lambda_tasks.errors import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

logger = logging.getLogger("lambda_tasks")

_is_within = ContextVar("lambda_tasks_is_within", default=False)


class Application:
    """The Django application of this process.

    Only in a worker does it close connections: elsewhere a message may run in the middle of a request. So it may in a
    task that runs another one in the mode ``eager``, whose connections are those of the first.
    """

    def __init__(self, *, is_worker: bool) -> None:
        from django import db  # noqa: PLC0415 - an optional package
        from django.conf import settings  # noqa: PLC0415

        self._db: Any = db
        self._settings: Any = settings
        self._is_worker = is_worker

    @contextlib.contextmanager
    def around(self, database: str | None) -> Iterator[None]:
        """Tidy this thread up around a task, which is in a transaction of `database`, an alias, if there is one.

        Raises:
            InvalidSetting: there is no such database.

        """
        with self.tidied(), self._transaction(database):
            yield

    @contextlib.contextmanager
    def tidied(self) -> Iterator[None]:
        """Tidy this thread up around a message, or a query of this package's own; what is within is left alone."""
        if not self._is_outermost:
            yield
            return
        within = _is_within.set(True)
        self._begin()
        try:
            yield
        finally:
            self._end()
            _is_within.reset(within)

    @contextlib.asynccontextmanager
    async def around_async(self) -> AsyncIterator[None]:
        """Tidy up around an async task: in the thread where Django has async code do its queries."""
        if not self._is_outermost:
            yield
            return
        from asgiref.sync import sync_to_async  # noqa: PLC0415 - for async tasks

        _is_within.set(True)  # in the context of the task alone
        await sync_to_async(self._begin)()
        try:
            yield
        finally:
            await sync_to_async(self._end)()

    def close_connections(self) -> None:
        """Close the connections of a thread that ends, or of a process that was restored from a snapshot."""
        if self._is_worker:
            with _logged():
                self._db.connections.close_all()

    @property
    def _is_outermost(self) -> bool:
        return self._is_worker and not _is_within.get()

    def _begin(self) -> None:
        if self._settings.DEBUG:
            self._db.reset_queries()
        with _logged():
            self._db.close_old_connections()
        for connection in self._db.connections.all(initialized_only=True):
            # The first query asks whether the connection is alive: the environment may have been frozen meanwhile.
            connection.health_check_enabled = True

    def _end(self) -> None:
        with _logged():
            self._db.close_old_connections()

    def _transaction(self, database: str | None) -> Any:  # noqa: ANN401 - Django has no types
        if not database:
            return contextlib.nullcontext()
        known = self._db.connections
        if database not in known:
            remedy = f"use one of DATABASES: {', '.join(sorted(known))}"
            raise InvalidSetting(f"there is no database {database!r} for an atomic task", remedy=remedy)
        return self._db.transaction.atomic(using=database)


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    """Log what goes wrong with a connection, which is no error of the task."""
    try:
        yield
    except Exception:
        logger.warning("a database connection could not be closed", exc_info=True)
