"""``lambda-tasks invoke``: one message through the whole local path."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import rich_click as click

from lambda_tasks.command_line import local_options
from lambda_tasks.command_line.arguments import BadInput, json_option, message_body, pairs
from lambda_tasks.command_line.local import send, started, stopping_on_signals
from lambda_tasks.command_line.local_report import LocalReport, failure_text, log_text, print_reports
from lambda_tasks.command_line.output import Output
from lambda_tasks.local.events import Event, FunctionFailure, LogLine
from lambda_tasks.local.ledger import GOOD
from lambda_tasks.local.session import Plan, function_folders


class _Collected(LocalReport):
    """A keeper of log lines where the output is JSON, and a printer of them where it is not."""

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._as_json = output.as_json
        self.lines: list[str] = []

    def hear(self, event: Event) -> None:
        if not self._as_json:
            super().hear(event)
        elif isinstance(event, LogLine):
            self.lines.append(str(log_text(event)))
        elif isinstance(event, FunctionFailure):
            self.lines.append(failure_text(event))


@click.command("invoke")
@click.argument("task")
@click.argument("kwargs", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--function", metavar="NAME", help="Logical id of the function; by default the first with a queue.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds to wait for the outcome.")
@local_options.template_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    task: str,
    kwargs: tuple[str, ...],
    function: str | None,
    timeout: float,
    *,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - those of `local_options`
) -> None:
    """Run TASK once: exec wrapper, secrets, runtime, queue and event source mapping, all on this machine.

    Exits with 1 where the message did not succeed.
    """
    plan = local_options.plan(**options)
    name = _function(plan, function)
    body = message_body(task, pairs(kwargs, "kwarg"), function_folders(plan)[name])
    output = Output(as_json)
    report = _Collected(output)
    with stopping_on_signals(), contextlib.ExitStack() as closing:
        session = started(plan, report, output, closing)
        message_id = send(session.queue_of(name), body)
        with output.progress(f"Running {task}"):
            session.wait_until_drained(timeout, lambda _: None)
        session.finish()
        reports = [one for one in session.ledger.reports() if one.message_id == message_id]
    for problem in session.problems:
        raise problem
    if as_json:
        found = dataclasses.asdict(reports[0]) if reports else {"message_id": message_id, "outcome": "not delivered"}
        errors = session.ledger.function_errors
        output.json({**found, "function": name, "function_errors": errors, "log": report.lines})
    else:
        print_reports(output, reports)
        for error in session.ledger.function_errors:
            output.line(f"The function failed: {error}", style="red")
    ctx.exit(0 if reports and reports[0].outcome in GOOD else 1)


def _function(plan: Plan, wanted: str | None) -> str:
    names = list(function_folders(plan))
    if wanted is None and names:
        return names[0]
    if wanted not in names:
        remedy = f"functions with a queue: {', '.join(names) or 'none'}"
        raise BadInput(f"there is no function {wanted or 'with a queue'}", source=str(plan.template), remedy=remedy)
    return str(wanted)
