"""`lambda-tasks records`: a record as a person reads it, messages sent again, and what ran in numbers."""

from __future__ import annotations

import io
import json
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

import stores
from lambda_tasks.aws.credentials import CredentialChain
from lambda_tasks.aws.transport import Transport
from lambda_tasks.command_line import app
from lambda_tasks.command_line.output import Output
from lambda_tasks.command_line.records.following import follow
from lambda_tasks.command_line.records.page import page
from lambda_tasks.command_line.records.selection import Selection
from lambda_tasks.command_line.records.statistics import percentile, statistics_of
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.queue import Queue
from lambda_tasks.state.dynamodb import DynamoDbState
from lambda_tasks.state.protocol import Attempt, Started
from lambda_tasks.state.record import Ending, PastAttempt, Status, StoredRecord
from lambda_tasks.workflow.marks import Loop, Marks

NOW = 1_790_000_000.0
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def state(embedded_aws: EmbeddedAws) -> Iterator[DynamoDbState]:
    """A table of this module, which the commands are told of by its name."""
    environ = embedded_aws.environ()
    transport = Transport(CredentialChain(environ), environ)
    yield DynamoDbState(stores.create_table(embedded_aws), transport, region="eu-west-1", partition="aws")
    transport.close()


@pytest.fixture
def run(
    state: DynamoDbState,
    embedded_aws: EmbeddedAws,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Run the command with that table, and return status, standard output and standard error."""
    for name, value in {**embedded_aws.environ(), "COLUMNS": "300"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LAMBDA_TASKS_TABLE", state._items._table_name)

    def run_command(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = app.run(["records", *arguments])
        return status, *capsys.readouterr()

    return run_command


def kept(
    state: DynamoDbState,
    *endings: Ending,
    task: str = "shop.tasks.send",
    received_at: float | None = None,
    **details: str,
) -> str:
    """Keep a message with an attempt for each of `endings`, and return its id."""
    message_id, deadline = str(uuid.uuid4()), time.monotonic() + 20
    for number, ending in enumerate(endings):
        one = Attempt(message_id, task, 60, received_at, details={"request_id": f"r-{number}", **details})
        begun = state.start(one, deadline=deadline)
        assert isinstance(begun, Started)
        given = Ending(
            **{name: getattr(ending, name) for name in Ending.__struct_fields__} | {"history": begun.history}
        )
        final = ending.status in (Status.SUCCEEDED, Status.FAILED)
        (state.finish if final else state.release)(one, given, deadline=deadline)
    return message_id


SUCCESS = Ending.of(Status.SUCCEEDED, value={"sent": ["a", "b"]})
FAILURE = Ending.of(Status.FAILED, error=ConnectionError("the other side is down"))
RETRY = Ending.of(Status.RETRYING, error=TimeoutError("too slow"))


def test_a_record_is_shown_as_a_person_reads_it(run: Run, state: DynamoDbState) -> None:
    """Facts, kwargs, context and result over several lines, each attempt, and the last error with its traceback."""
    details: dict[str, Any] = {
        "queue": "mail",
        "function_version": "7",
        "log_stream": "2026/11/21/[7]abc",
        "python": "3.13.1",
    }
    details |= {
        "kwargs": '{"order_id":42}',
        "kwargs_note": "chosen",
        "context": '{"tenant":"acme"}',
        "replay_of": "m-0",
    }
    status, shown, _ = run(kept(state, RETRY, SUCCESS, **details))
    assert status == 0
    assert shown.startswith("shop.tasks.send  succeeded\n")
    for fact in ("replay of   m-0", "attempts    2, the first failed 20", "queue       mail", "function    version 7"):
        assert re.search(re.sub(" +", " +", re.escape(fact).replace(r"\ ", " ")), shown)
    assert 'kwargs (chosen)\n{\n  "order_id": 42\n}' in shown
    assert 'context\n{\n  "tenant": "acme"\n}' in shown
    assert '"sent": [\n    "a",' in shown
    assert re.search(r"retrying +r-0 +TimeoutError: too slow\n.* succeeded +r-1", shown)
    assert "null" not in shown
    _, shown, _ = run(kept(state, FAILURE, kwargs='{"cut": "... (cut: 99 bytes)'))
    assert 'kwargs\n{"cut": "... (cut: 99 bytes)' in shown
    assert "error\nConnectionError: the other side is down" in shown
    _, shown, _ = run(message_id := kept(state, Ending(Status.SKIPPED, reason="it expired")), "--json")
    record = json.loads(shown)
    assert (record["message_id"], record["reason"], record["history"][0]["request_id"]) == (
        message_id,
        "it expired",
        "r-0",
    )


def test_a_record_is_followed_until_its_message_has_ended(run: Run, state: DynamoDbState) -> None:
    """A line for each change, with done, total, rate and the time that is left; the status says whether it succeeded."""
    going_on = Marks(loops={"page": Loop(done=30, total=120, spent=60.0, longest=3.0)})
    over = Marks(loops={"page": Loop(done=120, total=120, spent=240.0, is_over=True)})
    deferred = Ending(Status.DEFERRED, steps=going_on.text())
    message_id = kept(state, deferred)
    second = Attempt(message_id, "shop.tasks.send", 60)
    waits = iter(["start", "finish"])

    def finish(_: float) -> None:
        if next(waits) == "start":
            state.start(second, deadline=time.monotonic() + 20)
        else:
            state.finish(second, Ending(Status.SUCCEEDED, steps=over.text()), deadline=time.monotonic() + 20)

    output = io.StringIO()
    last = follow(Output(console=Console(file=output, width=200)), state, message_id, sleep=finish)

    assert output.getvalue().splitlines() == [
        "deferred  page: 30 of 120 (25%), 30/min, 3 min left",
        "running  page: 30 of 120 (25%), 30/min, 3 min left",
        "succeeded  page: 120 of 120 (100%), 30/min",
    ]
    assert last is not None
    assert last.status is Status.SUCCEEDED
    status, shown, _ = run(message_id, "--follow", "--json")
    assert status == 0
    assert json.loads(shown)["progress"]["done"] == 120
    assert "progress    page: 120 of 120" in re.sub("  +", "    ", run(message_id)[1])
    assert json.loads(run(message_id, "--json")[1])["progress"]["total"] == 120
    assert run(kept(state, FAILURE), "--follow") == (1, "failed\n", "")
    assert run("nothing", "--follow")[0] == 1
    assert run("--follow")[0] == 2


def test_a_bar_is_drawn_in_a_terminal(state: DynamoDbState) -> None:
    """It has the task's name, and the same words as the lines."""
    for marks in (Marks(loops={"page": Loop(done=3, total=3, spent=7200.0, is_over=True)}), Marks()):
        output = io.StringIO()
        console = Console(file=output, force_terminal=True, width=150)
        message_id = kept(state, Ending(Status.SUCCEEDED, steps=marks.text()))

        follow(Output(console=console), state, message_id)

        assert "send" in output.getvalue()
        assert ("3 of 3" in output.getvalue()) == bool(marks.loops)
        assert ("1.5/h" in output.getvalue()) == bool(marks.loops)


def test_commands_are_named_or_not(run: Run) -> None:
    """Listing need not be named; help names what there is; an unknown status is bad input."""
    assert run("list", "--task", "none") == run("--task", "none") == (0, "There are no such records.\n", "")
    status, shown, _ = run("--help")
    assert status == 0
    assert all(name in shown for name in ("list", "replay", "stats"))
    assert run("stats", "--help")[0] == 0
    assert run("--status", "nonsense")[0] == 2


@pytest.fixture
def queue(make_queue: Callable[..., Queue]) -> Queue:
    return make_queue()


def test_messages_are_sent_again_by_their_records(run: Run, state: DynamoDbState, queue: Queue) -> None:
    """A dry run says what would be sent; what is sent has kwargs and context, and is linked to the first."""
    name = queue.url.rpartition("/")[2]
    task = f"shop.tasks.t{uuid.uuid4().hex}"
    whole: dict[str, Any] = {
        "kwargs": '{"order_id":42,"name":"é"}',
        "context": '{"tenant":"ä"}',
        "queue": name,
        "task": task,
    }
    failed, succeeded = kept(state, FAILURE, **whole), kept(state, SUCCESS, **whole)
    without, cut = kept(state, FAILURE, task=task), kept(state, FAILURE, **{**whole, "kwargs_note": "cut"})
    status, planned, _ = run("replay", "--task", task)
    assert status == 1
    assert "its kwargs were not recorded: see LAMBDA_TASKS_RECORD_KWARGS" in planned
    assert "its record does not hold all that it had: cut" in planned
    assert "1 of 3 messages would be sent again. Add --yes to do it." in planned
    assert succeeded not in planned
    assert queue.depth() == 0
    status, done, _ = run("replay", "--task", task, "--yes", "--json")
    result = json.loads(done)
    assert (status, result["selected"], list(result["errors"])) == (1, [failed], [cut, without])
    (received,) = queue.receive()
    assert json.loads(received["Body"]) == {"task_name": task, "kwargs": {"order_id": 42, "name": "é"}, "n_retries": 0}
    attributes = received["MessageAttributes"]
    assert json.loads(attributes["lambda_tasks_context"]["StringValue"]) == {"tenant": "ä"}
    assert attributes["lambda_tasks_replay_of"]["StringValue"] == failed
    assert result["sent"] == {failed: received["MessageId"]}
    record = state.record(received["MessageId"], deadline=time.monotonic() + 20)
    assert record is not None
    assert (record.status, record.replay_of, record.queue) == (Status.QUEUED, failed, name)
    status, refused, _ = run("replay", received["MessageId"])
    assert (status, "it has not ended, it is queued" in refused) == (1, True)
    status, done, _ = run("replay", succeeded, "--yes")
    assert (status, "1 of 1 messages sent again." in done) == (0, True)


def test_a_replay_of_a_replay_names_the_first(run: Run, state: DynamoDbState, make_queue: Callable[..., Queue]) -> None:
    """On a FIFO queue it has the first one's group, and a deduplication ID of its own."""
    fifo = make_queue(FifoQueue="true")
    again = kept(state, FAILURE, kwargs="{}", queue="gone", replay_of="m-0")
    assert "GetQueueUrl was refused: QueueDoesNotExist" in run("replay", again, "--yes")[1]
    assert run("replay", again, "--yes", "--queue", fifo.url)[0] == 0
    (received,) = fifo.receive()
    assert received["MessageAttributes"]["lambda_tasks_replay_of"]["StringValue"] == "m-0"
    assert received["Attributes"]["MessageGroupId"] == "m-0"
    homeless = kept(state, FAILURE, kwargs="{}")
    assert "its record names no queue" in run("replay", homeless, "--yes")[1]


@pytest.mark.parametrize("arguments", [(), ("m-1", "--status", "failed"), ("m-9",)])
def test_a_replay_says_which_messages_it_means(run: Run, arguments: tuple[str, ...]) -> None:
    """Neither nothing nor two selections is clear, and a message without a record cannot be made again."""
    status, shown, complaint = run("replay", *arguments)
    assert (status, shown) == (2, "")
    assert "not clear which messages" in complaint or "no such record (message m-9)" in complaint
    assert run("replay", "--task", "none")[:2] == (1, "There are no such records.\n")


def test_what_ran_is_counted(run: Run, state: DynamoDbState, tmp_path: Path) -> None:
    """Counts and durations by task, as a table, as JSON and as a page; where there is nothing, the status is 1."""
    prefix = f"t{uuid.uuid4().hex}"
    for number in range(4):
        kept(state, FAILURE if number == 3 else SUCCESS, task=f"{prefix}.one")
    kept(state, RETRY, RETRY, SUCCESS, task=f"{prefix}.two")
    status, shown, _ = run("stats", "--since", "1h")
    assert status == 0
    assert re.search(rf"{prefix}\.one +4 +", shown)
    assert re.search(rf"{prefix}\.two +1 .*3 +\d+ ms +\d+ ms +\d+ ms", shown)
    status, shown, _ = run("stats", "--task", f"{prefix}.one", "--json", "--html", str(tmp_path / "page.html"))
    assert (status, json.loads(shown)["all"]["statuses"]) == (0, {"succeeded": 3, "failed": 1})
    (one,) = json.loads(shown)["tasks"]
    assert (one["messages"], one["attempts"], one["errors"]) == (4, 4, {"ConnectionError": 1})
    assert 0 <= one["duration_seconds"]["p50"] <= one["duration_seconds"]["p99"]
    assert f"{prefix}.one" in (tmp_path / "page.html").read_text()
    assert "newest 2 alone" in run("stats", "--limit", "2")[1]
    assert run("stats", "--task", "none", "--html", str(tmp_path / "none.html"))[:2] == (
        1,
        "There are no such records.\n",
    )
    assert "What ran" in (tmp_path / "none.html").read_text()
    status, _, complaint = run("stats", "--html", str(tmp_path / "no" / "page.html"))
    assert (status, "the page cannot be written: No such file" in complaint) == (2, True)


def record(number: int, task: str, status: Status, seconds: float, at: float) -> StoredRecord:
    finished_at = None if status in (Status.QUEUED, Status.RUNNING) else at + seconds
    error = "ValueError" if status is Status.FAILED else None
    return StoredRecord(f"m-{number}", task, status, 1, at, at, finished_at, error_type=error)


RECORDS = st.lists(
    st.builds(
        record,
        st.integers(0, 9),
        st.sampled_from(["shop.send", "<script>alert(1)</script>", "", "x" * 300]),
        st.sampled_from(list(Status)),
        st.floats(0, 1e5),
        st.floats(NOW - 40 * 86400, NOW + 60),
    ),
    max_size=30,
)


class Elements(HTMLParser):
    """The elements of a page, which are opened and closed in order."""

    VOID = ("meta", "line", "rect", "circle")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, Mapping[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._open += [tag] if tag != "meta" else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


@settings(max_examples=40)
@given(RECORDS, st.sampled_from([0.0, NOW - 3600, NOW - 86400]))
def test_a_page_opens_without_a_network(records: list[StoredRecord], earliest: float) -> None:
    """Whatever ran, the page is well-formed, has nothing of elsewhere, no script, and every number is one."""
    text = page(statistics_of(records), Selection("a<b", (Status.FAILED,), earliest), NOW)
    elements = Elements(text)
    assert not {tag for tag, _ in elements.found} & {"script", "link", "img", "iframe", "object"}
    assert not [name for _, attributes in elements.found for name in attributes if name in ("src", "href", "onload")]
    assert "nan" not in text
    assert "inf" not in text.replace("&lt;", "")
    for tag, attributes in elements.found:
        for name in ("x", "y", "cx", "cy", "x1", "x2", "y1", "y2", "width", "height"):
            if tag != "meta" and name in attributes:
                assert -1 <= float(str(attributes[name])) <= 2000
    assert ("rect" in dict(elements.found)) is bool(records)


def test_the_duration_of_a_message_is_that_of_what_ran() -> None:
    """A deferral that followed is no execution; without a history the record's own times count."""
    ran = PastAttempt(NOW, "r-1", NOW + 3, "retrying")
    deferred = StoredRecord("m", "t", Status.DEFERRED, 1, NOW, NOW + 50, NOW + 50.01)
    of_release_before = StoredRecord("m", "t", Status.SUCCEEDED, 1, NOW, NOW, NOW + 2)
    running = StoredRecord("m", "t", Status.RUNNING, 1, NOW, NOW, history=(PastAttempt(NOW),))
    records = [msgspec.structs.replace(deferred, history=(ran,)), deferred, of_release_before, running]
    assert statistics_of(records).all.durations == [3, 2]


def test_percentiles_are_values_that_were_measured() -> None:
    """The p-th percentile is the smallest value that so many percent do not exceed."""
    assert percentile([], 50) is None
    assert [percentile([3.0, 1.0, 2.0, 4.0], percent) for percent in (50, 95, 99)] == [2.0, 4.0, 4.0]
    assert percentile([float(number) for number in range(1, 101)], 95) == 95
