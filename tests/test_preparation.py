"""Each message is prepared by itself: payloads from an S3 that misbehaves, and modules that raise while imported."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from catalogue import tasks
from events import Context, message_body, sqs_event, sqs_record
from lambda_tasks.aws.calls import SignedCalls
from lambda_tasks.dispatch.dispatcher import dispatch
from lambda_tasks.dispatch.worker import Worker
from lambda_tasks.errors import (
    HardTimeLimitExceeded,
    NoRoomForPayload,
    PayloadNotAllowed,
    PayloadNotFound,
    PayloadTooLarge,
    PayloadUnavailable,
)
from lambda_tasks.messages.fetching import memory_for_payloads
from lambda_tasks.messages.payload import POINTER
from lambda_tasks.messages.sqs_event import Record
from lambda_tasks.settings import Settings
from workers import Dispatched, worker

ADD = "catalogue.tasks.add"
MIB = 1024 * 1024


class Aws:
    """S3, whose `objects` are bytes, a status, or None for no answer at all; and SQS, whose calls are noted."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes | int | None] = {}
        self.asked: list[str] = []
        self.visibility: list[int] = []
        self.closing = threading.Event()
        self.together = threading.Barrier(1)
        self.url = ""

    def worker(self, buckets: tuple[str, ...] = ("bucket",), **variables: str) -> Worker:
        made = worker(Settings(payload_buckets=buckets), aws_url=self.url)
        made.environ = {**made.environ, **variables}
        return made


@pytest.fixture
def aws() -> Iterator[Aws]:
    found = Aws()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found.asked.append(self.path)
            found.together.wait(30)
            content = found.objects.get(self.path.rpartition("/")[2], 404)
            if content is None:
                found.closing.wait(60)
                self.close_connection = True
            else:
                self.answer(content if isinstance(content, int) else 200, b"" if isinstance(content, int) else content)

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.visibility += [entry["VisibilityTimeout"] for entry in request.get("Entries", ())]
            self.answer(200, b'{"MessageId": "letter"}')

        def answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(OSError):  # whoever does not want it closes the connection
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield found
    finally:
        found.closing.set()
        found.together.abort()
        server.shutdown()
        server.server_close()
        thread.join()


pytestmark = pytest.mark.usefixtures("nothing_ran")


def pointer(key: str = "k", bucket: str = "bucket", **attributes: str) -> Record:
    return sqs_record(json.dumps([POINTER, {"s3BucketName": bucket, "s3Key": key}]), **attributes)


def add(number: int, **attributes: str) -> Record:
    return sqs_record(message_body(ADD, number=number), **attributes)


def test_s3_that_hangs_costs_its_own_message_alone(aws: Aws, caplog: pytest.LogCaptureFixture) -> None:
    """The neighbours run with all their time; the message is tried again with backoff, and a log line blames it."""
    aws.objects["k"] = None
    body, late = message_body("catalogue.tasks.run_in_three_seconds"), pointer(ApproximateReceiveCount="4")
    dispatched = Dispatched(aws.worker(), sqs_record(body), late, sqs_record(body), seconds=6)
    assert dispatched.outcomes == ["succeeded", "retrying", "succeeded"]
    assert dispatched.kept == [late["messageId"]]
    assert aws.visibility == [120]  # half of 30 s doubled three times
    (line,) = [one for one in caplog.records if one.levelname == "WARNING"]
    assert late["messageId"] in line.getMessage()
    assert line.exc_text is None or "s3://bucket/k" in line.exc_text
    assert isinstance(dispatched.errors[1], PayloadUnavailable)


def test_payloads_are_fetched_at_the_same_time(aws: Aws) -> None:
    """Ten payloads are asked for together, and their messages run in the order in which SQS gave them."""
    aws.together = threading.Barrier(10)
    aws.objects = {str(number): message_body(ADD, number=number).encode() for number in range(10)}
    dispatched = Dispatched(aws.worker(), *[pointer(str(number)) for number in range(10)], seconds=60)
    assert set(dispatched.outcomes) == {"succeeded"}
    assert tasks.ran == list(range(10))


def test_a_payload_that_hangs_leaves_the_others_their_time(aws: Aws) -> None:
    """More payloads than threads share the time: those behind ten that hang are fetched all the same."""
    aws.objects = {"hangs": None, "fine": message_body(ADD, number=1).encode()}
    records = [*[pointer("hangs")] * 10, pointer("fine")]
    dispatched = Dispatched(aws.worker(), *records, seconds=6)
    assert dispatched.outcomes[-1] == "succeeded"


