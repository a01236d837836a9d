"""The way to the database of records: outside of every transaction of the application, and tried again."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, ProgrammingError, connections

from lambda_tasks.errors import LambdaTasksError, StateUnavailable
from lambda_tasks.life_cycle import setup
from lambda_tasks.limits import enclosed_loop
from lambda_tasks.state.side_calls import SideCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_TRIES = 4
_PAUSE_SECONDS = 0.05
_MOST_CHARACTERS = 200
_NO_TABLE = "no such table"  # SQLite's; the others have a class of error for it


class Database:
    """One database of Django's, by its alias. Usable from several threads, each of which has a connection."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def read(self, function: Callable[[], T], *, deadline: float) -> T:
        """Return what `function` reads, also in the middle of a transaction.

        Raises:
            StateUnavailable: the database did not answer, or refused.

        """
        return self._tried(function, deadline)

    def write(self, function: Callable[[], T], *, deadline: float) -> T:
        """Return what `function` returns, whose writes last, whatever becomes of the application's transaction.

        It is called again after an error, so that it has to know what it did before.

        Raises:
            StateUnavailable: the database did not answer, or refused. Something may have been written.

        """

        def outside() -> T:
            with self._outside_of_transactions():
                return function()

        return self._tried(outside, deadline)

    def _tried(self, function: Callable[[], T], deadline: float) -> T:
        for number in range(1, _TRIES + 1):
            try:
                return self._called(function)
            except (OperationalError, InterfaceError) as error:
                # A connection that broke, a lock that was not to be had, or two writers that stood in each other's way.
                pause = _PAUSE_SECONDS * 2**number
                is_last = number == _TRIES or time.monotonic() + pause >= deadline
                if is_last or _NO_TABLE in str(error) or self._is_in_transaction():
                    raise self._unavailable(error) from error
                with contextlib.suppress(Exception):
                    connections[self.alias].close_if_unusable_or_obsolete()
                time.sleep(pause)
            except LambdaTasksError:
                raise
            except Exception as error:
                raise self._unavailable(error) from error
        raise AssertionError  # pragma: no cover - the last try returns or raises

    def _called(self, function: Callable[[], T]) -> T:
        if enclosed_loop.is_running():  # Django does no queries in the thread of an event loop
            return _in_thread(lambda: self._called_and_closed(function))
        application = setup.of_process()
        with contextlib.nullcontext() if application is None else application.tidied():
            return function()

    def _called_and_closed(self, function: Callable[[], T]) -> T:
        try:
            return function()
        finally:
            connections[self.alias].close()

    def _is_in_transaction(self) -> bool:
        return not enclosed_loop.is_running() and bool(connections[self.alias].in_atomic_block)

    @contextlib.contextmanager
    def _outside_of_transactions(self) -> Iterator[None]:
        """Have what follows written at once: where this thread is in a transaction, by another connection.

        SQLite has one writer at a time, who would wait for himself.
        """
        own = connections[self.alias]
        if own.vendor == "sqlite" or own.get_autocommit():
            yield
            return
        other = connections[self.alias] = own.copy()
        try:
            other.ensure_connection()
            other.set_autocommit(True)
            yield
        finally:
            connections[self.alias] = own
            other.close()

    def _unavailable(self, error: Exception) -> StateUnavailable:
        name = type(error).__name__
        if isinstance(error, ProgrammingError) or _NO_TABLE in str(error):
            problem, remedy = f"the table of records is missing or differs: {name}", "run manage.py migrate"
        elif isinstance(error, (OperationalError, InterfaceError)):
            problem, remedy = f"{name}: {str(error)[:_MOST_CHARACTERS].strip()}", "check that the database answers"
        else:  # its text may hold what was to be written
            kind = "refused the call" if isinstance(error, DatabaseError) else "could not be called"
            problem, remedy = f"the database {kind}: {name}", "see the cause of this error"
        return StateUnavailable(problem, source=f"database {self.alias}", remedy=remedy)


def _in_thread(function: Callable[[], T]) -> T:
    call = SideCall(function)
    thread = threading.Thread(target=call.run, name="lambda-tasks-table")
    thread.start()
    thread.join()
    return call.result()
