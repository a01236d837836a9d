"""The records that a command is about: from which table, and by message, task, status and time."""

from __future__ import annotations

import functools
import heapq
import itertools
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import rich_click as click

from lambda_tasks.aws.credentials import CredentialChain
from lambda_tasks.aws.transport import Transport
from lambda_tasks.command_line.arguments import BadInput, aws_options, json_option
from lambda_tasks.command_line.running_local import use_running
from lambda_tasks.errors import LambdaTasksError
from lambda_tasks.life_cycle import setup
from lambda_tasks.settings import Settings
from lambda_tasks.settings import environ as process_environ
from lambda_tasks.state.opening import open_state
from lambda_tasks.state.protocol import State
from lambda_tasks.state.record import Status, StoredRecord

TIMEOUT_SECONDS = 15.0
_NO_INDEX = "ResourceNotFoundException"
_AGE = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True)
class Selection:
    """A selection of records, newest first: those that fit everything that is given. Times are in epoch seconds."""

    task: str | None = None
    statuses: tuple[Status, ...] = ()
    earliest: float = 0.0
    latest: float = float("inf")

    def of(self, state: State) -> Iterator[StoredRecord]:
        """Yield the records; pages are read as it goes.

        Raises:
            BadInput: the table has no indexes.

        """
        before = (one for one in self._newest_first(state) if one.listed_at < self.latest)
        records = itertools.takewhile(lambda one: one.listed_at >= self.earliest, before)
        try:
            yield from records
        except LambdaTasksError as error:
            if _NO_INDEX not in error.problem or not _has_table(state):
                raise
            remedy = "add the indexes that lambda_tasks.state.table says, or name a MESSAGE_ID"
            raise BadInput("the table has no indexes to list by", source=error.source, remedy=remedy) from error

    def _newest_first(self, state: State) -> Iterator[StoredRecord]:
        if self.task is not None:
            records: Iterable[StoredRecord] = state.records_of_task(self.task)
            return (one for one in records if not self.statuses or one.status in self.statuses)
        every = [state.records_with_status(one) for one in self.statuses or Status]
        return heapq.merge(*every, key=lambda one: one.listed_at, reverse=True)


def selecting(function: Callable[..., None]) -> Callable[..., None]:
    """Add options, and give `function` the `selection` that they mean, and the `state` to look in."""

    @click.option("--task", metavar="NAME", help="Only records of this task.")
    @click.option(
        "--status",
        type=click.Choice([one.value for one in Status]),
        multiple=True,
        help="Only records with this status; may be repeated.",
    )
    @click.option("--since", metavar="TIME", help="Only messages received since then: 2h, 3d, or 2026-01-31T12:00Z.")
    @click.option("--until", metavar="TIME", help="Only messages received before then.")
    @click.option("--table", metavar="NAME", help="The state table; by default LAMBDA_TASKS_TABLE.")
    @aws_options
    @json_option
    @functools.wraps(function)
    def with_selection(
        *args: Any,  # noqa: ANN401
        task: str | None,
        status: tuple[str, ...],
        since: str | None,
        until: str | None,
        table: str | None,
        endpoint_url: str | None,
        region: str | None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        state = _open(table, endpoint_url, region)
        statuses = tuple(Status(one) for one in status)
        selection = Selection(task, statuses, moment(since, 0.0), moment(until, float("inf")))
        aws = {"endpoint_url": endpoint_url, "region": region}
        function(*args, selection=selection, state=state, aws=aws, **options)

    return with_selection


def moment(text: str | None, default: float) -> float:
    """Return the time that `text` means, an age or a time, in epoch seconds.

    Raises:
        BadInput: it means none.

    """
    if text is None:
        return default
    if age := _AGE.fullmatch(text):
        return time.time() - timedelta(**{_UNITS[age[2]]: int(age[1])}).total_seconds()
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise BadInput(
            f"{text!r} is no time", remedy="use an age such as 30m, 2h or 3d, or 2026-01-31T12:00Z"
        ) from error
    return (found if found.tzinfo else found.astimezone()).timestamp()


def record_of(state: State, message_id: str) -> StoredRecord | None:
    """Return the record of one message."""
    return state.record(message_id, deadline=time.monotonic() + TIMEOUT_SECONDS)


def _has_table(state: State) -> bool:
    try:
        record_of(state, "none")
    except LambdaTasksError:
        return False
    return True


def _open(table: str | None, endpoint_url: str | None, region: str | None) -> State:
    use_running("LAMBDA_TASKS_TABLE", endpoint_url)
    environ = dict(process_environ())
    if endpoint_url:
        environ["AWS_ENDPOINT_URL_DYNAMODB"] = endpoint_url
    if region:
        environ["AWS_REGION"] = region
    name = table or environ.get("LAMBDA_TASKS_TABLE")
    settings = Settings(table=name)
    if settings.record_database is not None:
        sys.path.insert(0, str(Path.cwd()))  # a console script has its own folder there
        setup.set_up(environ, is_worker=False)
    state = open_state(settings, environ, Transport(CredentialChain(environ), environ))
    if state is None:
        remedy = "set it, or add --table, or start `lambda-tasks local` in this folder"
        raise BadInput("there is no state table to read", variable="LAMBDA_TASKS_TABLE", remedy=remedy)
    return state
