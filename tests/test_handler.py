"""The Lambda entry point, imported as the runtime imports it: in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from events import message_body, sqs_event, sqs_record
from fake_aws import FakeAws
from wrapper import ROOT, base_environ, measuring, secret_arn

IMPORT_AND_CALL = """
import json, os, sys
from lambda_tasks.handler import handler
print(json.dumps([handler(json.loads(sys.argv[1]), None), os.environ.get("A"), os.environ.get("LAMBDA_TASKS_RESOLVED")]))
"""


def call(event: object, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", IMPORT_AND_CALL, json.dumps(event)],
        env={**environ, **measuring(), "PYTHONPATH": f"{ROOT}/tests"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_handler_resolves_in_process_and_dispatches(aws: FakeAws) -> None:
    """Without the exec wrapper, importing the handler resolves, and the allow-list may come from a secret."""
    aws.secrets = {secret_arn("env"): '{"LAMBDA_TASKS_MODULES": "catalogue.tasks"}', secret_arn("a"): "a"}
    environ = base_environ(
        aws.url,
        LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN=secret_arn("env"),
        LAMBDA_TASKS_SECRET_A=secret_arn("a"),
    )
    bad = sqs_record(message_body("catalogue.elsewhere.add", number=1))
    finished = call(sqs_event(sqs_record(message_body("catalogue.tasks.add", number=1)), bad), environ)
    assert finished.returncode == 0, finished.stderr
    answer, value, resolved = json.loads(finished.stdout)
    assert answer == {"batchItemFailures": [{"itemIdentifier": bad["messageId"]}]}
    assert (value, resolved) == ("a", "A,LAMBDA_TASKS_MODULES")


def test_nothing_to_resolve_is_no_request(aws: FakeAws) -> None:
    """Without references the handler sends no request."""
    finished = call({"task_name": "catalogue.tasks.add", "kwargs": {"number": 1}}, base_environ(aws.url))
    assert json.loads(finished.stdout) == [2, None, None]
    assert aws.requests == []


def test_a_module_of_another_distribution_is_told(tmp_path: Path) -> None:
    """Where ours hides a package of the same name, whose module a task's module imports, the init error names both."""
    other = tmp_path / "lambda_tasks"
    other.mkdir()
    (other / "__init__.py").touch()
    (tmp_path / "moved.py").write_text("from lambda_tasks.decorators import lambda_task")
    environ = base_environ(LAMBDA_TASKS_MODULES="moved")
    program = f"import lambda_tasks, sys; sys.path.append({str(tmp_path)!r}); import lambda_tasks.handler"
    finished = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    last = finished.stderr.splitlines()[-1]
    assert last.startswith("lambda_tasks.errors.ShadowedPackage: there is no lambda_tasks.decorators in ")
    assert f"which hides {other}/__init__.py: import from lambda_tasks" in last
    (tmp_path / "moved.py").write_text("import nothing_of_that_name")
    finished = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    assert finished.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'nothing_of_that_name'"


def test_a_failed_resolution_is_an_init_error(aws: FakeAws) -> None:
    """A reference that cannot be resolved raises while the handler is imported, with the cause and not the value."""
    finished = call({}, base_environ(aws.url, LAMBDA_TASKS_SECRET_A="hunter2"))
    assert finished.returncode == 1
    assert (
        "lambda_tasks.errors.InvalidReference: the value is not an ARN (variable LAMBDA_TASKS_SECRET_A)"
        in finished.stderr
    )
    assert "hunter2" not in finished.stderr


RESTORE = """
import json, os, sys
import lambda_tasks.handler
from snapshot_restore_py import get_after_restore
seen = [os.environ.get(name) for name in ("A", "B", "LAMBDA_TASKS_RESOLVED")]
print(flush=True)
sys.stdin.readline()  # the secrets change here, as they do while a snapshot waits
for hook, arguments, keywords in get_after_restore():
    hook(*arguments, **keywords)
seen += [os.environ.get(name) for name in ("A", "B", "LAMBDA_TASKS_RESOLVED")]
print(json.dumps(seen))
"""


def restored(aws: FakeAws, environ: dict[str, str], change: dict[str, str]) -> list[str | None]:
    """Import the handler, change the secrets, restore, and return what the environment held before and after."""
    with subprocess.Popen(
        [sys.executable, "-c", RESTORE],
        env={**environ, **measuring()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        aws.secrets.update(change)
        output, _ = process.communicate("go\n", timeout=60)
    return list(json.loads(output))


def test_a_restored_snapshot_serves_fresh_values(aws: FakeAws) -> None:
    """Under SnapStart the references are resolved again after a restore, and what is gone goes."""
    aws.secrets = {secret_arn("env"): '{"A": "old", "B": "old"}'}
    environ = base_environ(
        aws.url,
        AWS_LAMBDA_INITIALIZATION_TYPE="snap-start",
        LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN=secret_arn("env"),
    )
    change = {secret_arn("env"): '{"A": "new"}'}
    assert restored(aws, environ, change) == ["old", "old", "A,B", "new", None, "A"]