def test_a_fifo_group_waits_for_its_payload_alone(aws: Aws) -> None:
    """Ahead of a payload that hangs a group runs, behind it nothing does; other groups and messages do not wait."""
    aws.objects["k"] = None
    first, second = {"MessageGroupId": "a", "SequenceNumber": "1"}, {"MessageGroupId": "b", "SequenceNumber": "1"}
    records = [add(1, **first), pointer(**first), add(2, **first), add(3, **second)]
    dispatched = Dispatched(aws.worker(), *records, seconds=1)
    assert dispatched.outcomes == ["succeeded", "retrying", "deferred", "succeeded"]
    assert tasks.ran == [1, 3]


def test_a_late_payload_does_not_overtake_what_failed_before_it(aws: Aws) -> None:
    """Behind an unfinished message of its FIFO group a message is deferred, though its payload came in the end."""
    group = {"MessageGroupId": "a", "SequenceNumber": "1"}
    aws.objects["k"] = message_body(ADD, number=1).encode()
    aws.together = threading.Barrier(2)  # the first task lets the payload through

    def let_through(_: object) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            aws.together.wait(30)

    tasks.on_unreliable.append(let_through)
    try:
        record = sqs_record(message_body("catalogue.tasks.unreliable_and_told"), **group)
        dispatched = Dispatched(aws.worker(), record, pointer(**group), seconds=60)
    finally:
        tasks.on_unreliable.clear()
    assert dispatched.outcomes == ["retrying", "deferred"]
    assert tasks.ran == []


@pytest.mark.parametrize("buckets", [(), ("other",), ("bucket2", "bucke")])
def test_a_pointer_into_another_bucket_is_rejected_without_a_call(aws: Aws, buckets: tuple[str, ...]) -> None:
    """Payloads lie in the buckets that the setting names: nobody else decides what the function reads."""
    dispatched = Dispatched(aws.worker(buckets), add(1), pointer(), add(2))
    assert dispatched.outcomes == ["succeeded", "rejected", "succeeded"]
    assert isinstance(dispatched.errors[1], PayloadNotAllowed)
    assert aws.asked == []


def test_every_bucket_of_the_setting_is_read(aws: Aws) -> None:
    """Producers put into the first bucket; messages may point into each."""
    read = Settings.from_environ({"LAMBDA_TASKS_PAYLOAD_BUCKET": "new-bucket, bucket"})
    assert read.payload_bucket == "new-bucket"
    aws.objects["k"] = message_body(ADD, number=1).encode()
    dispatched = Dispatched(aws.worker(read.payload_buckets), pointer(bucket="new-bucket"), pointer())
    assert dispatched.outcomes == ["succeeded", "succeeded"]


@pytest.mark.parametrize(
    ("content", "outcome", "error"),
    [
        (404, "rejected", PayloadNotFound),
        (403, "retrying", PayloadUnavailable),
        (400, "retrying", PayloadUnavailable),
        (b"no JSON", "rejected", None),
        (b"", "rejected", None),
        (b"\xff\xfe", "rejected", None),
    ],
)
def test_a_bad_payload_is_its_own_messages_outcome(
    aws: Aws, content: bytes | int, outcome: str, error: type[Exception] | None
) -> None:
    """A payload that is gone, or no message, rejects; one that S3 does not show for now is asked for again."""
    aws.objects["k"] = content
    dispatched = Dispatched(aws.worker(), add(1), pointer(), add(2))
    assert dispatched.outcomes == ["succeeded", outcome, "succeeded"]
    assert error is None or isinstance(dispatched.errors[1], error)


@pytest.mark.parametrize("key", ["\ud800", "a\udfffb", "x\ud83d"])
def test_a_key_that_is_no_text_is_malformed(aws: Aws, key: str) -> None:
    """A pointer whose key has no form in UTF-8 names no object."""
    answer: Any = dispatch(sqs_event(add(1), pointer(key), add(2)), Context(), aws.worker())
    assert len(answer["batchItemFailures"]) == 1
    assert tasks.ran == [1, 2]
    assert aws.asked == []


def test_a_payload_may_have_a_quarter_of_the_functions_memory(aws: Aws) -> None:
    """A larger payload is its message's failure, before it is read."""
    fits = message_body("catalogue.tasks.note", text="x" * MIB).encode()
    aws.objects = {"fits": fits, "large": fits + b" " * (33 * MIB)}
    made = aws.worker(AWS_LAMBDA_FUNCTION_MEMORY_SIZE="128")
    dispatched = Dispatched(made, pointer("fits"), pointer("large"), add(1))
    assert dispatched.outcomes == ["succeeded", "failed", "succeeded"]
    assert isinstance(dispatched.errors[1], PayloadTooLarge)
    assert "33,554,432 is the most (object s3://bucket/large)" in str(dispatched.errors[1])


