"""The modes of a producer; and enqueueing when a transaction is committed."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import lambda_tasks
from catalogue import tasks
from lambda_tasks.errors import InvalidSetting, InvalidTask, TaskNotAllowed
from lambda_tasks.testing import TaskQueue

pytestmark = pytest.mark.usefixtures("calls_of_its_own")


@pytest.fixture(autouse=True)
def _nothing_ran() -> Iterator[None]:
    tasks.ran.clear()
    yield
    tasks.ran.clear()


def test_an_unknown_mode_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mode that does not exist is an error that lists those that do."""
    monkeypatch.setenv("LAMBDA_TASKS_MODE", "async")
    with pytest.raises(InvalidSetting, match=r"LAMBDA_TASKS_MODE\): use one of sqs, eager, local, off"):
        tasks.add.enqueue(number=1)


def test_eager_runs_now_and_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """In eager mode the task runs at once, through the dispatcher, and what it raises is raised."""
    monkeypatch.setenv("LAMBDA_TASKS_MODE", "eager")
    assert tasks.add.enqueue(number=1)
    assert tasks.ran == [1]
    with pytest.raises(ConnectionError, match="the other side is down"):
        tasks.fail.enqueue()
    tasks.ignore.enqueue(path="/none")
    monkeypatch.setenv("LAMBDA_TASKS_MODULES", "other")
    with pytest.raises(TaskNotAllowed):
        tasks.add.enqueue(number=1)


def test_eager_runs_what_a_task_enqueues(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that enqueues another one has it run at once too, and so has `enqueue_many`."""
    monkeypatch.setenv("LAMBDA_TASKS_MODE", "eager")
    tasks.chain.enqueue(number=2)
    enqueued = tasks.add.enqueue_many([{"number": 3}, {"number": "4"}])
    assert tasks.ran == [2, 3]
    assert (enqueued.sent, enqueued.failed) == (1, 1)
    with pytest.raises(ConnectionError):
        tasks.fail.enqueue_many([{}])


def test_off_drops_with_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """In mode off nothing is sent or run, and a warning says so."""
    monkeypatch.setenv("LAMBDA_TASKS_MODE", "off")
    with caplog.at_level(logging.WARNING, "lambda_tasks"):
        assert tasks.add.enqueue(number=1)
    assert [record.getMessage() for record in caplog.records] == [
        "catalogue.tasks.add is dropped: LAMBDA_TASKS_MODE is off"
    ]
    assert tasks.ran == []


APPLICATION = """
import os
from pathlib import Path
from lambda_tasks import task

@task
def write(*, name: str) -> None:
    print("a task may print")
    Path(os.environ["FOLDER"], name).write_text(str(os.getpid()))

@task
def crash() -> None:
    os._exit(3)
"""


def run_application(tmp_path: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run an application whose main module does not guard itself against being imported again."""
    (tmp_path / "application.py").write_text(APPLICATION)
    (tmp_path / "main.py").write_text("from application import crash, write\n" + textwrap.dedent(program))
    environ = {**os.environ, "LAMBDA_TASKS_MODE": "local", "FOLDER": str(tmp_path)}
    return subprocess.run(
        [sys.executable, str(tmp_path / "main.py")], env=environ, capture_output=True, text=True, timeout=60, check=True
    )


def test_local_runs_in_processes_of_this_machine(tmp_path: Path) -> None:
    """In local mode tasks run in other processes, and the application ends when they have."""
    result = run_application(
        tmp_path,
        """
        import os
        for n in range(5):
            write.enqueue(name=f"file-{n}")
        write.options(delay=1).enqueue(name="later")
        print(os.getpid())
        """,
    )
    pids = {path.read_text() for path in tmp_path.glob("file-*")}
    assert len(list(tmp_path.glob("file-*"))) == 5
    assert result.stdout.strip() not in pids
    assert result.stderr.count("application.write succeeded in ") == 5
    assert "1 delayed messages are dropped" in result.stderr


def test_a_local_worker_that_crashes_is_replaced(tmp_path: Path) -> None:
    """A task that takes its process with it is reported, and what comes after it runs in another one."""
    result = run_application(
        tmp_path,
        """
        for _ in range(4):
            crash.enqueue()
        write.enqueue(name="file-1")
        """,
    )
    assert (tmp_path / "file-1").exists()
    assert result.stderr.count("a local worker ended while it ran a message") == 4


def test_delayed_local_messages_run_when_they_are_due(tmp_path: Path) -> None:
    """A delay, and a time, pass before a local message runs."""
    run_application(
        tmp_path,
        """
        import os, threading
        from datetime import datetime, timedelta, timezone
        from pathlib import Path
        write.options(delay=1).enqueue(name="file-1")
        write.options(at=datetime.now(timezone.utc) + timedelta(seconds=1)).enqueue(name="file-2")
        while len(list(Path(os.environ["FOLDER"]).glob("file-*"))) < 2:
            threading.Event().wait(0.02)
        """,
    )


DJANGO = """
import django
from django.conf import settings
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()
from django.db import transaction
from catalogue.tasks import note
from lambda_tasks.errors import InvalidKwargs
from lambda_tasks.testing import TaskQueue

with TaskQueue() as queue:
    with transaction.atomic():
        words = {"text": "committed"}
        note.options(delay=5).enqueue_on_commit(**words)
        assert len(queue) == 0
    assert [(one.kwargs, one.delay_seconds) for one in queue] == [({"text": "committed"}, 5)]
    try:
        with transaction.atomic():
            note.enqueue_on_commit(text="rolled back")
            raise RuntimeError
    except RuntimeError:
        pass
    note.enqueue_on_commit(text="no transaction")
    assert [one.kwargs["text"] for one in queue] == ["committed", "no transaction"]
    with transaction.atomic():
        try:
            note.enqueue_on_commit(text=1)
        except InvalidKwargs:
            print("checked at once")
"""


def test_django_enqueues_when_a_transaction_is_committed() -> None:
    """A transaction that is rolled back sends nothing, and kwargs are checked where they are given."""
    program = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n" + DJANGO
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "checked at once\n"), result.stderr


def test_without_django_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """If Django is not installed the error says what to use."""
    monkeypatch.setitem(sys.modules, "django.db", None)
    with pytest.raises(InvalidTask, match=r"there is no Django \(task .*\): install it, or use enqueue\(\)"):
        tasks.add.enqueue_on_commit(number=1)


def test_no_mode_reaches_a_task_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording queue gets every message, whatever the mode is."""
    for mode in ("sqs", "eager", "local", "off"):
        monkeypatch.setenv("LAMBDA_TASKS_MODE", mode)
        with TaskQueue() as queue, lambda_tasks.context.bind(tenant="acme"):
            tasks.add.enqueue(number=1)
            tasks.add.enqueue_many([{"number": 2}])
        assert [one.kwargs for one in queue] == [{"number": 1}, {"number": 2}]
        assert [one.context for one in queue] == [{"tenant": "acme"}] * 2
    assert json.dumps(tasks.ran) == "[]"
