"""``lambda-tasks records list``: records in a table, or one of them whole."""

from __future__ import annotations

import itertools
from typing import Any

import rich_click as click

from lambda_tasks.command_line.arguments import BadInput
from lambda_tasks.command_line.output import Output
from lambda_tasks.command_line.records import showing
from lambda_tasks.command_line.records.selection import Selection, record_of, selecting
from lambda_tasks.state.protocol import State
from lambda_tasks.state.record import Status


@click.command("list")
@click.argument("message_id", required=False)
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many, the newest first.")
@click.option("--follow", is_flag=True, help="Show how far MESSAGE_ID has come until it has ended.")
@selecting
@click.pass_context
def command(
    ctx: click.Context,
    message_id: str | None,
    limit: int,
    selection: Selection,
    state: State,
    aws: Any,  # noqa: ANN401, ARG001
    *,
    follow: bool,
    as_json: bool,
) -> None:
    """List what ran, the newest first; or show the record of MESSAGE_ID whole, with its attempts and traceback.

    Exits with 1 where there is no such record, or where it is followed and did not succeed.
    """
    output = Output(as_json)
    if follow:
        if message_id is None:
            raise BadInput("there is nothing to follow", remedy="name a MESSAGE_ID")
        from lambda_tasks.command_line.records.following import follow as followed  # noqa: PLC0415 - rarely needed

        last = followed(output, state, message_id)
        if last is None:
            showing.show(output, None)
        ctx.exit(0 if last is not None and last.status in (Status.SUCCEEDED, Status.SKIPPED) else 1)
    if message_id is not None:
        record = record_of(state, message_id)
        showing.show(output, record)
        ctx.exit(0 if record else 1)
    found = list(itertools.islice(selection.of(state), limit))
    if as_json:
        for one in found:
            output.json(showing.as_json(one))
    elif found:
        showing.show_all(output, found)
    else:
        output.line("There are no such records.")
