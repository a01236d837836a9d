"""``lambda-tasks smoke``: a message that does nothing, through each function of a stack."""

from __future__ import annotations

import contextlib
import os

import rich_click as click

from lambda_tasks import settings
from lambda_tasks.command_line.arguments import BadInput, aws_options, client, json_option
from lambda_tasks.command_line.output import Column, Output, counted, outcome_text
from lambda_tasks.command_line.running_local import use_running
from lambda_tasks.command_line.smoke.following import Trial, tried
from lambda_tasks.command_line.smoke.stack import HANDLER, Source, Stack
from lambda_tasks.local.run_file import running


@click.command("smoke")
@click.option("--stack", metavar="NAME", help="The CloudFormation stack; not needed for `lambda-tasks local`.")
@click.option("--function", metavar="ID", help="Logical id of one function; by default all that take from a queue.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds to wait for the outcomes.")
@aws_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    stack: str | None,
    function: str | None,
    timeout: float,
    endpoint_url: str | None,
    region: str | None,
    *,
    as_json: bool,
) -> None:
    """Check a deployed stack: send a message that does nothing to each function's queue, and follow it to its outcome.

    Where none comes it says what is wrong: permissions, event source mapping, layer, timeout, or exec wrapper. With a
    session of `lambda-tasks local` for this folder that is what is checked.

    Exits with 1 where a message did not succeed.
    """
    output = Output(as_json)
    found, where = _opened(stack, endpoint_url, region)
    with contextlib.closing(found), contextlib.closing(client("sqs", endpoint_url, region)) as sqs:
        sources = _wanted(found, function, where)
        output.line(f"A message that does nothing goes to {counted(len(sources), 'queue')} of {where}.", style="dim")
        with output.progress("Waiting for the outcomes"):
            trials = tried(found, sources, sqs, timeout)
    if as_json:
        output.json({"stack": where, "functions": [_as_json(one) for one in trials]})
    else:
        _print(output, trials)
    ctx.exit(0 if all(one.succeeded for one in trials) else 1)


def _opened(name: str | None, endpoint_url: str | None, region: str | None) -> tuple[Stack, str]:
    run = use_running("AWS_ENDPOINT_URL", endpoint_url)
    endpoint = endpoint_url or settings.environ().get("AWS_ENDPOINT_URL")
    if run is None and endpoint and (own := running()) and own.environ["AWS_ENDPOINT_URL"] == endpoint:
        run = own
    if run is not None:
        from lambda_tasks.command_line.smoke.local_stack import LocalStack  # noqa: PLC0415 - of the extra `local`

        return LocalStack(run), f"the local session of {run.template.name}"
    if name is None:
        remedy = "add --stack NAME, or start `lambda-tasks local` in this folder"
        raise BadInput("there is no stack to check", remedy=remedy)
    from lambda_tasks.command_line.smoke.aws_stack import AwsStack  # noqa: PLC0415 - not for a local session

    if endpoint_url:
        os.environ["AWS_ENDPOINT_URL"] = endpoint_url  # records are read by our own calls
    if region:
        os.environ["AWS_REGION"] = region
    return AwsStack(name, endpoint_url, region), f"the stack {name}"


def _wanted(stack: Stack, function: str | None, where: str) -> list[Source]:
    own = [one for one in stack.functions if one.is_ours and function in (None, one.logical_id)]
    if not own:
        names = ", ".join(one.logical_id for one in stack.functions) or "none"
        problem = f"{function} is no function of lambda-tasks" if function else "there is no function of lambda-tasks"
        raise BadInput(problem, source=where, remedy=f"deploy one, or name another stack; functions: {names}")
    found = [one for one in stack.sources if one.function in own]
    # Other handlers may be producers alone, or be invoked by something else.
    waiting = [one for one in own if one not in [source.function for source in found]]
    wanted = [one for one in waiting if one.handler == HANDLER or not found]
    return [*found, *(Source(one, "", "missing", "", reports_item_failures=True, has_filters=False) for one in wanted)]


def _print(output: Output, trials: list[Trial]) -> None:
    columns = [Column("function"), Column("queue"), Column("outcome"), Column("what is wrong", folds=True)]
    rows = []
    for one in trials:
        outcome = outcome_text(one.outcome or ("not sent" if one.message_id is None else "none"))
        reasons = "\n".join(map(str, one.findings))
        queue = one.source.queue_url.rpartition("/")[2] or "none"
        rows.append([one.source.function.logical_id, queue, outcome, reasons])
    output.table(columns, rows)
    left = [one for one in trials if one.message_id is not None and one.outcome is None]
    if left:
        output.line("A message without an outcome stays in its queue. It does nothing when it runs.")


def _as_json(trial: Trial) -> dict[str, object]:
    return {
        "function": trial.source.function.logical_id,
        "queue_url": trial.source.queue_url,
        "message_id": trial.message_id,
        "outcome": trial.outcome,
        "findings": [{"part": one.part, "problem": one.problem, "remedy": one.remedy} for one in trial.findings],
    }
