"""The order of message groups in a local session, as a process: at every concurrency, through failures and redeliveries."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GROUPS, LENGTH = 6, 5

TEMPLATE = """
Globals: {{Function: {{Timeout: {timeout}}}}}
Resources:
  Worker:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: code
      Handler: app.handler
      Environment: {{Variables: {{JOURNAL: {journal}}}}}
      Events:
        Jobs:
          Type: SQS
          Properties:
            Queue: !GetAtt Jobs.Arn
            BatchSize: {batch_size}
            FunctionResponseTypes: [ReportBatchItemFailures]
  Jobs:
    Type: AWS::SQS::Queue
    Properties:
      FifoQueue: true
      VisibilityTimeout: 20
      RedrivePolicy: {{deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 50}}
  Dead: {{Type: AWS::SQS::Queue, Properties: {{FifoQueue: true}}}}
"""

# Each group's messages fail on some of their deliveries, by a hash of both: the same in every run.
CODE = """
import hashlib, json, os, time

def note(*entry):
    journal = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND)
    os.write(journal, (json.dumps([time.monotonic(), *entry]) + chr(10)).encode())
    os.close(journal)

def handler(event, context):
    failed, broken = [], set()
    for record in event["Records"]:
        group, number = json.loads(record["body"])
        attempt = record["attributes"]["ApproximateReceiveCount"]
        if group in broken:
            failed.append(record["messageId"])
            continue
        note("start", group, number)
        time.sleep(0.05)
        fails = hashlib.sha256(f"{group} {number} {attempt}".encode()).digest()[0] < 70
        note("failed" if fails else "done", group, number)
        if fails:
            failed.append(record["messageId"])
            broken.add(group)
    return {"batchItemFailures": [{"itemIdentifier": one} for one in failed]}
"""

SENDER = """
import json, sys
from lambda_tasks.local.session import Plan, running_session
from pathlib import Path

template, cache, concurrency, groups, length, visibility = sys.argv[1:]
plan = Plan(Path(template), cache=Path(cache), concurrency=int(concurrency))
with running_session(plan, lambda event: None, lambda step: None) as session:
    [queue] = session.queues.values()
    queue.client.set_queue_attributes(QueueUrl=queue.url, Attributes={"VisibilityTimeout": visibility})
    for number in range(int(length)):
        for group in range(int(groups)):
            queue.send(json.dumps([group, number]), MessageGroupId=str(group), MessageDeduplicationId=f"{group} {number}")
    drained = session.wait_until_drained(120, lambda left: None)
    session.finish()
    print(json.dumps([drained, session.ledger.function_errors, [str(one) for one in session.problems]]))
"""


@pytest.mark.parametrize(
    ("concurrency", "batch_size", "visibility"), [(1, 3, 1), (2, 1, 1), (2, 10, 1), (5, 1, 1), (5, 10, 0), (10, 2, 1)]
)
def test_a_group_runs_one_at_a_time_and_in_order(
    tmp_path: Path, concurrency: int, batch_size: int, visibility: int
) -> None:
    """No two messages of a group overlap, and none starts before the one ahead of it is done, however often it fails.

    With a visibility timeout of 0 every message is shown again while it is still run.
    """
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "app.py").write_text(CODE)
    journal = tmp_path / "journal"
    journal.touch()
    template = TEMPLATE.format(batch_size=batch_size, journal=journal, timeout=20)
    (tmp_path / "template.yaml").write_text(template)

    arguments = [str(tmp_path / "template.yaml"), str(ROOT / "build"), str(concurrency), str(GROUPS), str(LENGTH)]
    arguments.append(str(visibility))
    result = subprocess.run(
        [sys.executable, "-c", SENDER, *arguments], capture_output=True, text=True, timeout=180, check=False
    )

    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == [True, [], []]
    entries = sorted(json.loads(line) for line in journal.read_text().splitlines())
    running: dict[int, int | None] = defaultdict(lambda: None)
    done: dict[int, list[int]] = defaultdict(list)
    failures = 0
    for _, what, group, number in entries:
        if what == "start":
            assert running[group] is None, f"group {group}: {number} started while {running[group]} ran"
            assert number == len(done[group]), f"group {group}: {number} started after {done[group]}"
            running[group] = number
            continue
        running[group] = None
        failures += what == "failed"
        if what == "done":
            done[group].append(number)
    assert dict(done) == {group: list(range(LENGTH)) for group in range(GROUPS)}
    assert failures > 0
