"""The two statements that every message needs, put together once for all messages.

The ORM takes longer to make such a statement than a database to execute it. Tables, columns and values are the models'.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from django.db import connections

from lambda_tasks.django.models import TaskRecord
from lambda_tasks.state.record import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FIELDS = {field.name: field for field in TaskRecord._meta.concrete_fields if not field.generated}
_UPSERTING = ("sqlite", "postgresql")


def begin(alias: str, values: Mapping[str, Any], now: float) -> bool | None:
    """Insert the row of a message that starts, or take over that of one that was sent; tell whether that was done.

    Nothing is done where there is another row. None means that the database has no such statement.
    """
    connection = connections[alias]
    if connection.vendor not in _UPSERTING:
        return None
    given = {**values, "version": 0}
    sql = _insertion(connection.vendor, tuple(given))
    params = [*_params(connection, given), Status.QUEUED.value, *_params(connection, {"expires_at": now})]
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return bool(cursor.rowcount > 0)


def end(alias: str, message_id: str, owner: str, values: Mapping[str, Any], *, has_run: bool, failed: bool) -> bool:
    """Write the end of an attempt into the row whose lease it has, and tell whether there is one.

    The time of the first failure is written where there is none, if it `failed`.
    """
    connection = connections[alias]
    sql = _ending(connection.vendor, tuple(values), has_run, failed)
    first = _params(connection, {"first_failed_at": values["finished_at"]}) if failed else []
    with connection.cursor() as cursor:
        cursor.execute(sql, [*_params(connection, values), *first, message_id, owner])
        return bool(cursor.rowcount > 0)


def _params(connection: Any, values: Mapping[str, Any]) -> list[Any]:  # noqa: ANN401 - Django has no types
    return [_FIELDS[name].get_db_prep_save(value, connection) for name, value in values.items()]


@functools.cache
def _insertion(vendor: str, names: Sequence[str]) -> str:
    quote = _quote(vendor)
    table, key = quote(TaskRecord._meta.db_table), quote("message_id")
    columns = [quote(_FIELDS[name].column) for name in names]
    changes = [f"{one} = EXCLUDED.{one}" for one in columns if one not in (key, quote("version"))]
    changes.append(f"{quote('version')} = {table}.{quote('version')} + 1")
    was_sent = f"{table}.{quote('status')} = %s AND {table}.{quote('expires_at')} > %s"
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))}) "  # noqa: S608 - no input
        f"ON CONFLICT ({key}) DO UPDATE SET {', '.join(changes)} WHERE {was_sent}"
    )


@functools.cache
def _ending(vendor: str, names: Sequence[str], has_run: bool, failed: bool) -> str:  # noqa: FBT001 - a key of the cache
    quote = _quote(vendor)
    changes = [f"{quote(_FIELDS[name].column)} = %s" for name in names]
    changes += [f"{quote('first_failed_at')} = COALESCE({quote('first_failed_at')}, %s)"] if failed else []
    changes += [] if has_run else [f"{quote('attempts')} = {quote('attempts')} - 1"]
    changes.append(f"{quote('version')} = {quote('version')} + 1")
    has_lease = f"{quote('lease_owner')} = %s AND {quote('lease_until')} IS NOT NULL"
    table = quote(TaskRecord._meta.db_table)
    return f"UPDATE {table} SET {', '.join(changes)} WHERE {quote('message_id')} = %s AND {has_lease}"  # noqa: S608


def _quote(vendor: str) -> Any:  # noqa: ANN401
    return next(one.ops.quote_name for one in connections.all() if one.vendor == vendor)
