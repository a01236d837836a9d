"""What a task raises, and what comes of its message: odd errors, groups of errors, ends of the process and of the loop."""

from __future__ import annotations

import asyncio
import builtins
import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogue import raising
from events import message_body, sqs_record
from lambda_tasks.definition import error_groups, retry
from lambda_tasks.definition.options import Options
from lambda_tasks.errors import HardTimeLimitExceeded, Reject, Retry, SoftTimeLimitExceeded
from lambda_tasks.limits import enclosed_loop
from lambda_tasks.messages.outcome import Outcome
from lambda_tasks.messages.sqs_event import Record
from lambda_tasks.settings import Settings
from lambda_tasks.telemetry import report
from memory_state import MemoryState
from workers import Dispatched, worker
from wrapper import ROOT

FIFO = {"MessageGroupId": "g", "SequenceNumber": "1"}
Group: Any = getattr(builtins, "BaseExceptionGroup", None)
with_groups = pytest.mark.skipif(Group is None, reason="Python has exception groups from 3.11 on")


@pytest.fixture(autouse=True)
def _nothing_was_seen() -> Iterator[None]:
    raising.seen.clear()
    yield
    while raising.kept:
        raising.kept.pop().exception()  # or asyncio would log it when it is collected, at any time


def record_of(task_name: str, /, fifo: bool = False, **kwargs: object) -> Record:  # noqa: FBT001, FBT002
    return sqs_record(message_body(f"catalogue.raising.{task_name}", **kwargs), **(FIFO if fifo else {}))


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("task", ["raise_one", "raise_one_async"])
@pytest.mark.parametrize("kind", raising.ERRORS)
def test_whatever_a_task_raises_is_settled(kind: str, task: str, concurrency: int, *, stored: bool) -> None:
    """An error that cannot be changed, printed, compared or inspected is an outcome, gives its lease back, and harms no one."""
    state = MemoryState() if stored else None
    made = worker(Settings(concurrency=concurrency), state=state)
    records = [record_of("note", number=1), record_of(task, kind=kind), record_of("note", number=2)]
    dispatched = Dispatched(made, *records)
    expected = {"half_a_retry": "retrying", "unspeakable_reject": "rejected"}.get(kind, "failed")
    assert dispatched.outcomes == ["succeeded", expected, "succeeded"]
    assert dispatched.kept == [records[1]["messageId"]]
    if state is not None and expected != "succeeded":
        assert Dispatched(made, records[1]).outcomes == [expected]  # and not deferred: nobody holds its lease


@pytest.mark.parametrize("kind", raising.ERRORS)
def test_an_odd_error_of_a_batch_item_is_settled(kind: str) -> None:
    """What a batch task fails one message with may be any error."""
    outcomes = Dispatched(worker(), record_of("fail_each", kind=kind), record_of("fail_each", kind=kind)).outcomes
    assert set(outcomes) <= {"failed", "retrying", "rejected"}


def test_a_traceback_begins_in_the_task(caplog: pytest.LogCaptureFixture) -> None:
    """How a task was called is not in its traceback, also where its error cannot be changed."""
    with caplog.at_level(logging.INFO):
        Dispatched(worker(), record_of("raise_one", kind="frozen"))
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.exc_info is not None
    traceback = record.exc_info[2]
    assert traceback is not None
    assert traceback.tb_frame.f_code.co_name == "raise_one"


class Ours(Exception):
    """One that is retried on."""


class Theirs(Exception):
    """One that is ignored."""


class Leaf(Exception):
    """Any other one."""


OPTIONS = Options(retry_on=(Ours,), ignore_errors=(Theirs,), max_retries=3)
LEAVES: dict[str, Callable[[], BaseException]] = {
    "ours": Ours,
    "theirs": Theirs,
    "other": Leaf,
    "retry": Retry,
    "later": lambda: Retry(delay=70),
    "soon": lambda: Retry(delay=7),
    "reject": Reject,
    "exit": SystemExit,
}


def _grouped(tree: Any) -> BaseException:
    if isinstance(tree, str):
        return LEAVES[tree]()
    group: BaseException = Group("several", [_grouped(one) for one in tree])
    return group


def _leaves(tree: Any) -> list[str]:
    return [tree] if isinstance(tree, str) else [leaf for one in tree for leaf in _leaves(one)]


@with_groups
@given(st.recursive(st.sampled_from(sorted(LEAVES)), lambda inner: st.lists(inner, min_size=1, max_size=4)))
def test_a_group_is_what_all_in_it_are(tree: Any) -> None:
    """`Reject` anywhere rejects; else a group is retried or ignored where all in it are, with the longest delay."""
    leaves = set(_leaves(tree))
    outcome, delay = retry.decide(_grouped(tree), OPTIONS, 0, lambda: 1.0)
    if "reject" in leaves:
        assert outcome is Outcome.REJECTED
    elif leaves == {"theirs"}:
        assert outcome is Outcome.SUCCEEDED
    elif leaves <= {"ours", "retry", "later", "soon"}:
        assert outcome is Outcome.RETRYING
        assert delay == (70 if "later" in leaves else 7 if "soon" in leaves else 30)
        assert retry.decide(_grouped(tree), OPTIONS, 3, lambda: 1.0) == (Outcome.FAILED, None)
    else:
        assert outcome is Outcome.FAILED


