"""The modes of a producer; and enqueueing when a transaction is committed."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import lambda_tasks
from catalogue import tasks
from lambda_tasks.errors import InvalidSetting, InvalidTask, TaskNotAllowed
from lambda_tasks.testing import TaskQueue

pytestmark = pytest.mark.usefixtures("calls_of_its_own", "nothing_ran")


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
import signal
from pathlib import Path
from lambda_tasks import Retry, context, task

FOLDER = Path(os.environ["FOLDER"])

@task
def write(*, name: str) -> None:
    print("a task may print")
    (FOLDER / name).write_text(str(os.getpid()))

@task
def crash() -> None:
    os._exit(3)

@task
def chain(*, left: int) -> None:
    write(name=f"chain-{left}")
    if left:
        chain.enqueue(left=left - 1)

@task
def spread(*, depth: int, name: str) -> None:
    write(name=f"spread-{name}")
    if depth:
        spread.enqueue_many([{"depth": depth - 1, "name": f"{name}{number}"} for number in range(3)])

@task(max_retries=5)
def fail_twice(*, name: str) -> None:
    if context.attempt < 3:
        raise Retry(delay=0.01)
    write(name=name)

@task
def ask_late() -> None:
    raise Retry(delay=3600)

@task
def read(*, name: str) -> None:
    try:
        input()
    except EOFError:
        write(name=name)

def live_on() -> None:
    for standard in range(3):
        os.close(standard)
    signal.alarm(60)
    (FOLDER / f"copy-{os.getpid()}").touch()
    signal.pause()

@task
def leave_a_copy(*, name: str) -> None:
    if os.fork() == 0:
        write.enqueue(name=name)
        live_on()
    write(name=f"{name}-original")
    os._exit(3)
"""

PREAMBLE = """
import multiprocessing, os, signal, threading
from pathlib import Path
from application import *

def appear(*names):
    while not all((FOLDER / name).exists() for name in names):
        threading.Event().wait(0.01)
"""


