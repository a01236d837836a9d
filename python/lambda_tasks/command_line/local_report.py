"""The output of a local session: log lines as they come, and at the end the outcome of each message."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from lambda_tasks.command_line.letters import Letter, dead_letter_of
from lambda_tasks.command_line.output import Column, Output, outcome_text
from lambda_tasks.local.ledger import GOOD, MessageReport
from lambda_tasks.local.log_lines import InitReport, LogLine, outcome_of
from lambda_tasks.local.session import Session
from lambda_tasks.settings import queue_url_variable

_LEVEL_STYLES = {"DEBUG": "dim", "WARNING": "yellow", "WARN": "yellow", "ERROR": "red", "CRITICAL": "red"}
_ID_CHARACTERS = 8


class LocalReport:
    """A printer of what happens in a session. Usable from several threads."""

    def __init__(self, output: Output, *, names_functions: bool = False) -> None:
        self._output = output
        self._names_functions = names_functions
        self._lock = threading.Lock()

    def ready(self, session: Session) -> None:
        """Say what runs, and how another program reaches it."""
        deployment = session.deployment
        sources = list(session.queues.values())
        variables = {**session.aws.environ(), queue_url_variable("default"): sources[0].url}
        if self._output.as_json:
            queues = {name: queue.url for name, queue in deployment.queues.items()}
            self._output.json({"event": "ready", "queues": queues, "environ": variables})
            return
        names = ", ".join(function.name for function in deployment.functions if function.sources)
        self._output.line(f"{names} takes messages from {', '.join(queue.url for queue in sources)}", style="bold")
        self._output.line("For programs that send to it:")
        for name, value in variables.items():
            self._output.line(f"  export {name}={value}", is_for_copying=True)

    def sent(self, message_id: str) -> None:
        """Say to programs which id a message got, in the order in which they gave them."""
        if self._output.as_json:
            self._output.json({"event": "sent", "message_id": message_id})

    def hear(self, line: LogLine | InitReport) -> None:
        """Print a line of a function's log, or how long it took to start."""
        with self._lock:
            if isinstance(line, InitReport):
                self._init(line)
            elif self._output.as_json:
                event = {"event": "log", "function": line.function, "message_id": line.message_id, "line": line.text}
                self._output.json(event)
            else:
                self._line(line)

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
                }
            )
        else:
            print_reports(self._output, reports)
            self._verdict(reports, letters, errors, left)
        return not left and not letters and not errors and all(one.outcome in GOOD for one in reports)

    def _verdict(
        self, reports: Sequence[MessageReport], letters: Sequence[Letter], errors: Sequence[str], left: int
    ) -> None:
        good = sum(one.outcome in GOOD for one in reports)
        self._output.line(f"\n{good} of {len(reports)} messages succeeded; {len(letters)} dead letters.")
        for error in dict.fromkeys(errors):
            self._output.line(f"The function failed {errors.count(error)} times: {error}", style="red")
        if left:
            self._output.line(f"It ended before the queues were empty: {left} messages are left.", style="red")

    def _init(self, line: InitReport) -> None:
        if self._output.as_json:
            self._output.json({"event": "init", **dataclasses.asdict(line)})
        else:
            self._output.line(f"{line.function} started in {line.duration_ms:.0f} ms", style="dim")

    def _line(self, line: LogLine) -> None:
        head = f"{datetime.now():%H:%M:%S} {(line.message_id or '-')[:_ID_CHARACTERS]:<{_ID_CHARACTERS}}"
        if self._names_functions:
            head += f" {line.function}"
        text = log_text(line)
        if not self._output.is_terminal:
            self._output.line(Text.assemble(head, " ", text))
            return
        grid = Table.grid(padding=(0, 1))
        grid.add_column(no_wrap=True, style="dim")
        grid.add_column(overflow="fold")
        grid.add_row(head, text)
        self._output.console.print(grid)


def log_text(line: LogLine) -> Text:
    """Return a line as a person reads it: of a JSON record the message, and a traceback where there is one."""
    record = line.record
    if record is None or "message" not in record:
        return Text(line.text)
    text = str(record["message"])
    trace = record.get("stackTrace") or record.get("stack_trace")
    if isinstance(trace, list):
        text += "\n" + "".join(str(one) if str(one).endswith("\n") else f"{one}\n" for one in trace).rstrip()
        text += f"\n{record.get('errorType')}: {record.get('errorMessage')}"
    outcome = outcome_of(line)
    if outcome is not None:
        return Text(text, style=outcome_text(outcome.outcome).style)
    return Text(text, style=_LEVEL_STYLES.get(str(record.get("level", "")), ""))


def print_reports(output: Output, reports: Sequence[MessageReport]) -> None:
    """Print one line a message."""
    columns = [Column("message"), Column("task"), Column("outcome"), Column("deliveries", is_number=True)]
    columns += [Column("time", is_number=True), Column("why", folds=True)]
    output.line()
    output.table(columns, [_row(one, output) for one in reports])


def _row(report: MessageReport, output: Output) -> list[Any]:
    took = "" if report.duration_ms is None else f"{report.duration_ms:.1f} ms"
    message_id = report.message_id[:_ID_CHARACTERS] if output.is_terminal else report.message_id
    return [message_id, report.task or "-", outcome_text(report.outcome), report.deliveries, took, report.error]
