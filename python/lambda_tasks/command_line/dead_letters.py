"""``lambda-tasks dead-letters``: the reasons why messages failed, and the ways to send them back or delete them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, TypeVar

import rich_click as click

from lambda_tasks import settings
from lambda_tasks.command_line.arguments import BadInput, aws_options, calls_of, client, json_option, queue_url
from lambda_tasks.command_line.output import Column, Output, counted
from lambda_tasks.command_line.running_local import use_running
from lambda_tasks.enqueue.again.letters import DeadLetterQueue, Letter, Selection
from lambda_tasks.errors import LambdaTasksError

F = TypeVar("F", bound=Callable[..., Any])

_VARIABLE = "LAMBDA_TASKS_DEAD_LETTER_QUEUE_URL"
_MOST = 10_000


def _queue_options(function: F) -> F:
    help_text = f"URL or name of the dead-letter queue; by default {_VARIABLE}."
    return click.option("--queue", metavar="URL", help=help_text)(aws_options(json_option(function)))


def _selection_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add options, and give them to `function` as its `selection`."""

    @click.option("--task", metavar="NAME", help="Only messages of this task.")
    @click.option("--error-type", metavar="NAME", help="Only messages that failed with this error.")
    @click.option("--id", "ids", multiple=True, metavar="ID", help="Only this message; may be repeated.")
    @functools.wraps(function)
    def with_selection(
        *args: object, task: str | None, error_type: str | None, ids: tuple[str, ...], **options: object
    ) -> None:
        function(*args, selection=Selection(task, error_type, ids), **options)

    return with_selection


def _change_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add options, and call `function` where it is clear which messages its `selection` means."""

    @click.option("--yes", is_flag=True, help="Do it; without this it is only said what would be done.")
    @click.option("--all", "everything", is_flag=True, help="Every message, where nothing else selects.")
    @functools.wraps(function)
    def with_clear_selection(*args: object, selection: Selection, everything: bool, **options: object) -> None:
        if everything is (selection != Selection()):
            remedy = "add --task, --error-type or --id, or --all"
            raise BadInput("it is not clear which messages are meant", remedy=remedy)
        function(*args, selection=selection, **options)

    return with_clear_selection


@click.group("dead-letters")
def command() -> None:
    """See why messages failed, and send them back or delete them."""


@command.command("list")
@_selection_options
@_queue_options
def list_letters(
    selection: Selection, queue: str | None, endpoint_url: str | None, region: str | None, *, as_json: bool
) -> None:
    """Count the dead letters by task and reason."""
    output = Output(as_json)
    found = _selected(_open(queue, endpoint_url, region), selection, output)
    groups = _grouped(found)
    if as_json:
        output.json({"count": len(found), "groups": groups})
        return
    if not found:
        output.line("There are no such dead letters.")
        return
    columns = [Column("count", is_number=True), Column("task"), Column("error"), Column("outcome")]
    columns += [Column("first sent"), Column("for example", folds=True)]
    names = ("count", "task", "error_type", "outcome", "first_sent_at", "example")
    output.table(columns, [[one[name] or "-" for name in names] for one in groups])


@command.command("show")
@click.argument("message_id")
@_queue_options
@click.pass_context
def show(
    ctx: click.Context,
    message_id: str,
    queue: str | None,
    endpoint_url: str | None,
    region: str | None,
    *,
    as_json: bool,
) -> None:
    """Show one dead letter whole, its body included. Exits with 1 where it is not there."""
    output = Output(as_json)
    found = _selected(_open(queue, endpoint_url, region), Selection(ids=(message_id,)), output)
    if as_json:
        output.json(found[0].as_json() if found else None)
    elif found:
        output.table([Column("what"), Column("value", folds=True)], list(found[0].as_json().items()))
    else:
        output.line("There is no such dead letter.")
    ctx.exit(0 if found else 1)


@command.command("redrive")
@_selection_options
@click.option("--to", metavar="URL", help="Queue to send to; by default the one whose dead letters these are.")
@_change_options
@_queue_options
@click.pass_context
def redrive(
    ctx: click.Context,
    selection: Selection,
    to: str | None,
    queue: str | None,
    endpoint_url: str | None,
    region: str | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Send dead letters back to their queue. Without --yes nothing is sent: it is a dry run.

    Exits with 1 where there was nothing to send, or something could not be sent.
    """
    letters = _open(queue, endpoint_url, region)
    target = queue_url(client("sqs", endpoint_url, region), to) if to else letters.source_url()

    def send_back(letter: Letter) -> None:
        letters.send_back(letter, target)

    done = _change(letters, selection, f"sent to {target}", send_back, Output(as_json), does_it=yes)
    ctx.exit(0 if done else 1)


