"""Django: its set-up in each process that runs tasks; and the tests of a project, each Django in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import databases
from events import message_body, sqs_event, sqs_record
from fake_aws import FakeAws
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.queue import Queue
from stores import create_table
from wrapper import ROOT, base_environ, measuring, secret_arn

PROJECT = ROOT / "tests" / "django_project"
Server = Callable[[], AbstractContextManager[Path]]
PLANT = "django_project.orchard.tasks.plant"

CALL = """
import json, sys
from lambda_tasks.handler import handler
print(json.dumps(handler(json.loads(sys.argv[1]), None)))
print("django" in sys.modules)
"""


def run(program: str, *arguments: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={"PYTHONPATH": f"{ROOT}/tests", **environ, **measuring()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def migrated(folder: Path) -> dict[str, str]:
    """Return the environment of a process that uses new databases in `folder`."""
    environ = {"DJANGO_SETTINGS_MODULE": "django_project.settings", "ORCHARD_FOLDER": str(folder)}
    program = "import django; django.setup(); from django.core.management import call_command as c; c('migrate', run_syncdb=True, verbosity=0)"
    finished = run(program, environ=environ)
    assert finished.returncode == 0, finished.stderr
    return environ


def planted(folder: Path) -> list[str]:
    import sqlite3  # noqa: PLC0415

    with sqlite3.connect(folder / "default.sqlite3") as database:
        return [name for (name,) in database.execute("SELECT name FROM orchard_tree ORDER BY name")]


def test_django_is_set_up_before_the_tasks_are_imported(aws: FakeAws, tmp_path: Path) -> None:
    """A secret may name Django's settings: it is set up after that, and modules of tasks may import models."""
    project = migrated(tmp_path)
    aws.secrets = {secret_arn("env"): json.dumps({"DJANGO_SETTINGS_MODULE": project.pop("DJANGO_SETTINGS_MODULE")})}
    environ = base_environ(
        aws.url,
        LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN=secret_arn("env"),
        LAMBDA_TASKS_MODULES="django_project.orchard.tasks",
        **project,
    )
    event = json.dumps(sqs_event(sqs_record(message_body(PLANT, name="apple"))))
    finished = run(CALL, event, environ=environ)
    assert finished.stdout.splitlines() == ['{"batchItemFailures": []}', "True"], finished.stderr
    assert planted(tmp_path) == ["apple"]
    turned_off = run(CALL, event, environ={**environ, "LAMBDA_TASKS_DJANGO": "0"})
    assert turned_off.returncode == 1
    assert "AppRegistryNotReady" in turned_off.stderr


def test_without_settings_of_django_nothing_of_it_is_imported() -> None:
    """A function that has Django beside it, and no settings of it, does not import it."""
    event = json.dumps({"task_name": "catalogue.tasks.add", "kwargs": {"number": 1}})
    finished = run(CALL, event, environ=base_environ())
    assert finished.stdout.splitlines() == ["2", "False"], finished.stderr


def test_without_django_its_settings_are_ignored(tmp_path: Path) -> None:
    """A function without Django runs, whatever the variable says."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['django'] = None")
    environ = base_environ(DJANGO_SETTINGS_MODULE="shop.settings", PYTHONPATH=f"{tmp_path}:{ROOT}/tests")
    event = json.dumps({"task_name": "catalogue.tasks.add", "kwargs": {"number": 1}})
    finished = run(CALL, event, environ=environ)
    assert finished.stdout.splitlines()[0] == "2", finished.stderr


def test_settings_that_cannot_be_imported_are_an_init_error() -> None:
    """Settings that are not there raise while the handler is imported."""
    finished = run(CALL, "{}", environ=base_environ(DJANGO_SETTINGS_MODULE="shop.settings"))
    assert "No module named 'shop'" in finished.stderr


def test_local_workers_set_django_up(tmp_path: Path) -> None:
    """In the mode ``local``, which Django's settings may name, workers write rows."""
    environ = migrated(tmp_path)
    program = """
import django; django.setup()
from django.conf import settings
settings.LAMBDA_TASKS["MODE"] = "local"
from django_project.orchard.tasks import plant
plant.enqueue(name="pear")
"""
    finished = run(program, environ={**base_environ(), **environ})
    assert finished.returncode == 0, finished.stderr
    assert "orchard.tasks.plant succeeded" in finished.stderr
    assert planted(tmp_path) == ["pear"]


ENQUEUE = """
import django; django.setup()
from django_project.orchard.tasks import plant
plant.enqueue(name="plum")
"""


