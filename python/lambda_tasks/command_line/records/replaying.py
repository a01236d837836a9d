"""``lambda-tasks records replay``: messages sent again, made of their records and linked to the first ones."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import rich_click as click

from lambda_tasks.command_line.arguments import BadInput, calls_of, client, queue_url
from lambda_tasks.command_line.output import Column, Output, outcome_text
from lambda_tasks.command_line.records.selection import Selection, record_of, selecting
from lambda_tasks.enqueue.again.replay import Replay
from lambda_tasks.errors import LambdaTasksError
from lambda_tasks.state.protocol import State
from lambda_tasks.state.record import Status, StoredRecord

_FAILURES = (Status.FAILED, Status.REJECTED)


@click.command("replay")
@click.argument("message_ids", nargs=-1, metavar="[MESSAGE_ID]...")
@click.option("--queue", metavar="URL", help="Queue to send to, by URL or name; by default the one in the record.")
@click.option("--group", help="Message group ID, for FIFO queues; by default the first message's id.")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="How many, the newest first.")
@click.option("--yes", is_flag=True, help="Do it; without this it is only said what would be done.")
@selecting
@click.pass_context
def command(
    ctx: click.Context,
    message_ids: tuple[str, ...],
    queue: str | None,
    group: str | None,
    limit: int,
    selection: Selection,
    state: State,
    aws: Mapping[str, str | None],
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Send messages again: those that are named, or those that --task, --status, --since and --until select.

    Without --status those that failed or were rejected are selected. Without --yes nothing is sent: it is a dry run. A
    message can be sent again where its record holds all of its kwargs; the new one's record names the first one.

    Exits with 1 where there was nothing to send, or something could not be sent.
    """
    found = _found(message_ids, selection, state, limit)
    replays = [Replay(one) for one in found]
    output, errors = Output(as_json), {one.record.message_id: one.obstacle for one in replays if one.obstacle}
    ready = [one for one in replays if not one.obstacle]
    sent: dict[str, str] = {}
    if yes and ready:
        sender = _Sender(client("sqs", aws["endpoint_url"], aws["region"]), state, queue, group)
        with output.progress("Sending", total=len(ready)) as bar:
            for one in ready:
                try:
                    sent[one.record.message_id] = sender.send(one)
                except LambdaTasksError as error:
                    errors[one.record.message_id] = str(error)
                bar.advance(0)  # type: ignore[arg-type]
    if as_json:
        ids = [one.record.message_id for one in ready]
        output.json({"dry_run": not yes, "selected": ids, "sent": sent, "errors": errors})
    else:
        _print(output, replays, sent, errors, does_it=yes)
    ctx.exit(0 if ready and not errors else 1)


class _Sender:
    """A sender of replays, which asks for the URL of each queue once."""

    def __init__(self, sqs: Any, state: State, queue: str | None, group: str | None) -> None:  # noqa: ANN401
        self._sqs = sqs
        self._state = state
        self._queue = queue
        self._group = group
        self._urls: dict[str, str] = {}

    def send(self, replay: Replay) -> str:
        """Send a message and return its id. It is queued from then on, where the table takes that."""
        name = self._queue or replay.record.queue
        if not name:
            remedy = "name the queue with --queue"
            raise BadInput("its record names no queue", source=f"message {replay.record.message_id}", remedy=remedy)
        if name not in self._urls:
            self._urls[name] = queue_url(self._sqs, name)
        return replay.send(calls_of(self._sqs), self._urls[name], self._state, self._group)


def _found(message_ids: tuple[str, ...], selection: Selection, state: State, limit: int) -> list[StoredRecord]:
    if bool(message_ids) is (selection != Selection()):
        remedy = "add a MESSAGE_ID, or --task, --status, --since or --until"
        raise BadInput("it is not clear which messages are meant", remedy=remedy)
    if not message_ids:
        chosen = selection if selection.statuses else dataclasses.replace(selection, statuses=_FAILURES)
        return list(itertools.islice(chosen.of(state), limit))
    records = [(message_id, record_of(state, message_id)) for message_id in message_ids]
    for message_id, record in records:
        if record is None:
            raise BadInput("there is no such record", source=f"message {message_id}", remedy="correct the id")
    return [record for _, record in records if record is not None]


def _print(
    output: Output, replays: list[Replay], sent: Mapping[str, str], errors: Mapping[str, str], *, does_it: bool
) -> None:
    if not replays:
        output.line("There are no such records.")
        return
    columns = [Column("message id"), Column("task"), Column("status"), Column("queue")]
    columns.append(Column("sent as" if does_it else "error", folds=True))
    rows = []
    for one in replays:
        record, message_id = one.record, one.record.message_id
        what = errors.get(message_id) or (sent.get(message_id) if does_it else record.error_type)
        rows.append([message_id, record.task, outcome_text(record.status.value), record.queue, what])
    output.table(columns, rows)
    if does_it:
        output.line(f"{len(sent)} of {len(replays)} messages sent again.")
    else:
        output.line(f"{len(replays) - len(errors)} of {len(replays)} messages would be sent again. Add --yes to do it.")