@command.command("delete")
@_selection_options
@_change_options
@_queue_options
@click.pass_context
def delete(
    ctx: click.Context,
    selection: Selection,
    queue: str | None,
    endpoint_url: str | None,
    region: str | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete dead letters for good. Without --yes nothing is deleted: it is a dry run.

    Exits with 1 where there was nothing to delete, or something could not be deleted.
    """
    letters = _open(queue, endpoint_url, region)
    done = _change(letters, selection, "deleted", letters.delete, Output(as_json), does_it=yes)
    ctx.exit(0 if done else 1)


def _open(queue: str | None, endpoint_url: str | None, region: str | None) -> DeadLetterQueue:
    use_running(_VARIABLE, endpoint_url, queue)
    wanted = queue or settings.environ().get(_VARIABLE)
    if not wanted:
        remedy = "set it, or add --queue, or start `lambda-tasks local` in this folder"
        raise BadInput("there is no dead-letter queue to look at", variable=_VARIABLE, remedy=remedy)
    sqs = client("sqs", endpoint_url, region)
    return DeadLetterQueue(calls_of(sqs), queue_url(sqs, wanted))


def _selected(letters: DeadLetterQueue, selection: Selection, output: Output) -> list[Letter]:
    """Look at every letter, and leave all of them visible."""
    found = _received(letters, output)
    letters.release(found)
    return [one for one in found if one in selection]


def _received(letters: DeadLetterQueue, output: Output) -> list[Letter]:
    with output.progress("Receiving") as bar:
        return letters.receive(_MOST, lambda count: bar.update(0, description=f"Receiving: {count}"))  # type: ignore[arg-type]


def _grouped(letters: Sequence[Letter]) -> list[dict[str, Any]]:
    def key(letter: Letter) -> tuple[str, str, str]:
        return letter.task or "", letter.reason, letter.outcome or ""

    groups = []
    for (task, reason, outcome), members in groupby(sorted(letters, key=key), key):
        ours = list(members)
        groups.append(
            {
                "count": len(ours),
                "task": task or None,
                "error_type": reason,
                "outcome": outcome or None,
                "first_sent_at": min(one.sent_at for one in ours),
                "example": next((one.error_message for one in ours if one.error_message), None),
                "message_ids": [one.message_id for one in ours],
            }
        )
    return sorted(groups, key=lambda group: -int(group["count"]))


def _change(
    letters: DeadLetterQueue,
    selection: Selection,
    done: str,
    change: Callable[[Letter], None],
    output: Output,
    *,
    does_it: bool,
) -> bool:
    """Do `change` to each letter of the selection, or say what would be done. Tell whether all went well."""
    received = _received(letters, output)
    selected = [one for one in received if one in selection]
    changed: list[str] = []
    errors: list[str] = []
    try:
        if does_it:
            with output.progress("Working", total=len(selected)) as bar:
                for one in selected:
                    try:
                        change(one)
                        changed.append(one.message_id)
                    except LambdaTasksError as error:
                        errors.append(f"{one.message_id}: {error}")
                    bar.advance(0)  # type: ignore[arg-type]
    finally:
        letters.release([one for one in received if one.message_id not in changed])
    if output.as_json:
        ids = [one.message_id for one in selected]
        output.json({"dry_run": not does_it, "selected": ids, "done": changed, "errors": errors})
    elif does_it:
        output.line(f"{len(changed)} of {counted(len(selected), 'message')} {done}.")
    else:
        _print_plan(output, selected, done)
    for problem in errors:
        output.line(problem, style="red")
    return bool(selected) and not errors


def _print_plan(output: Output, selected: Sequence[Letter], done: str) -> None:
    columns = [Column("message id"), Column("task"), Column("error"), Column("why", folds=True)]
    output.table(columns, [[one.message_id, one.task, one.reason, one.error_message] for one in selected])
    output.line(f"{counted(len(selected), 'message')} would be {done}. Add --yes to do it.")