def test_a_worker_runs_what_other_processes_enqueue(tmp_path: Path) -> None:
    """In the mode ``local`` a process of its own has the workers; it ends when all that it was given has run."""
    project = tmp_path / "project"
    project.mkdir()
    environ = {**base_environ(), **migrated(tmp_path), "LAMBDA_TASKS_MODE": "local", "TMPDIR": str(tmp_path)}
    environ |= {"PYTHONPATH": f"{ROOT}/tests", "LAMBDA_TASKS_TABLE": "django"}
    command = [sys.executable, "-m", "django", "lambda_tasks_worker"]
    with subprocess.Popen(command, env=environ, cwd=project, stderr=subprocess.PIPE, text=True) as worker:
        assert worker.stderr is not None
        try:
            assert "local workers take what this project's processes enqueue" in worker.stderr.readline()
            program = [sys.executable, "-c", ENQUEUE]
            enqueued = subprocess.run(
                program, env=environ, cwd=project, capture_output=True, text=True, timeout=60, check=False
            )
        finally:
            worker.terminate()
        told = worker.stderr.read()
    assert (enqueued.returncode, worker.returncode) == (0, 0), enqueued.stderr + told
    assert "orchard.tasks.plant succeeded" in told
    assert planted(tmp_path) == ["plum"]
    import sqlite3  # noqa: PLC0415

    with sqlite3.connect(tmp_path / "default.sqlite3") as database:
        assert database.execute("SELECT status FROM lambda_tasks_django_taskrecord").fetchall() == [("succeeded",)]


ROUND = """
import json
import django; django.setup()
import boto3
from django_project.orchard import jobs

answer, failed = jobs.answer.enqueue(), jobs.fail.enqueue("a word")
before = [one.status.value for one in (answer, jobs.fail.get_result(failed.id))]
sqs = boto3.client("sqs")
url = __import__("os").environ["LAMBDA_TASKS_QUEUE_URL"]
messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"])["Messages"]
from lambda_tasks.handler import handler
records = [
    {"messageId": one["MessageId"], "receiptHandle": one["ReceiptHandle"], "body": one["Body"],
     "attributes": one["Attributes"], "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:tasks"}
    for one in messages
]
handler({"Records": records}, None)
answer.refresh(), failed.refresh()
print(json.dumps([before, answer.return_value, answer.attempts, failed.status, failed.errors[0].exception_class_path]))
"""


def test_results_are_kept_in_the_table(
    embedded_aws: EmbeddedAws, make_queue: Callable[..., Queue], tmp_path: Path
) -> None:
    """From SQS through the handler to the table of DynamoDB and back, by the ids that the sender was given."""
    environ = {
        **embedded_aws.environ(),
        **migrated(tmp_path),
        "AWS_DEFAULT_REGION": "eu-west-1",
        "LAMBDA_TASKS_QUEUE_URL": make_queue().url,
        "LAMBDA_TASKS_TABLE": create_table(embedded_aws),
        "LAMBDA_TASKS_MODULES": "django_project.orchard.jobs",
    }
    finished = run(ROUND, environ=environ)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout) == [["READY", "READY"], 42, 1, "FAILED", "builtins.ValueError"]


PYTEST = [
    "-m",
    "pytest",
    "-q",
    "-c",
    str(PROJECT / "pytest.ini"),
    "--confcutdir",
    str(PROJECT),
    "-p",
    "no:cacheprovider",
]


def run_tests(python: Path, *arguments: str, environ: Mapping[str, str]) -> None:
    """Run tests of the project in a process of their own, which pass."""
    command = [str(python), *PYTEST, *arguments]
    finished = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def project_environ(folder: Path) -> dict[str, str]:
    return {
        **base_environ(),
        "DJANGO_SETTINGS_MODULE": "django_project.settings",
        "ORCHARD_ENGINE": "django_project.engine",
        "ORCHARD_BACKEND": "django_project.backend.Backend",
        "ORCHARD_FOLDER": str(folder),
        "PYTHONPATH": f"{ROOT}/tests",
        "HOME": str(folder),
    }


@pytest.mark.parametrize("server", [databases.postgresql, databases.mariadb])
def test_records_are_kept_in_a_server(server: Server, tmp_path: Path) -> None:
    """The tests of the store, of records and of the admin pass with each database server of this machine's."""
    files = [str(PROJECT / f"test_{name}.py") for name in ("store", "records", "admin")]
    with server() as socket:
        # Without coverage, which takes as long again: the same code runs with SQLite.
        environ = project_environ(tmp_path)
        environ[f"ORCHARD_{server.__name__.upper()}"] = str(socket)
        run_tests(Path(sys.executable), "-k", server.__name__, *files, environ=environ)


@pytest.mark.parametrize("version", ["5.2", "6.0", "6.1"])
def test_the_project_passes_its_tests(version: str, tmp_path: Path) -> None:
    """The project's own tests pass with each Django, in a process that pytest's plugin sets it up in."""
    environ = project_environ(tmp_path)
    python = Path(sys.executable)
    if version == "5.2":
        environ |= measuring()
    else:  # the development environment has that, and the backport of django.tasks
        python = ROOT / f".venv-django{version.replace('.', '')}" / "bin" / "python"
        if not python.exists():
            pytest.skip(f"Django {version} is not installed: make setup-django, with a Python from 3.12 on")
        environ["PYTHONPATH"] += f":{ROOT}/python"
    plugins = [] if version == "5.2" else ["-p", "lambda_tasks.pytest_plugin"]
    run_tests(python, *plugins, str(PROJECT), environ=environ)
