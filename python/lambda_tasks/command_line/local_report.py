"""The output of a local session: log lines as they come, and at the end the outcome of each message."""

from __future__ import annotations

import dataclasses
import re
import shlex
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.table import Table
from rich.text import Text

from lambda_tasks.command_line.output import Column, Output, counted, outcome_text
from lambda_tasks.enqueue.again.letters import Letter, dead_letter_of
from lambda_tasks.local.events import Event, Fired, FunctionFailure, InitReport, LogLine, MessageOutcome, Waiting
from lambda_tasks.local.ledger import GOOD, MessageReport
from lambda_tasks.local.run_file import Journal
from lambda_tasks.local.runtime.process import EXITED, TIMED_OUT
from lambda_tasks.local.session import Session

_LEVEL_STYLES = {"DEBUG": "dim", "WARNING": "yellow", "WARN": "yellow", "ERROR": "red", "CRITICAL": "red"}
_ID_CHARACTERS = 8
# The runtime writes level, time and request id before each record: https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html
_RUNTIME_HEAD = re.compile(r"^(\[[A-Z]+\])\t\S+Z\t(?:[0-9a-f-]{36})?\t")
_WIDTH_FOR_REASONS = 120
_OF_SECRETS = ("LambdaTasks.InvalidSecret", "LambdaTasks.SecretNotFound")


class LocalReport:
    """A printer of what happens in a session. Usable from several threads."""

    def __init__(self, output: Output, *, names_functions: bool = False) -> None:
        self._output = output
        self._names_functions = names_functions
        self._lock = threading.Lock()
        self.journal: Journal | None = None

    def ready(self, session: Session, variables: Mapping[str, str]) -> None:
        """Say what runs, and by which variables another program reaches it."""
        deployment = session.deployment
        if self._output.as_json:
            queues = {name: queue.url for name, queue in deployment.queues.items()}
            self._output.json({"event": "ready", "queues": queues, "environ": variables, "skipped": deployment.skipped})
            return
        for function in deployment.functions:
            for source in function.sources:
                url = session.queues[source.queue_arn].url
                self._output.line(f"{function.name} takes messages from {url}", style="bold")
            scheduled = [one for one in session.firing.schedules if one.function == function.name]
            for schedule in scheduled:
                at = session.firing.due.get(schedule)
                when = "when it is told to" if at is None else f"next at {at.astimezone():%Y-%m-%d %H:%M:%S}"
                self._output.line(f"{schedule.place} invokes it, {when}; or now by --fire {schedule.name}")
            if not function.sources and not scheduled:
                command = f"lambda-tasks invoke --function {function.name} --event FILE"
                self._output.line(f"{function.name} has no SQS event; with an event it runs by `{command}`")
        for name, reason in deployment.skipped.items():
            self._output.line(f"{name} is skipped: {reason}", style="yellow")
        self._output.line("send, invoke, dead-letters and records find it from this folder. For other programs:")
        print_exports(self._output, variables, indent="  ")

    def sent(self, message_id: str) -> None:
        """Say to programs which id a message got, in the order in which they gave them."""
        if self._output.as_json:
            self._output.json({"event": "sent", "message_id": message_id})

    def reported(self, report: MessageReport) -> None:
        """Note in the journal what became of a message."""
        if self.journal is not None:
            self.journal.write({"event": "report", **dataclasses.asdict(report)})

    def hear(self, event: Event) -> None:
        """Print what happens: a line of a function's log, an init phase, an outcome, a failure, a wait."""
        if self.journal is not None:
            self.journal.write(_as_json(event))
        with self._lock:
            if self._output.as_json:
                self._output.json(_as_json(event))
            elif isinstance(event, LogLine):
                self._line(event)
            elif isinstance(event, InitReport):
                self._output.line(f"{event.function} started in {event.duration_ms:.0f} ms", style="dim")
            elif isinstance(event, Fired):
                self._output.line(f"{event.schedule} fires for {event.at}", style="dim")
            elif isinstance(event, Waiting):
                self._output.line(waiting_text(event), style="dim")
            elif isinstance(event, FunctionFailure) and (event.in_init or event.error_type in (EXITED, TIMED_OUT)):
                # Of an error that the handler raised the runtime has just logged the traceback.
                message_id = event.message_ids[0] if len(event.message_ids) == 1 else None
                self._head_and_text(message_id, "", Text(failure_text(event), style="red"))

    def summary(self, session: Session, *, left: int) -> bool:
        """Print the outcome of each message, and tell whether all went well. `left` messages were not done with."""
        reports = session.ledger.reports()
        letters = [dead_letter_of(message) for queue in session.dead_letters for message in queue.receive(limit=10_000)]
        errors = session.ledger.function_errors
        if self._output.as_json:
            self._output.json(
                {
                    "event": "summary",
                    "drained": not left,
                    "messages": [dataclasses.asdict(one) for one in reports],
                    "dead_letters": [one.as_json() for one in letters],
                    "function_errors": errors,
                    "filtered": session.ledger.filtered_count,
                }
            )
        else:
            print_reports(self._output, reports)
            self._verdict(reports, letters, errors, left, session.ledger.filtered_count)
        return not left and not letters and not errors and all(one.outcome in GOOD for one in reports)

    def _verdict(
        self,
        reports: Sequence[MessageReport],
        letters: Sequence[Letter],
        errors: Sequence[str],
        left: int,
        filtered: int,
    ) -> None:
        good = sum(one.outcome in GOOD for one in reports)
        self._output.line(
            f"\n{good} of {counted(len(reports), 'message')} succeeded; {counted(len(letters), 'dead letter')}."
        )
        if filtered:
            self._output.line(f"The filter criteria deleted {counted(filtered, 'message')}.")
        for error in dict.fromkeys(errors):
            self._output.line(f"The function failed {counted(errors.count(error), 'time')}: {error}", style="red")
        if left:
            messages = f"{counted(left, 'message')} {'is' if left == 1 else 'are'} left"
            self._output.line(f"It ended before the queues were empty: {messages}.", style="red")

    def _line(self, line: LogLine) -> None:
        self._head_and_text(line.message_id, line.function, log_text(line))

    def _head_and_text(self, message_id: str | None, function: str, text: Text) -> None:
        head = f"{datetime.now():%H:%M:%S} {(message_id or '-')[:_ID_CHARACTERS]:<{_ID_CHARACTERS}}"
        if self._names_functions and function:
            head += f" {function}"
        if not self._output.is_terminal:
            self._output.line(Text.assemble(head, " ", text))
            return
        grid = Table.grid(padding=(0, 1))
        grid.add_column(no_wrap=True, style="dim")
        grid.add_column(overflow="fold")
        grid.add_row(head, text)
        self._output.console.print(grid)


