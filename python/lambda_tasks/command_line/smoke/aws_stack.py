"""A stack in AWS, as CloudFormation, Lambda and CloudWatch Logs describe it."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lambda_tasks.command_line.arguments import BadInput, asked, client
from lambda_tasks.command_line.smoke.stack import Failure, Function, Source

# A message's line in the text format, as lambda_tasks.telemetry.report writes it.
_OUTCOME = re.compile(
    r"(?:^|\s)\S+ (succeeded|failed|rejected|retrying|deferred|skipped) in \d+ ms \(message [^)]*\)(?::? (.*))?",
    re.DOTALL,
)


class AwsStack:
    """The functions of the stack `name`, and the mappings of SQS queues to them.

    Raises:
        BadInput: the stack, or a part of it, cannot be read.

    """

    tells_failures = False

    def __init__(self, name: str, endpoint_url: str | None, region: str | None) -> None:
        self._lambda = client("lambda", endpoint_url, region)
        self._logs = client("logs", endpoint_url, region)
        self._sqs = client("sqs", endpoint_url, region)
        self._began_ms = int(time.time() * 1000)
        cloudformation = client("cloudformation", endpoint_url, region)
        with contextlib.closing(cloudformation):
            ids = dict(_resources(cloudformation, name, "AWS::Lambda::Function"))
        self.functions: Sequence[Function] = [self._function(logical, physical) for logical, physical in ids.items()]
        self.sources: Sequence[Source] = [one for function in self.functions for one in self._sources(function)]

    def lines_of(self, source: Source, message_id: str) -> Sequence[Mapping[str, Any]]:
        """Return what the function's log group says of a message; nothing where it may not be read, or is not there."""
        try:
            answer = asked(
                self._logs.filter_log_events,
                logGroupName=source.function.log_group,
                startTime=self._began_ms,
                filterPattern=f'"{message_id}"',
            )
        except BadInput:
            return []
        return [found for one in answer.get("events", []) if (found := outcome_of(one["message"], message_id))]

    def failure_of(self, source: Source, message_id: str, event: Mapping[str, Any]) -> Failure | None:  # noqa: ARG002
        """Invoke the function with a message that does nothing, and return its error."""
        try:
            request = {"FunctionName": source.function.name, "LogType": "Tail"}
            answer = asked(self._lambda.invoke, Payload=json.dumps(event).encode(), **request)
        except BadInput as error:
            return Failure("Lambda.Refused", f"it could not be invoked to be asked: {error.problem}")
        if "FunctionError" not in answer:
            return None
        payload = json.loads(answer["Payload"].read() or b"{}")
        log = base64.b64decode(answer.get("LogResult", "")).decode("utf-8", "replace")
        return Failure(str(payload.get("errorType", "Error")), str(payload.get("errorMessage", payload)), log)

    def close(self) -> None:
        """Close the connections."""
        for one in (self._lambda, self._logs, self._sqs):
            one.close()

    def _function(self, logical_id: str, name: str) -> Function:
        found = asked(self._lambda.get_function_configuration, FunctionName=name)
        return Function(
            logical_id,
            name,
            found.get("Handler", ""),
            [layer["Arn"] for layer in found.get("Layers", [])],
            int(found["Timeout"]),
            found.get("Environment", {}).get("Variables", {}),
            found.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{name}",
            found.get("PackageType") == "Image",
        )

    def _sources(self, function: Function) -> Iterator[Source]:
        pages = self._lambda.get_paginator("list_event_source_mappings")
        for page in asked(lambda **request: list(pages.paginate(**request)), FunctionName=function.name):
            for one in page["EventSourceMappings"]:
                queue = one.get("EventSourceArn", "").partition(":sqs:")[2]
                if not queue:
                    continue
                _, account, name = queue.split(":")
                request = {"QueueName": name, "QueueOwnerAWSAccountId": account}
                yield Source(
                    function,
                    asked(self._sqs.get_queue_url, **request)["QueueUrl"],
                    one.get("State", "Enabled"),
                    one.get("StateTransitionReason", ""),
                    "ReportBatchItemFailures" in one.get("FunctionResponseTypes", []),
                    bool(one.get("FilterCriteria", {}).get("Filters")),
                )


def _resources(cloudformation: Any, stack: str, kind: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    pages = cloudformation.get_paginator("list_stack_resources")
    for page in asked(lambda **request: list(pages.paginate(**request)), StackName=stack):
        for one in page["StackResourceSummaries"]:
            if one["ResourceType"] == kind and one.get("PhysicalResourceId"):
                yield one["LogicalResourceId"], one["PhysicalResourceId"]


def outcome_of(line: str, message_id: str) -> Mapping[str, Any] | None:
    """Return the outcome that a log line tells of a message, in JSON or in words; None where it tells none."""
    try:
        record = json.loads(line)
    except ValueError:
        found = _OUTCOME.search(line) if f"(message {message_id}," in line else None
        return {"outcome": found[1], "reason": (found[2] or "").strip() or None} if found else None
    if not isinstance(record, dict) or record.get("message_id") != message_id or "outcome" not in record:
        return None
    return {"outcome": record["outcome"], "reason": record.get("errorMessage") or record.get("message")}