@with_groups
def test_a_group_may_be_named_itself() -> None:
    """A task that is retried on a kind of group is, whatever is in it."""
    options = Options(retry_on=(Group,))
    assert retry.outcome_of(_grouped(["other", ["exit"]]), options, 0) is Outcome.RETRYING


@with_groups
def test_a_group_of_limits_is_the_gravest() -> None:
    """A group of nothing but limits stands for one of them, any other group for itself."""
    soft, hard = SoftTimeLimitExceeded(), HardTimeLimitExceeded()
    kinds = (HardTimeLimitExceeded, SoftTimeLimitExceeded)
    assert error_groups.gravest(Group("", [soft, Group("", [hard])]), kinds) is hard
    assert error_groups.gravest(soft, kinds) is soft
    mixed = Group("", [soft, ValueError()])
    assert error_groups.gravest(mixed, kinds) is mixed


@with_groups
def test_a_deep_group_is_looked_through() -> None:
    """A group is looked into without recursion, which would have a limit."""
    error: BaseException = Ours()
    for _ in range(3000):
        error = Group("one more", [error])
    assert retry.outcome_of(error, OPTIONS, 0) is Outcome.RETRYING


def test_groups_of_the_backport_are_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Python has no groups, those of the package `exceptiongroup` count."""

    class Backport(Exception):
        exceptions = property(lambda self: self.args)

    class Module:
        BaseExceptionGroup = Backport

    monkeypatch.delattr(builtins, "BaseExceptionGroup", raising=False)
    monkeypatch.setitem(sys.modules, "exceptiongroup", Module)
    assert retry.outcome_of(Backport(Ours(), Backport(Ours())), OPTIONS, 0) is Outcome.RETRYING
    assert retry.outcome_of(Backport(Ours(), Backport(Reject())), OPTIONS, 0) is Outcome.REJECTED
    monkeypatch.delitem(sys.modules, "exceptiongroup")
    assert error_groups.members_of(Backport(Ours())) == ()


LIMITS_IN_GROUPS = """
    import sys
    from catalogue import raising
    from events import message_body, sqs_record
    from workers import Dispatched, worker

    def of(name, **kwargs):
        return sqs_record(message_body(f"catalogue.raising.{name}", **kwargs))

    made = worker()
    Dispatched(made, seconds=60)  # a fresh invocation has as much
    for depth in (0, 1):
        print(Dispatched(made, of("unlimited_within_groups", depth=depth), seconds=0.5).outcomes)
        print(Dispatched(worker(), of("unlimited_within_groups", depth=depth), seconds=1).outcomes)
        dispatched = Dispatched(made, of("limited_within_groups", depth=depth), seconds=60)
        print(dispatched.outcomes, [type(error).__name__ for error in dispatched.errors])
    dispatched = Dispatched(made, of("limited_within_a_timeout"), seconds=60)
    print(dispatched.outcomes, [type(error).__name__ for error in dispatched.errors])
    made.close()
"""


def test_limits_in_task_groups_are_limits(each_python: Path, layer_folder: Path) -> None:
    """With every Python, a limit that a task group or a timeout passes on is what it would be without."""
    version = subprocess.check_output([each_python, "-c", "import sys; print(sys.version_info >= (3, 11))"], text=True)
    if version.strip() != "True":
        pytest.skip("Python has task groups from 3.11 on")
    path = os.pathsep.join(map(str, (ROOT / "python", ROOT / "tests", layer_folder / "python")))
    finished = subprocess.run(
        [each_python, "-W", "error", "-c", textwrap.dedent(LIMITS_IN_GROUPS)],
        env={"PYTHONPATH": path, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    expected = ["['deferred']", "['failed']", "['retrying'] ['SoftTimeLimitExceeded']"]
    assert finished.stdout.splitlines() == [*expected, *expected, "['failed'] ['SoftTimeLimitExceeded']"]


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("fifo", [False, True])
@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("how", ["exit", "interrupt"])
def test_an_exit_in_the_background_ends_no_invocation(how: str, concurrency: int, *, awaited: bool, fifo: bool) -> None:
    """`sys.exit` and KeyboardInterrupt in an asyncio task end that one, and whoever awaits it."""
    records = [record_of("exit_in_the_background", fifo, how=how, awaited=awaited), record_of("note", number=1)]
    if fifo:
        records.insert(0, record_of("note", fifo, number=2))
    outcomes = Dispatched(
        worker(Settings(concurrency=concurrency)), *records, record_of("note_async", number=3)
    ).outcomes
    assert outcomes[-3:] == ["failed" if awaited else "succeeded", "succeeded", "succeeded"]


@pytest.mark.parametrize("times", [1, 5])
def test_a_task_cannot_stop_the_loop(times: int) -> None:
    """Whoever stops the event loop, it runs until every message has its outcome; the next invocation has a clean one."""
    made = worker()
    records = [record_of("stop_the_loop", times=times), record_of("note_async", number=1)]
    assert Dispatched(made, *records).outcomes == ["succeeded", "succeeded"]
    assert (
        Dispatched(made, record_of("tasks_of_the_loop"), record_of("note_async", number=2)).outcomes
        == ["succeeded"] * 2
    )


def test_a_signal_while_the_loop_waits_is_not_swallowed() -> None:
    """Where a signal's handler raises SystemExit or KeyboardInterrupt, it ends what it is meant to end."""
    loop = asyncio.new_event_loop()
    previous = signal.signal(signal.SIGALRM, lambda *_: sys.exit("asked to"))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(SystemExit, match="asked to"):
            enclosed_loop.run_until_done(loop, [loop.create_task(asyncio.sleep(60))])
    finally:
        signal.signal(signal.SIGALRM, previous)
        enclosed_loop.close(loop)