def print_exports(output: Output, variables: Mapping[str, str], indent: str = "") -> None:
    """Print variables as a shell takes them."""
    for name, value in variables.items():
        output.line(f"{indent}export {name}={shlex.quote(value)}", is_for_copying=True)
    if output.as_json:
        output.json(dict(variables))


def failure_text(failure: FunctionFailure) -> str:
    """Return a failed invocation as a sentence."""
    where = " in its init phase" if failure.in_init else ""
    count = len(failure.message_ids)
    messages = f" ({counted(count, 'message')})" if count > 1 else ""
    if failure.error_type == TIMED_OUT:
        return f"{failure.function} {failure.reason}{where}{messages}"
    hint = ""
    if failure.error_type in _OF_SECRETS:
        hint = ": give it a value here by a file of NAME=value lines, and --env-file"
    return f"{failure.function} failed{where}: {failure.reason}{messages}{hint}"


def waiting_text(waiting: Waiting) -> str:
    """Return a wait as a sentence."""
    verb = "waits" if waiting.count == 1 else "wait"
    until = datetime.now() + timedelta(seconds=waiting.seconds)
    messages = f"{counted(waiting.count, 'message')} of {waiting.queue}"
    return f"{messages} {verb}, until {until:%H:%M:%S} ({waiting.seconds:.0f} s)"


def _as_json(event: Event) -> dict[str, Any]:
    if isinstance(event, LogLine):
        return {"event": "log", "function": event.function, "message_id": event.message_id, "line": event.text}
    names = {
        InitReport: "init",
        MessageOutcome: "outcome",
        FunctionFailure: "failure",
        Waiting: "waiting",
        Fired: "fired",
    }
    return {"event": names[type(event)], **dataclasses.asdict(event)}


def _said_once(text: str, message_id: str | None) -> str:
    """Return a line of the runtime's text format without its time and ids: the head of a printed line has them."""
    text = _RUNTIME_HEAD.sub(r"\1 ", text)
    return text.replace(f"message {message_id}, ", "") if message_id else text


def log_text(line: LogLine) -> Text:
    """Return a line as a person reads it: of a JSON record the message, and a traceback where there is one."""
    record = line.record
    if record is None or not record.keys() & {"message", "errorMessage"}:
        level = line.text[1:].partition("]")[0] if line.text.startswith("[") else ""
        return Text(_said_once(line.text, line.message_id), style=_LEVEL_STYLES.get(level, ""))
    trace = record.get("stackTrace") or record.get("stack_trace")
    parts = [str(record["message"])] if "message" in record else []
    if isinstance(trace, list):
        parts += [str(one).rstrip("\n") for one in trace]
    if isinstance(trace, list) or not parts:
        parts.append(f"{record.get('errorType')}: {record.get('errorMessage')}")
    text = "\n".join(parts)
    if "outcome" in record:
        return Text(text, style=outcome_text(str(record["outcome"])).style)
    return Text(text, style=_LEVEL_STYLES.get(str(record.get("level", "")), ""))


def print_reports(output: Output, reports: Sequence[MessageReport]) -> None:
    """Print one line a message; where the terminal is narrow the reasons come below."""
    columns = [Column("message"), Column("task"), Column("outcome"), Column("deliveries", is_number=True)]
    columns += [Column("time", is_number=True), Column("why", folds=True)]
    has_room = output.console.width >= _WIDTH_FOR_REASONS
    rows = [_row(one, output) for one in reports]
    output.line()
    output.table(columns if has_room else columns[:-1], rows if has_room else [row[:-1] for row in rows])
    for row in [] if has_room else rows:
        if row[-1]:
            output.line(f"{row[0]}: {row[-1]}", style="red")


def _row(report: MessageReport, output: Output) -> list[Any]:
    took = "" if report.duration_ms is None else f"{report.duration_ms:.1f} ms"
    message_id = report.message_id[:_ID_CHARACTERS] if output.is_terminal else report.message_id
    reason = " ".join((report.error or "").split())
    return [message_id, report.task or "-", outcome_text(report.outcome), report.deliveries, took, reason]
