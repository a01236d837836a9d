"""The opening of the store that this function's settings ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambda_tasks import settings
from lambda_tasks.aws import calls, endpoints
from lambda_tasks.errors import InvalidSetting
from lambda_tasks.state import openers
from lambda_tasks.state.dynamodb import DynamoDbState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambda_tasks.aws.transport import Transport
    from lambda_tasks.settings import Settings
    from lambda_tasks.state.protocol import State


def open_state(settings: Settings, environ: Mapping[str, str], transport: Transport) -> State | None:
    """Return the store in the table that ``LAMBDA_TASKS_TABLE`` names, or None without it. It sends no request.

    Raises:
        InvalidSetting: it names a database of Django's, where there is none.

    """
    if settings.table is None:
        return None
    if settings.record_database is not None:
        return _of_django(settings.record_database, settings)
    region = _region(settings.table, environ)
    return DynamoDbState(
        settings.table,
        transport,
        region=region,
        partition=endpoints.partition_of(region),
        record_ttl_seconds=settings.record_ttl_seconds,
    )


def of_process() -> State:
    """Return the store of this process's own settings.

    Raises:
        InvalidSetting: ``LAMBDA_TASKS_TABLE`` is not set.

    """
    state = open_state(settings.current(), settings.environ(), calls.transport())
    if state is None:
        remedy = "set it to the name of the DynamoDB table that keeps the records, or to django"
        raise InvalidSetting("there is no state table", variable="LAMBDA_TASKS_TABLE", remedy=remedy)
    return state


def _of_django(alias: str, settings: Settings) -> State:
    if openers.django is None:
        remedy = "set DJANGO_SETTINGS_MODULE, and add lambda_tasks.django to INSTALLED_APPS"
        problem = "the records are to be in a database of Django's, which is not set up with the app of that"
        raise InvalidSetting(problem, variable="LAMBDA_TASKS_TABLE", remedy=remedy)
    return openers.django(alias, settings)


def _region(table: str, environ: Mapping[str, str]) -> str:
    """Return the region of a table's ARN, else the function's own."""
    parts = table.split(":")
    if parts[0] == "arn" and len(parts) == 6:
        return parts[3]
    return endpoints.own_region(environ) or endpoints.DEFAULT_REGION
