"""``lambda-tasks invoke``: one message through the whole local path."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import sys
import time
from pathlib import Path
from typing import Any

import rich_click as click
from rich.progress import Progress, TaskID

from lambda_tasks.command_line import local_options
from lambda_tasks.command_line.arguments import BadInput, json_option, message_body, pairs
from lambda_tasks.command_line.local import send, started, stopping_on_signals
from lambda_tasks.command_line.local_report import LocalReport, failure_text, log_text, print_reports
from lambda_tasks.command_line.output import Output
from lambda_tasks.local.embedded_aws import ACCOUNT_ID, EmbeddedAws
from lambda_tasks.local.events import Event, FunctionFailure, LogLine
from lambda_tasks.local.ledger import GOOD, MessageReport
from lambda_tasks.local.queue import Queue
from lambda_tasks.local.run_file import Run, running
from lambda_tasks.local.runtime.function_output import Tail
from lambda_tasks.local.session import Plan, running_function
from lambda_tasks.local.template.model import read_model

_LOOK_SECONDS = 0.1


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
@click.argument("task", required=False)
@click.argument("kwargs", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--function", metavar="NAME", help="Logical id of the function; by default the first with a queue.")
@click.option(
    "--event",
    metavar="JSON",
    help="Invoke the function itself, without a queue: with a JSON text, a file that has one, or - for standard input.",
)
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds to wait for the outcome.")
@local_options.template_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    task: str | None,
    kwargs: tuple[str, ...],
    function: str | None,
    event: str | None,
    timeout: float,
    *,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - those of `local_options`
) -> None:
    """Run TASK once: exec wrapper, secrets, runtime, queue and event source mapping, all on this machine.

    With --event it invokes a function with that, also one without a queue, and prints its answer.

    Exits with 1 where the message, or the invocation, did not succeed.
    """
    plan = local_options.plan(**options)
    output = Output(as_json)
    if event is not None:
        if task is not None:
            raise BadInput("there are a task and an event", remedy="name the task, or add --event")
        ctx.exit(_invoke_directly(plan, function, read_event(event), output))
    if task is None:
        raise BadInput("there is no task", remedy="name one, or add --event to invoke a function itself")
    name, folder = _function(plan, function)
    body = message_body(task, pairs(kwargs, "kwarg"), folder)
    if plan.endpoint_url is None and (run := running(plan.template)):
        ctx.exit(_through(run, plan, name, body, timeout, output))
    report = _Collected(output)
    with stopping_on_signals(), contextlib.ExitStack() as closing:
        session = started(plan, report, output, closing)
        queue = session.queue_of(name)
        message_id = send(queue, body)
        output.line(f"{message_id} is sent to {queue.url}", style="dim", is_for_copying=True)
        with output.progress(f"Running {task}"):
            session.wait_until_drained(timeout, lambda _: None)
        session.finish()
        reports = [one for one in session.ledger.reports() if one.message_id == message_id]
    for problem in session.problems:
        raise problem
    if as_json:
        found = dataclasses.asdict(reports[0]) if reports else {"message_id": message_id, "outcome": "not delivered"}
        errors = session.ledger.function_errors
        output.json({**found, "function": name, "queue": queue.url, "function_errors": errors, "log": report.lines})
    else:
        print_reports(output, reports)
        for error in session.ledger.function_errors:
            output.line(f"The function failed: {error}", style="red")
    ctx.exit(0 if reports and reports[0].outcome in GOOD else 1)


def _through(run: Run, plan: Plan, name: str, body: str, timeout: float, output: Output) -> int:
    """Have the session that runs already run a message, and print what became of it."""
    model = read_model(plan.template, plan.parameters, plan.region, ACCOUNT_ID)
    queue = model.queues[model.mappings_of(name)[0].queue_arn].name
    aws = EmbeddedAws(run.environ["AWS_ENDPOINT_URL"], run.environ["AWS_REGION"])
    journal = Tail(run.journal)
    with stopping_on_signals(), contextlib.closing(journal), output.progress("Running in the session of this template"):
        message_id = send(Queue(aws.client("sqs"), run.queues[queue], ""), body)
        report, lines = _followed(journal, message_id, time.monotonic() + timeout)
    if output.as_json:
        found = dataclasses.asdict(report) if report else {"message_id": message_id, "outcome": "not delivered"}
        errors = [report.error] if report and report.error and report.task is None else []
        output.json({**found, "function": name, "queue": run.queues[queue], "function_errors": errors, "log": lines})
    else:
        output.line(f"{message_id} is sent to {run.queues[queue]}", style="dim", is_for_copying=True)
        for line in lines:
            output.line(line, is_for_copying=True)
        print_reports(output, [report] if report else [])
        if report is None:
            output.line(f"There is no outcome after {timeout:g} s.", style="red")
    return 0 if report and report.outcome in GOOD else 1


def _followed(journal: Tail, message_id: str, ends_at: float) -> tuple[MessageReport | None, list[str]]:
    """Return the last report of a message, and its log lines, once it is done with or the time is over."""
    report, lines = None, []
    while time.monotonic() < ends_at:
        for event in map(json.loads, journal.lines()):
            if event.get("message_id") != message_id:
                continue
            if event["event"] == "log":
                lines.append(event["line"])
            elif event["event"] == "report":
                report = MessageReport(**{name: one for name, one in event.items() if name != "event"})
        if report is not None and report.outcome not in ("retrying", "deferred"):
            break
        time.sleep(_LOOK_SECONDS)
    return report, lines


def read_event(text: str) -> Any:  # noqa: ANN401 - an event is any JSON
    """Return an event: JSON itself, the content of a file, or standard input where `text` is ``-``.

    Raises:
        BadInput: it cannot be read, or is not JSON.

    """
    content = text
    try:
        if text == "-":
            content = sys.stdin.read()
        elif not text.lstrip().startswith(("{", "[", '"')):
            content = Path(text).read_text(encoding="utf-8")
        return json.loads(content)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"it is not JSON ({error})"
        raise BadInput(f"the event cannot be read: {reason}", remedy="name a file with JSON, or write JSON") from error


def _invoke_directly(plan: Plan, wanted: str | None, event: Any, output: Output) -> int:  # noqa: ANN401
    model = read_model(plan.template, plan.parameters, plan.region, ACCOUNT_ID)
    names = [name for name, one in model.functions.items() if one.skipped is None]
    if wanted is None and len(names) == 1:
        wanted = names[0]
    if wanted is None or wanted not in model.functions:
        problem = "there is no function to invoke" if wanted is None else f"there is no function {wanted}"
        raise BadInput(problem, source=str(plan.template), remedy=f"add --function: {', '.join(names) or 'none'}")
    report = _Collected(output)
    with stopping_on_signals(), contextlib.ExitStack() as closing, output.progress(f"Invoking {wanted}") as bar:
        step = functools.partial(_describe, bar)
        invoke = closing.enter_context(running_function(plan, wanted, report.hear, step))
        invocation = invoke(event)
    if output.as_json:
        answer = {"function": wanted, "payload": invocation.payload, "is_error": invocation.is_error}
        output.json({**answer, "duration_ms": invocation.duration_ms, "log": report.lines})
    else:
        output.line(json.dumps(invocation.payload, indent=2, ensure_ascii=False), is_for_copying=True)
        if invocation.reason:
            output.line(f"{wanted} failed: {invocation.reason}", style="red")
    return 1 if invocation.is_error else 0


def _describe(bar: Progress, text: str) -> None:
    bar.update(TaskID(0), description=text)


def _function(plan: Plan, wanted: str | None) -> tuple[str, Path | None]:
    """Return the function to send to, and the folder of its code where it is one."""
    model = read_model(plan.template, plan.parameters, plan.region, ACCOUNT_ID)
    names = [name for name, one in model.functions.items() if one.skipped is None and model.mappings_of(name)]
    if wanted is None and names:
        wanted = names[0]
    if wanted not in names:
        remedy = f"functions with a queue: {', '.join(names) or 'none'}"
        if wanted in model.functions:
            remedy += "; --event invokes one without"
        problem = f"there is no function {wanted}" if wanted else "there is no function with a queue"
        if wanted in model.functions:
            problem = f"{wanted} has no queue"
        raise BadInput(problem, source=str(plan.template), remedy=remedy)
    code = model.functions[str(wanted)].code
    return str(wanted), code if code is not None and code.is_dir() else None