def test_a_task_that_cancels_everything_leaves_no_message_without_an_outcome() -> None:
    """A cancelled task has failed, one that had not begun is deferred, and what waits for them is not impressed."""
    made = worker()
    dispatched = Dispatched(made, record_of("cancel_everything"), record_of("note_async", number=1))
    assert dispatched.outcomes[1] == "deferred"
    assert (
        Dispatched(made, record_of("cancel_the_lanes"), record_of("note_async", number=1)).outcomes == ["succeeded"] * 2
    )


def test_what_a_task_leaves_behind_is_awaited() -> None:
    """An asyncio task that outlives the task that started it gets its end, whether that succeeded or not."""
    records = [record_of("leave_behind", seconds=0.05, fails=fails) for fails in (False, True)]
    assert Dispatched(worker(), *records).outcomes == ["succeeded", "failed"]
    assert raising.seen == ["left behind"] * 2


def test_what_is_left_behind_by_what_is_left_behind_is_awaited() -> None:
    """Asyncio tasks that start each other are awaited up to the last one."""
    assert Dispatched(worker(), record_of("leave_generations")).outcomes == ["succeeded"]
    assert raising.seen == ["the last one"]


@pytest.mark.parametrize("concurrency", [1, 2])
def test_what_outlives_the_limits_is_cancelled(concurrency: int, caplog: pytest.LogCaptureFixture) -> None:
    """At the invocation's end and at a soft limit, what a task left behind is cancelled, and a warning names it."""
    made = worker(Settings(concurrency=concurrency))
    dispatched = Dispatched(made, record_of("leave_behind", seconds=30), seconds=0.5)
    assert dispatched.outcomes == ["succeeded"]
    assert Dispatched(made, record_of("leave_behind_with_a_soft_limit")).outcomes == ["succeeded"]
    assert raising.seen == ["left behind cancelled"] * 2
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert all("straggler (_note_later)" in warning for warning in warnings)


def test_what_refuses_to_end_is_not_there_in_the_next_invocation(caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be cancelled is given up with its event loop: the next invocation has another."""
    made = worker()
    assert Dispatched(made, record_of("leave_what_never_ends"), seconds=5).outcomes == ["succeeded"]
    assert "given up with their loop: Task-" in caplog.text
    raising.seen.clear()
    assert Dispatched(made, record_of("note_async", number=1)).outcomes == ["succeeded"]
    assert raising.seen == [1]


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("fifo", [False, True])
def test_a_call_has_a_context_of_its_own(concurrency: int, *, fifo: bool) -> None:
    """What one message sets in a context variable is not seen by the next, of whatever kind both are."""
    kinds = ["set_variable", "set_variable_async", "set_variable", "set_variable_of_batch", "set_variable_async"] * 2
    records = [
        record_of(kind, fifo, **({} if kind.endswith("batch") else {"value": str(number)}))
        for number, kind in enumerate(kinds)
    ]
    made = worker(Settings(concurrency=concurrency))
    for _ in range(2):
        assert Dispatched(made, *records).kept == []
    assert set(raising.seen) == {"unset"}
    assert raising.variable.get() == "unset"


def test_a_hook_has_a_context_of_its_own() -> None:
    """What a hook sets is seen by its own message's task, where it is called before it, and by no other."""
    starts, ends = [], []

    def start(_: object) -> None:
        starts.append(raising.variable.get())
        raising.variable.set("start")

    def end(_: object) -> None:
        ends.append(raising.variable.get())
        raising.variable.set("end")

    report.on_start(start)
    report.on_outcome(end)
    try:
        for concurrency in (1, 2):
            records = [record_of(kind, value="x") for kind in ("set_variable", "set_variable_async", "set_variable")]
            Dispatched(worker(Settings(concurrency=concurrency)), *records, record_of("nothing"), record_of("nothing"))
    finally:
        report._start_hooks.remove(start)
        report._outcome_hooks.remove(end)
    assert raising.seen == ["start"] * 6
    assert set(starts) == set(ends) == {"unset"}
