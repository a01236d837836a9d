"""A whole function and its messages: awslambdaric's process with the handler, and a table."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import pytest

import runtime_process
import stores
from events import message_body, sqs_event, sqs_record
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.state.record import Status

OBSERVED = "catalogue.observed"


def text(value: str) -> dict[str, str]:
    return {"stringValue": value, "dataType": "String"}


@functools.cache
def finished(aws: EmbeddedAws, log_format: str) -> tuple[str, runtime_process.Finished]:
    """Run the function over the three messages, and then over the one that succeeded again."""
    looks: Any = sqs_record(message_body(f"{OBSERVED}.look_around"), message_id="looks", ApproximateReceiveCount="2")
    looks["messageAttributes"] = {"lambda_tasks_context": text('{"tenant": "acme", "correlation_id": "c-1"}')}
    hoards = sqs_record(message_body(f"{OBSERVED}.hoard", piece_bytes=1 << 20), message_id="hoards")
    batch = sqs_event(hoards, looks, sqs_record("{", message_id="malformed"))
    table = stores.create_table(aws)
    environ = {
        **aws.environ(),
        "LAMBDA_TASKS_TABLE": table,
        "LAMBDA_TASKS_METRICS_NAMESPACE": "Shop",
        "LAMBDA_TASKS_MEMORY_GUARD": "1",
        "LAMBDA_TASKS_MODULES": OBSERVED,
        "AWS_LAMBDA_FUNCTION_NAME": "worker",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_FORMAT": log_format,
        **({"AWS_LAMBDA_LOG_LEVEL": "INFO"} if log_format == "JSON" else {}),
    }
    return table, runtime_process.run([batch, sqs_event(looks)], environ)


FORMATS = ["JSON", "Text"]


@pytest.mark.parametrize("log_format", FORMATS)
def test_a_task_without_memory_has_an_outcome(embedded_aws: EmbeddedAws, log_format: str) -> None:
    """The task that wants too much fails alone, and the process goes on to the others, and to the next event."""
    table, function = finished(embedded_aws, log_format)
    kept = [[item["itemIdentifier"] for item in answer["batchItemFailures"]] for answer in function.answers]
    assert kept == [["hoards", "malformed"], []]
    with stores.transport(embedded_aws.environ()) as transport:
        record = stores.dynamodb_state(transport, table, stores.Clock()).record("hoards", deadline=stores.soon())
    assert record is not None
    assert (record.status, record.error_type) == (Status.FAILED, "MemoryError")
    assert "in hoard" in str(record.traceback)


@pytest.mark.parametrize("log_format", FORMATS)
def test_the_context_arrives_and_the_result_is_recorded(embedded_aws: EmbeddedAws, log_format: str) -> None:
    """The task sees what the producer put there, and the record holds what it returned, after one execution."""
    table, _ = finished(embedded_aws, log_format)
    with stores.transport(embedded_aws.environ()) as transport:
        record = stores.dynamodb_state(transport, table, stores.Clock()).record("looks", deadline=stores.soon())
    assert record is not None
    assert (record.status, record.attempts) == (Status.SUCCEEDED, 1)
    seen = {"tenant": "acme", "correlation_id": "c-1", "attempt": 1, "task": f"{OBSERVED}.look_around"}
    assert json.loads(str(record.result)) == seen


@pytest.mark.parametrize("log_format", FORMATS)
def test_metrics_are_lines_of_their_own(embedded_aws: EmbeddedAws, log_format: str) -> None:
    """Under both log formats standard output has whole lines in embedded metric format, one a task and invocation."""
    _, function = finished(embedded_aws, log_format)
    written = [json.loads(line) for line in function.output.splitlines() if line.startswith('{"_aws"')]
    cold_starts, metrics = written[:1], written[1:]
    assert [one["InitDuration"] > 0 for one in cold_starts] == [True]
    counts = [
        (one["Task"], {name: one[name] for name in ("Succeeded", "Failed", "Rejected", "Skipped") if name in one})
        for one in metrics
    ]
    assert sorted(counts[:3]) == [  # outcomes of different lanes are written at the same time
        ("(unknown)", {"Rejected": 1}),
        (f"{OBSERVED}.hoard", {"Failed": 1}),
        (f"{OBSERVED}.look_around", {"Succeeded": 1}),
    ]
    assert counts[3:] == [(f"{OBSERVED}.look_around", {"Skipped": 1})]
    assert {one["FunctionName"] for one in written} == {"worker"}


@pytest.mark.parametrize("log_format", FORMATS)
def test_hooks_of_the_task_modules_are_called(embedded_aws: EmbeddedAws, log_format: str) -> None:
    """A hook that a task module registers hears of every message."""
    _, function = finished(embedded_aws, log_format)
    # Not line by line: as text awslambdaric ends a traceback without a line break, where Lambda does not frame it.
    noted = re.findall(r"noted (\w+)$", function.output, re.MULTILINE)
    assert (sorted(noted[:3]), noted[3:]) == (["failed", "rejected", "succeeded"], ["skipped"])


def test_json_logs_of_a_function_can_be_filtered_by_key(embedded_aws: EmbeddedAws) -> None:
    """Each outcome is an object with our keys, and the error as awslambdaric shows it."""
    _, function = finished(embedded_aws, "JSON")
    logged = [json.loads(line) for line in function.output.splitlines() if line.startswith("{")]
    outcomes = {(one["message_id"], one["outcome"], one.get("errorType")) for one in logged if "outcome" in one}
    assert outcomes == {
        ("hoards", "failed", "MemoryError"),
        ("looks", "succeeded", None),
        ("malformed", "rejected", None),
        ("looks", "skipped", None),
    }
    (succeeded,) = [one for one in logged if one.get("outcome") == "succeeded"]
    assert (succeeded["correlation_id"], succeeded["attempt"], succeeded["level"]) == ("c-1", 1, "INFO")


def test_text_logs_of_a_function_say_it_in_words(embedded_aws: EmbeddedAws) -> None:
    """Successes are shown too, with what the JSON format has as keys."""
    _, function = finished(embedded_aws, "Text")
    assert f"{OBSERVED}.look_around succeeded in " in function.output
    assert "(message looks, attempt 2, correlation c-1, queued " in function.output
    assert "MemoryError" in function.output
