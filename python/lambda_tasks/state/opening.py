"""The store that this function's settings ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambda_tasks import settings
from lambda_tasks.aws import calls, endpoints
from lambda_tasks.errors import InvalidSetting
from lambda_tasks.state.dynamodb import DynamoDbState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambda_tasks.aws.transport import Transport
    from lambda_tasks.settings import Settings
    from lambda_tasks.state.protocol import State


def open_state(settings: Settings, environ: Mapping[str, str], transport: Transport) -> State | None:
    """Return the store in the table that ``LAMBDA_TASKS_TABLE`` names, or None where it names none. Calls nobody."""
    if settings.table is None:
        return None
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
        remedy = "set it to the name of the DynamoDB table that keeps the records"
        raise InvalidSetting("there is no state table", variable="LAMBDA_TASKS_TABLE", remedy=remedy)
    return state


def _region(table: str, environ: Mapping[str, str]) -> str:
    """Return the region of a table's ARN, else the function's own."""
    parts = table.split(":")
    if parts[0] == "arn" and len(parts) == 6:
        return parts[3]
    return endpoints.own_region(environ) or endpoints.DEFAULT_REGION
