"""One run and one set of exports: commands find the session that runs, and say what became of messages."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lambda_tasks.local.run_file import announced, journal_of, running

ROOT = Path(__file__).resolve().parent.parent

TEMPLATE = """
Resources:
  Worker:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: src
      Handler: lambda_tasks.handler.handler
      Layers: [lambda-tasks]
      Timeout: 20
      Environment: {Variables: {AWS_LAMBDA_EXEC_WRAPPER: /opt/bin/lambda-tasks-exec, LAMBDA_TASKS_QUEUE_URL: !Ref Jobs}}
      Events:
        Jobs:
          Type: SQS
          Properties:
            Queue: !GetAtt Jobs.Arn
            FunctionResponseTypes: [ReportBatchItemFailures]
            FilterCriteria: {Filters: [{Pattern: '{"body": {"task_name": [{"anything-but": "shop.unwanted"}]}}'}]}
  Jobs:
    Type: AWS::SQS::Queue
    Properties: {VisibilityTimeout: 120, RedrivePolicy: {deadLetterTargetArn: !GetAtt JobsDead.Arn, maxReceiveCount: 3}}
  JobsDead: {Type: AWS::SQS::Queue}
  InOrder: {Type: AWS::SQS::Queue, Properties: {FifoQueue: true}}
  Rows:
    Type: AWS::DynamoDB::Table
    Properties: {AttributeDefinitions: [{AttributeName: id, AttributeType: S}], KeySchema: [{AttributeName: id, KeyType: HASH}]}
"""

TASKS = """
from lambda_tasks import task

@task
def greet(*, name: str) -> None:
    print("hello", name)

@task
def fail() -> None:
    raise ValueError("not this one")
"""


def environ(folder: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LAMBDA_TASKS_"))}
    return {**own, "XDG_STATE_HOME": str(folder / "state")}


def run(folder: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lambda_tasks", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd or folder, env=environ(folder)
    )


@contextmanager
def session(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A session that is ready, ended by SIGTERM."""
    with subprocess.Popen(
        [sys.executable, "-m", "lambda_tasks", "local", "--port", "0", "--cache", str(ROOT / "build")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environ(folder),
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if "Ctrl-C ends it." in line:
                    break
            yield process
        finally:
            process.send_signal(signal.SIGTERM)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "shop.py").write_text(TASKS)
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    return tmp_path


def test_commands_find_the_session_that_runs(project: Path) -> None:
    """send, invoke, dead-letters, records and --export need nothing but the folder; the end prints a summary."""
    with session(project) as process:
        sent = run(project, "send", "shop.greet", "name=Ada", cwd=project / "src")
        assert sent.returncode == 0, sent.stderr
        unwanted = run(project, "send", "shop.unwanted", cwd=project.parent / project.name)
        by_name = run(project, "send", "shop.greet", "name=Bob", "--queue", "Jobs")
        assert (unwanted.returncode, by_name.returncode) == (0, 0), unwanted.stderr + by_name.stderr
        no_group = run(project, "send", "shop.greet", "name=Eve", "--queue", "InOrder")
        assert (no_group.returncode, "add --group" in no_group.stderr) == (2, True)
        grouped = run(project, "send", "shop.greet", "name=Eve", "--queue", "InOrder", "--group", "1")
        assert grouped.returncode == 0, grouped.stderr

        invoked = run(project, "invoke", "shop.greet", "name=Cy", "--json")
        found = json.loads(invoked.stdout)
        assert (invoked.returncode, found["outcome"], found["task"], found["deliveries"]) == (
            0,
            "succeeded",
            "shop.greet",
            1,
        )
        assert any("hello Cy" in line for line in found["log"])
        failed = run(project, "invoke", "shop.fail")
        assert (failed.returncode, "ValueError: not this one" in failed.stdout) == (1, True)

        letters = json.loads(run(project, "dead-letters", "list", "--json").stdout)
        assert [one["task"] for one in letters["groups"]] == ["shop.fail"]
        records = run(project, "records", "00000000-0000-0000-0000-000000000000")
        assert (records.returncode, records.stderr) == (1, "")

        exports = run(project, "local", "--export").stdout
        found = dict(line.removeprefix("export ").split("=", 1) for line in exports.splitlines())
        url = found["LAMBDA_TASKS_QUEUE_URL"]
        assert url == found["LAMBDA_TASKS_QUEUE_URL_JOBS"] == f"{found['AWS_ENDPOINT_URL']}/123456789012/Jobs"
        assert found["LAMBDA_TASKS_QUEUE_URL_IN_ORDER"].endswith("/InOrder.fifo")
        assert found["LAMBDA_TASKS_DEAD_LETTER_QUEUE_URL"] == found["LAMBDA_TASKS_DEAD_LETTER_QUEUE_URL_JOBS_DEAD"]
        assert found["LAMBDA_TASKS_TABLE"] == "Rows"
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        rest = process.stdout.read()
    assert re.search(r"3 of 4 messages succeeded; 1 dead letter\.\nThe filter criteria deleted 1 message\.\n", rest), (
        rest
    )
    assert process.returncode == 0
    after = run(project, "send", "shop.greet", "name=Ada")
    assert (after.returncode, "start `lambda-tasks local` in this folder" in after.stderr) == (2, True)
    assert list((project / "state" / "lambda-tasks").iterdir()) == []


def test_a_session_that_is_gone_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of a process that ended, or whose number is another's by now, counts for nothing."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    template = tmp_path / "template.yaml"
    with journal_of(template) as journal, announced(template, {"A": "1"}, {"Q": "url"}, journal, {}):
        found = running(template)
        assert found is not None
        assert (found.environ, found.queues, found.pid) == ({"A": "1"}, {"Q": "url"}, os.getpid())
        [path] = (tmp_path / "state" / "lambda-tasks").glob("*.json")
        assert path.stat().st_mode & 0o077 == 0
        content: dict[str, Any] = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "started": "1"}))
        assert running(template) is None
        path.write_text("{")
        assert running(template) is None
    assert running(template) is None
