"""``lambda-tasks local``: a template's functions and queues on this machine, until it is stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import rich_click as click

from lambda_tasks.command_line import local_options
from lambda_tasks.command_line.arguments import BadInput, json_option
from lambda_tasks.command_line.local_report import LocalReport, print_exports
from lambda_tasks.command_line.output import Output
from lambda_tasks.local.embedded_aws import ACCOUNT_ID
from lambda_tasks.local.exports import exports_of
from lambda_tasks.local.queue import Queue
from lambda_tasks.local.run_file import Run, announced, firing_requests, journal_of, request_firing, running
from lambda_tasks.local.schedules.firing import named
from lambda_tasks.local.schedules.resources import schedules
from lambda_tasks.local.session import Plan, Session, running_session
from lambda_tasks.local.template.model import read_model

DEFAULT_PORT = 4599


@click.command("local")
@local_options.template_options
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Port of the embedded AWS; 0 for a free one.",
)
@click.option("--once", is_flag=True, help="End when the queues are empty, with 1 where a message did not succeed.")
@click.option("--timeout", type=float, default=300.0, show_default=True, help="Seconds that --once takes at most.")
@click.option(
    "--messages",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Send these first: one body a line, to the first queue.",
)
@click.option("--fire", multiple=True, metavar="NAME", help="Let this schedule of the template fire at once.")
@click.option(
    "--export",
    "exports",
    is_flag=True,
    help="Print the variables that reach the session which runs already, for `eval`; without one, start it.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    port: int,
    timeout: float,
    messages: Path | None,
    fire: tuple[str, ...],
    *,
    once: bool,
    exports: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - those of `local_options`
) -> None:
    """Run the functions of a SAM template on this machine, with no account and no container.

    Queues, dead-letter queues, secrets, parameters and tables are made in an embedded AWS; layers are unpacked, and
    queues polled as Lambda polls them. Schedules fire at their time. A function starts again when its code changes.
    Ctrl-C ends it.
    """
    plan = dataclasses.replace(local_options.plan(**options, port=port), fire=fire)
    bodies = _bodies(messages)
    output = Output(as_json)
    if exports and (run := running(plan.template)):
        print_exports(output, run.environ)
        return
    if fire and not once and plan.endpoint_url is None and (run := running(plan.template)):
        _fire_in(run, plan, output)
        return
    report = LocalReport(output)
    with stopping_on_signals(), contextlib.ExitStack() as closing:
        report.journal = closing.enter_context(journal_of(plan.template))
        session = started(plan, report, output, closing)
        session.ledger.on_report = report.reported
        session.firing.requests = closing.enter_context(firing_requests(report.journal))
        found = exports_of(session)
        queues = {name: queue.url for name, queue in session.deployment.queues.items()}
        closing.enter_context(announced(plan.template, found, queues, report.journal, plan.parameters))
        report.ready(session, found)  # from here on other commands find it
        for body in bodies:
            report.sent(send(_first_queue(session), body))
        for name in fire:
            session.fire(name)
        status = _drain(session, report, output, timeout) if once else _serve(session, report, output)
    for problem in session.problems:
        raise problem
    ctx.exit(status)


def started(plan: Plan, report: LocalReport, output: Output, closing: contextlib.ExitStack) -> Session:
    """Start a session that ends with `closing`, showing on a terminal what takes its time."""
    with output.progress("Reading the template") as bar:
        return closing.enter_context(
            running_session(plan, report.hear, lambda text: bar.update(0, description=text))  # type: ignore[arg-type]
        )


def send(queue: Queue, body: str) -> str:
    """Send a body to a queue, to a group of its own where that is FIFO."""
    if queue.url.endswith(".fifo"):
        name = str(uuid.uuid4())
        return queue.send(body, MessageGroupId=name, MessageDeduplicationId=name)
    return queue.send(body)


@contextlib.contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Let SIGTERM end the program as Ctrl-C does."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _bodies(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        return [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise BadInput(
            f"the messages cannot be read: {reason}", source=str(path), remedy="correct --messages"
        ) from error


def _fire_in(run: Run, plan: Plan, output: Output) -> None:
    """Let schedules fire in the session that runs already."""
    found = schedules(read_model(plan.template, plan.parameters, plan.region, ACCOUNT_ID))
    for schedule in [named(found, name) for name in plan.fire]:
        request_firing(run, schedule.place)
        output.line(f"{schedule.place} fires in the session that runs already")


def _first_queue(session: Session) -> Queue:
    for queue in session.queues.values():
        return queue
    raise BadInput("no function has a queue", remedy="leave --messages out, or add an SQS event")


def _drain(session: Session, report: LocalReport, output: Output, timeout: float) -> int:
    total = session.depth()
    try:
        with output.progress("Running", total=total) as bar:
            session.wait_until_drained(
                timeout,
                lambda left: bar.update(0, completed=max(0, total - left)),  # type: ignore[arg-type]
            )
    except KeyboardInterrupt:
        output.line("Interrupted.")
    if session.problems:
        return 1
    left = session.depth()
    session.finish()
    return 0 if report.summary(session, left=left) else 1


def _serve(session: Session, report: LocalReport, output: Output) -> int:
    output.line("Ctrl-C ends it.", style="dim")
    with contextlib.suppress(KeyboardInterrupt):
        session.wait()
    if not session.problems:
        left = session.depth()
        session.finish()
        report.summary(session, left=left)
    output.line("Stopped.")
    return 0
