"""A stack that ``lambda-tasks local`` runs on this machine, as its template and its journal describe it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lambda_tasks.command_line.smoke.stack import Failure, Function, Source
from lambda_tasks.local.embedded_aws import ACCOUNT_ID
from lambda_tasks.local.run_file import Run
from lambda_tasks.local.runtime.function_output import Tail
from lambda_tasks.local.template.model import Model, read_model


class LocalStack:
    """The functions of the session `run`, and their mappings.

    Raises:
        LocalError: its template cannot be read any more.

    """

    tells_failures = True

    def __init__(self, run: Run) -> None:
        self._run = run
        model = read_model(run.template, run.parameters, run.environ["AWS_REGION"], ACCOUNT_ID)
        own = {
            name: Function(name, one.own_name, one.handler, one.layers, one.timeout_seconds, one.environ)
            for name, one in model.functions.items()
            if one.skipped is None
        }
        self.functions: Sequence[Function] = list(own.values())
        self.sources: Sequence[Source] = list(_sources(model, own, run))
        self._journal = Tail(run.journal)
        self._reports: dict[str, list[Mapping[str, Any]]] = {}
        self._log: dict[str | None, list[str]] = {}

    def lines_of(self, source: Source, message_id: str) -> Sequence[Mapping[str, Any]]:  # noqa: ARG002
        """Return what the session's journal says of a message."""
        for event in map(json.loads, self._journal.lines()):
            if event["event"] == "report":
                self._reports.setdefault(event["message_id"], []).append(event)
            elif event["event"] == "log":
                self._log.setdefault(event["message_id"], []).append(event["line"])
        found = self._reports.get(message_id, [])
        return [{"outcome": one["outcome"], "reason": one["error"]} for one in found if one["task"] is not None]

    def failure_of(self, source: Source, message_id: str, event: Mapping[str, Any]) -> Failure | None:  # noqa: ARG002
        """Return why the function failed with the message."""
        self.lines_of(source, message_id)
        failed = [one for one in self._reports.get(message_id, []) if one["task"] is None and one["error"]]
        if not failed:
            return None
        kind, separator, text = str(failed[-1]["error"]).partition(": ")
        log = "\n".join(self._log.get(message_id, []))
        return Failure(kind, text, log) if separator else Failure("Error", kind, log)

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()


def _sources(model: Model, own: Mapping[str, Function], run: Run) -> Iterator[Source]:
    for one in model.mappings:
        if one.function in own and one.queue_arn in model.queues:
            properties = one.properties
            yield Source(
                own[one.function],
                run.queues[model.queues[one.queue_arn].name],
                "Enabled" if one.is_enabled else "Disabled",
                "",
                "ReportBatchItemFailures" in properties.get("FunctionResponseTypes", []),
                bool(properties.get("FilterCriteria")),
            )