def run_application(tmp_path: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run an application whose main module does not guard itself against being imported again."""
    (tmp_path / "application.py").write_text(APPLICATION)
    (tmp_path / "main.py").write_text(PREAMBLE + textwrap.dedent(program))
    environ = {**os.environ, "LAMBDA_TASKS_MODE": "local", "FOLDER": str(tmp_path)}
    return subprocess.run(
        [sys.executable, str(tmp_path / "main.py")], env=environ, capture_output=True, text=True, timeout=60, check=True
    )


def test_local_runs_in_processes_of_this_machine(tmp_path: Path) -> None:
    """In local mode tasks run in other processes, and the application ends when they have, and tells what it drops."""
    result = run_application(
        tmp_path,
        """
        for n in range(5):
            write.enqueue(name=f"file-{n}")
        write.options(delay=1).enqueue(name="later")
        fail_twice.enqueue(name="file-5")
        ask_late.enqueue()
        read.enqueue(name="file-6")
        print(os.getpid())
        """,
    )
    files = list(tmp_path.glob("file-*"))
    assert len(files) == 7
    assert result.stdout.strip() not in {path.read_text() for path in files}
    assert result.stderr.count("application.write succeeded in ") == 5
    assert result.stderr.count("application.fail_twice retrying in ") == 2
    assert "1 delayed messages are dropped" in result.stderr
    assert re.search(r"application\.ask_late \(message .*\) is dropped: the application ends before its", result.stderr)
    assert not (tmp_path / "later").exists()


def test_what_local_messages_lead_to_runs_in_the_same_processes(tmp_path: Path) -> None:
    """A chain of messages, and a tree of them, are run by one pool, and the application waits for their last."""
    run_application(
        tmp_path,
        """
        chain.enqueue(left=12)
        spread.enqueue(depth=2, name="a")
        """,
    )
    chained, spread = list(tmp_path.glob("chain-*")), list(tmp_path.glob("spread-*"))
    assert (len(chained), len(spread)) == (13, 13)
    assert len({path.read_text() for path in (*chained, *spread)}) <= max(2, os.cpu_count() or 1)


def test_a_local_worker_that_crashes_is_replaced(tmp_path: Path) -> None:
    """A task that takes its process with it is reported; a worker that dies between messages takes none along."""
    result = run_application(
        tmp_path,
        """
        for _ in range(4):
            crash.enqueue()
        write.enqueue(name="file-1")
        write.enqueue(name="file-2")
        appear("file-1", "file-2")
        from lambda_tasks.local.workers import pool
        for worker in pool._own.pool._workers:
            if worker._process is not None:
                os.kill(worker._process.pid, signal.SIGKILL)
        for n in range(3, 9):
            write.enqueue(name=f"file-{n}")
        """,
    )
    assert len(list(tmp_path.glob("file-*"))) == 8
    assert result.stderr.count("a local worker ended while it ran a message, which is dropped: application.crash") == 4


@pytest.mark.parametrize("is_started", [True, False])
def test_messages_of_a_forked_copy_run(tmp_path: Path, is_started: bool) -> None:  # noqa: FBT001
    """A copy of the application enqueues as the original does, whether that has done so before or not."""
    result = run_application(
        tmp_path,
        f"""
        if {is_started}:
            write.enqueue(name="file-0")
        for n in range(2):
            if os.fork() == 0:
                for m in range(3):
                    write.enqueue(name=f"forked-{{n}}{{m}}")
                os._exit(0)
        for n in range(2):
            assert os.wait()[1] == 0
        child = multiprocessing.get_context("fork").Process(target=write.enqueue, kwargs={{"name": "forked-mp"}})
        child.start()
        child.join()
        appear(*[f"forked-{{n}}{{m}}" for n in range(2) for m in range(3)])
        """,
    )
    assert len(list(tmp_path.glob("forked-*"))) == 7, result.stderr
    assert "dropped" not in result.stderr


def test_a_copy_that_lives_on_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Neither an application nor a worker's owner waits for a copy that has inherited what leads to the workers."""
    result = run_application(
        tmp_path,
        """
        write.enqueue(name="file-0")
        leave_a_copy.enqueue(name="file-1")
        appear("file-0", "file-1", "file-1-original")
        if os.fork() == 0:
            live_on()
        while len(list(FOLDER.glob("copy-*"))) < 2:
            threading.Event().wait(0.01)
        """,
    )
    copies = list(tmp_path.glob("copy-*"))
    assert len(copies) == 2
    for copy in copies:
        os.kill(int(copy.name.removeprefix("copy-")), signal.SIGKILL)
    assert result.stderr.count("a local worker ended while it ran a message") == 1


def test_delayed_local_messages_run_when_they_are_due(tmp_path: Path) -> None:
    """A delay, and a time, pass before a local message runs, and many of them wait in one thread."""
    result = run_application(
        tmp_path,
        """
        from datetime import datetime, timedelta, timezone
        write.options(delay=1).enqueue(name="file-1")
        write.options(at=datetime.now(timezone.utc) + timedelta(seconds=1)).enqueue(name="file-2")
        threads = threading.active_count()
        write.options(delay=900).enqueue_many([{"name": "late"}] * 500)
        print(threading.active_count() - threads)
        appear("file-1", "file-2")
        """,
    )
    assert result.stdout == "0\n"
    assert "500 delayed messages are dropped" in result.stderr


def test_a_worker_that_cannot_start_loses_nothing_in_silence(tmp_path: Path) -> None:
    """A message that no worker takes is dropped with a line, not tried for ever; what comes at the end is refused."""
    result = run_application(
        tmp_path,
        """
        import atexit, sys
        atexit.register(lambda: write.enqueue(name="too late"))
        sys.executable = "/bin/false"
        write.enqueue(name="file-1")
        """,
    )
    assert "is dropped: 3 local workers ended before they took it" in result.stderr
    assert "application.write (message " in result.stderr


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
