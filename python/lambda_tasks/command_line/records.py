"""``lambda-tasks records``: the records of messages, from the state table."""

from __future__ import annotations

import heapq
import itertools
import os
import re
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import rich_click as click

from lambda_tasks.aws.credentials import CredentialChain
from lambda_tasks.aws.transport import Transport
from lambda_tasks.command_line.arguments import BadInput, aws_options, json_option
from lambda_tasks.command_line.output import Column, Output, outcome_text
from lambda_tasks.command_line.running_local import use_running
from lambda_tasks.errors import LambdaTasksError
from lambda_tasks.settings import Settings
from lambda_tasks.state.opening import open_state
from lambda_tasks.state.protocol import State
from lambda_tasks.state.record import Status, StoredRecord

_TIMEOUT_SECONDS = 15.0
_NO_INDEX = "ResourceNotFoundException"
_AGE = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_TIMES = ("first_received_at", "started_at", "finished_at", "first_failed_at")


@click.command("records")
@click.argument("message_id", required=False)
@click.option("--task", metavar="NAME", help="Only records of this task.")
@click.option("--status", type=click.Choice([one.value for one in Status]), help="Only records with this status.")
@click.option("--since", metavar="TIME", help="Only messages received since then: 2h, 3d, or 2026-01-31T12:00Z.")
@click.option("--until", metavar="TIME", help="Only messages received before then.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many, the newest first.")
@click.option("--table", metavar="NAME", help="The state table; by default LAMBDA_TASKS_TABLE.")
@aws_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    message_id: str | None,
    task: str | None,
    status: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    table: str | None,
    endpoint_url: str | None,
    region: str | None,
    *,
    as_json: bool,
) -> None:
    """List what ran, the newest first; or show the record of MESSAGE_ID whole, with its traceback.

    Exits with 1 where there is no such record.
    """
    output = Output(as_json)
    state = _open(table, endpoint_url, region)
    if message_id is not None:
        record = state.record(message_id, deadline=time.monotonic() + _TIMEOUT_SECONDS)
        _show(output, record)
        ctx.exit(0 if record else 1)
    earliest, latest = _moment(since, 0.0), _moment(until, float("inf"))
    fitting = (one for one in _newest_first(state, task, status) if one.first_received_at < latest)
    young = itertools.takewhile(lambda one: one.first_received_at >= earliest, fitting)
    try:
        found = list(itertools.islice(young, limit))
    except LambdaTasksError as error:
        if _NO_INDEX not in error.problem or not _has_table(state):
            raise
        remedy = "add the indexes that lambda_tasks.state.table says, or name a MESSAGE_ID"
        raise BadInput("the table has no indexes to list by", source=error.source, remedy=remedy) from error
    if as_json:
        for one in found:
            output.json(_as_json(one))
        return
    if not found:
        output.line("There are no such records.")
        return
    columns = [Column("received"), Column("task"), Column("status"), Column("attempts", is_number=True)]
    columns += [Column("time", is_number=True), Column("message id"), Column("error", folds=True)]
    output.table(columns, [_row(one) for one in found])


def _has_table(state: State) -> bool:
    try:
        state.record("none", deadline=time.monotonic() + _TIMEOUT_SECONDS)
    except LambdaTasksError:
        return False
    return True


def _open(table: str | None, endpoint_url: str | None, region: str | None) -> State:
    use_running("LAMBDA_TASKS_TABLE", endpoint_url)
    environ = dict(os.environ)
    if endpoint_url:
        environ["AWS_ENDPOINT_URL_DYNAMODB"] = endpoint_url
    if region:
        environ["AWS_REGION"] = region
    name = table or environ.get("LAMBDA_TASKS_TABLE")
    state = open_state(Settings(table=name), environ, Transport(CredentialChain(environ), environ))
    if state is None:
        remedy = "set it, or add --table, or start `lambda-tasks local` in this folder"
        raise BadInput("there is no state table to read", variable="LAMBDA_TASKS_TABLE", remedy=remedy)
    return state


def _newest_first(state: State, task: str | None, status: str | None) -> Iterator[StoredRecord]:
    if task is not None:
        records: Iterable[StoredRecord] = state.records_of_task(task)
        return (one for one in records if status in (None, one.status.value))
    wanted = [Status(status)] if status else list(Status)
    every = [state.records_with_status(one) for one in wanted]
    return heapq.merge(*every, key=lambda one: one.first_received_at, reverse=True)


def _moment(text: str | None, default: float) -> float:
    if text is None:
        return default
    if age := _AGE.fullmatch(text):
        return time.time() - timedelta(**{_UNITS[age[2]]: int(age[1])}).total_seconds()
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise BadInput(
            f"{text!r} is no time", remedy="use an age such as 30m, 2h or 3d, or 2026-01-31T12:00Z"
        ) from error
    return (moment if moment.tzinfo else moment.astimezone()).timestamp()


def _row(record: StoredRecord) -> list[Any]:
    received = datetime.fromtimestamp(record.first_received_at).astimezone()
    status = outcome_text(record.status.value)
    took = f"{(record.finished_at - record.started_at) * 1000:.0f} ms" if record.finished_at is not None else ""
    error = ": ".join(part for part in (record.error_type, record.error_message) if part)
    return [f"{received:%m-%d %H:%M:%S}", record.task, status, record.attempts, took, record.message_id, error]


def _as_json(record: StoredRecord) -> dict[str, Any]:
    fields = {**msgspec.structs.asdict(record), "status": record.status.value}
    for name in _TIMES:
        if fields[name] is not None:
            fields[name] = datetime.fromtimestamp(fields[name], timezone.utc).isoformat(timespec="milliseconds")
    return fields


def _show(output: Output, record: StoredRecord | None) -> None:
    if output.as_json:
        output.json(_as_json(record) if record else None)
        return
    if record is None:
        output.line("There is no such record.")
        return
    fields = {name: value for name, value in _as_json(record).items() if value is not None}
    traceback = fields.pop("traceback", None)
    fields["status"] = outcome_text(record.status.value)
    output.table([Column("what"), Column("value", folds=True)], list(fields.items()))
    if traceback:
        output.line()
        output.line(traceback.rstrip())