def test_payloads_share_that_memory(aws: Aws) -> None:
    """Payloads that do not fit beside the others are left for the next invocation, at once."""
    aws.objects["k"] = message_body("catalogue.tasks.note", text="x" * (10 * MIB)).encode()
    made = aws.worker(AWS_LAMBDA_FUNCTION_MEMORY_SIZE="128")
    dispatched = Dispatched(made, *[pointer()] * 5)
    assert sorted(report.outcome.value for report in dispatched.reports.values()) in (["succeeded"], ["deferred"])
    distinct = Dispatched(made, *[pointer() for _ in range(5)])
    assert sorted(distinct.outcomes) == ["deferred", "deferred", "succeeded", "succeeded", "succeeded"]
    assert sum(isinstance(error, NoRoomForPayload) for error in distinct.errors) == 2
    assert aws.visibility[-2:] == [0, 0]


@pytest.mark.parametrize(
    ("size", "expected"), [("512", 128 * MIB), ("", 256 * MIB), ("x", 256 * MIB), ("0", 256 * MIB)]
)
def test_unknown_memory_is_that_of_a_gibibyte(size: str, expected: int) -> None:
    """Where Lambda does not say how much memory there is, a payload may have 256 MiB."""
    assert memory_for_payloads({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": size}) == expected


class _NoThreads(threading.Thread):
    """A thread that cannot be started to fetch a payload, but for so many."""

    left = 0

    def start(self) -> None:
        if self.name == "lambda-tasks-payload":
            if type(self).left <= 0:
                raise RuntimeError("can't start new thread")
            type(self).left -= 1
        super().start()


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_fewer_threads_fetch_as_well(aws: Aws, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """Where the system starts no further thread, those that run fetch everything, or this one does."""
    aws.objects = {str(number): message_body(ADD, number=number).encode() for number in range(4)}
    made = aws.worker()
    monkeypatch.setattr(_NoThreads, "left", threads)
    monkeypatch.setattr(threading, "Thread", _NoThreads)
    job_outcomes = Dispatched(made, *[pointer(str(number)) for number in range(4)], add(9), seconds=30).outcomes
    assert job_outcomes == ["succeeded"] * 5


class _Broken(SignedCalls):
    """Calls of which those to S3 raise whatever they are given."""

    def __init__(self, made: Worker, error: BaseException) -> None:
        super().__init__(made.transport, made.environ)
        self._error = error

    def get_object(self, *_: object, **__: object) -> bytes:
        raise self._error


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (MemoryError(), "retrying"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"), "failed"),
        (RecursionError(), "failed"),
        (KeyboardInterrupt(), "failed"),
        (SystemExit(1), "failed"),
    ],
)
def test_whatever_fetching_raises_is_the_messages_outcome(aws: Aws, error: BaseException, outcome: str) -> None:
    """No error of a payload leaves the handler, whatever its class is."""
    made = aws.worker()
    made._calls = _Broken(made, error)
    jobs = Dispatched(made, add(1), pointer(), add(2), seconds=30)
    assert jobs.outcomes == ["succeeded", outcome, "succeeded"]


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules, which are forgotten with the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a module that changes within a second is read anew
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.startswith("moody"):
            del sys.modules[name]


MOODY = """
import builtins, pathlib
from lambda_tasks import task
from moody import part
folder = pathlib.Path(__file__).parent
with (folder / "imports").open("a") as log:
    log.write("x")
if (folder / "mood").exists():
    raise getattr(builtins, (folder / "mood").read_text())("no connection")

@task
def run(*, number: int) -> int:
    return number
"""


@pytest.mark.parametrize("error", ["ConnectionError", "ImportError", "SystemExit", "KeyboardInterrupt", "MemoryError"])
@pytest.mark.parametrize("place", ["moody/__init__.py", "moody/tasks.py"])
def test_a_module_that_raises_is_tried_again(aws: Aws, modules: Path, place: str, error: str) -> None:
    """Its messages are tried again with backoff, it is imported once an invocation, and anew in the next."""
    package = modules / "moody"
    package.mkdir()
    for name in ("__init__.py", "part.py"):
        (package / name).write_text("")
    (package / "tasks.py").write_text(
        "from lambda_tasks import task\n@task\ndef run(*, number: int) -> int: return number\n"
    )
    (modules / place).write_text(MOODY)
    (package / "mood").write_text(error)
    name = "moody.tasks.run"
    made = aws.worker()
    records = [sqs_record(message_body(name, number=1)), add(1), sqs_record(message_body(name, number=2))]
    for times in (1, 2):
        dispatched = Dispatched(made, *records)
        assert dispatched.outcomes == ["retrying", "succeeded", "retrying"]
        assert (package / "imports").read_text() == "x" * times
    assert type(dispatched.errors[0]).__name__ == error
    assert aws.visibility == [15, 15, 15, 15]
    assert "moody.tasks" not in sys.modules
    assert ("moody.part" in sys.modules) == ("moody" in sys.modules)  # what is left of a package goes with it

    (package / "mood").unlink()
    assert Dispatched(made, *records).outcomes == ["succeeded"] * 3
    assert sys.modules["moody"].part is sys.modules["moody.part"]


def test_a_package_that_raises_is_imported_once_for_all_its_modules(aws: Aws, modules: Path) -> None:
    """Messages for several modules below one that raised do not import it again either."""
    package = modules / "moody"
    package.mkdir()
    (package / "part.py").write_text("")
    (package / "__init__.py").write_text(MOODY)
    (package / "mood").write_text("ConnectionError")
    records = [sqs_record(message_body(f"moody.module_{number}.run")) for number in range(3)]
    assert Dispatched(aws.worker(), *records).outcomes == ["retrying"] * 3
    assert (package / "imports").read_text() == "x"


def test_a_module_whose_import_hangs_leaves_the_others_their_time(aws: Aws, modules: Path) -> None:
    """An import is stopped after a part of the invocation's time, and its messages are tried again."""
    (modules / "moody.py").write_text("import time\nwhile True: time.sleep(0.01)\n")
    records = [add(1), sqs_record(message_body("moody.run")), add(2), sqs_record(message_body("moody.run"))]
    dispatched = Dispatched(aws.worker(), *records, seconds=1)
    assert dispatched.outcomes == ["succeeded", "retrying", "succeeded", "retrying"]
    assert isinstance(dispatched.errors[1], HardTimeLimitExceeded)
    assert "moody" not in sys.modules


def test_an_import_is_stopped_in_another_thread_too(aws: Aws, modules: Path) -> None:
    """A handler outside of the main thread, as in a local server, stops it as well."""
    (modules / "moody.py").write_text("import time\nwhile True: time.sleep(0.01)\n")
    answers: list[Any] = []
    made = aws.worker()
    event = sqs_event(sqs_record(message_body("moody.run")), add(1))
    thread = threading.Thread(target=lambda: answers.append(dispatch(event, Context(1), made)))
    thread.start()
    thread.join(30)
    assert len(answers[0]["batchItemFailures"]) == 1
    assert tasks.ran == [1]


@pytest.mark.parametrize(
    ("source", "outcome"),
    [
        ("from lambda_tasks import task\n@task(nonsense=1)\ndef run() -> None: ...\n", "retrying"),
        ("import moody_missing\n", "retrying"),
        ("def __getattr__(name):\n    raise ConnectionError\n", "failed"),
        ("run = 1\n", "rejected"),
        ("", "rejected"),
    ],
)
def test_of_a_module_that_is_there_only_its_names_reject(aws: Aws, modules: Path, source: str, outcome: str) -> None:
    """Whatever a module raises is no reason to refuse a message; that it has no such task is."""
    (modules / "moody.py").write_text(source)
    assert Dispatched(aws.worker(), sqs_record(message_body("moody.run")), add(1)).outcomes == [outcome, "succeeded"]


DECODED = """
from dataclasses import dataclass
from lambda_tasks import Item, task

@dataclass
class Order:
    number: int
    def __post_init__(self):
        raise {error}
    def __repr__(self):
        raise RuntimeError

@task
def run(*, order: Order) -> None: ...

@dataclass
class Shown:
    number: dict
    def __repr__(self):
        raise RuntimeError("no form")

@dataclass
class Line:
    shown: Shown

@task(batch=True, singleton=("shown",))
def many(*, items: list[Item[Line]]) -> None: ...
"""


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        ("MemoryError", "retrying"),
        ("UnicodeError('canary')", "rejected"),
        ("RuntimeError", "failed"),
        ("SystemExit", "failed"),
        ("KeyboardInterrupt", "failed"),
    ],
)
def test_whatever_decoding_raises_is_the_messages_outcome(aws: Aws, modules: Path, error: str, outcome: str) -> None:
    """The code of a dataclass that is made of kwargs harms its own message alone."""
    (modules / "moody.py").write_text(DECODED.format(error=error))
    records = [add(1), sqs_record(message_body("moody.run", order={"number": 1})), add(2)]
    assert Dispatched(aws.worker(), *records).outcomes == ["succeeded", outcome, "succeeded"]


def test_a_batch_whose_values_cannot_be_compared_fails_alone(aws: Aws, modules: Path) -> None:
    """Messages of a batch task are put together by what they hold; one that cannot be is its own failure."""
    (modules / "moody.py").write_text(DECODED.format(error="RuntimeError"))
    records = [add(1), sqs_record(message_body("moody.many", shown={"number": {}})), add(2)]
    assert Dispatched(aws.worker(), *records).outcomes == ["succeeded", "failed", "succeeded"]
