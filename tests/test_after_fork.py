"""A forked child, and what it must not share with its parent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from certificates import make_authority
from events import message_body, sqs_record
from fault_server import answer, serve_requests
from lambda_tasks import after_fork
from lambda_tasks.aws.boto3_calls import Boto3Calls
from lambda_tasks.aws.credentials import CredentialChain, _Search
from lambda_tasks.aws.trust import TrustStore
from lambda_tasks.limits.timer import Timer
from lambda_tasks.settings import Settings
from workers import Dispatched, worker
from wrapper import ROOT, base_environ


def answer_by_number(connection: Any, _: bytes, body: bytes) -> None:
    """Answer as SQS does, with message ids that say which number they are of."""
    request = json.loads(body)
    content: dict[str, Any]
    if "Entries" in request:
        sent = [{"Id": one["Id"], "MessageId": _id_of(one), "MD5OfMessageBody": ""} for one in request["Entries"]]
        content = {"Successful": sent, "Failed": []}
    else:
        content = {"MessageId": _id_of(request)}
    answer(json.dumps(content).encode())(connection)


def _id_of(message: dict[str, str]) -> str:
    return f"id-{json.loads(message['MessageBody'])['kwargs']['number']}"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("way", ["boto3", "signed"])
def test_each_process_gets_its_own_answers(way: str, scheme: str, tmp_path: Path) -> None:
    """Where a producer forks, no message id of parent or child is another process's."""
    authority = make_authority(tmp_path)
    tls = authority.server_context("127.0.0.1") if scheme == "https" else None
    with serve_requests(answer_by_number, tls=tls) as server:
        environ = base_environ(f"{scheme}://127.0.0.1:{server.port}") | {
            "AWS_CA_BUNDLE": str(authority.bundle),
            "LAMBDA_TASKS_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/q",
            "PYTHONPATH": f"{ROOT / 'python'}:{ROOT / 'tests'}",
        }
        if way == "signed":
            environ["AWS_LAMBDA_RUNTIME_API"] = "127.0.0.1:9"
        program = [sys.executable, "-m", "forked_producers"]
        finished = subprocess.run(program, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (finished.stdout.split("\n"), finished.stderr) == (["[]"] * 4 + [""], "")


def in_child(function: Callable[[], object]) -> str:
    """Fork, call `function` in the child, and return what it raised there, or nothing."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            function()
        except BaseException:  # noqa: BLE001 - it is the result
            os.write(write, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        raised = pipe.read().decode()
    os.waitpid(child, 0)
    return raised


def test_no_lock_of_the_parent_is_waited_for() -> None:
    """A child has locks of its own, searches for credentials by itself, and its timer rings."""
    environ = {"AWS_ACCESS_KEY_ID": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://192.0.2.1/"}
    chain, trust, timer, boto3_calls = CredentialChain(environ), TrustStore({}), Timer(), Boto3Calls()
    chain._search = _Search(time.monotonic() + 3600)
    chain._boto3 = chain._boto3 or (lambda: pytest.fail("the parent's session is used"))
    timer.at(time.monotonic() + 3600, lambda: None)
    boto3_calls._calling.add(1)

    def use() -> None:
        assert (chain._search, chain._boto3) == (None, None)
        for holder in (chain, trust, boto3_calls):
            assert holder._lock.acquire(timeout=10)
        rung = threading.Event()
        timer.at(time.monotonic(), rung.set)
        assert rung.wait(10)
        assert len(timer._alarms) == 0

    with chain._lock, trust._lock, boto3_calls._lock, timer._changed:
        assert in_child(use) == ""
    assert len(timer._alarms) == 1


def test_the_event_loop_stays_the_parents() -> None:
    """A child runs async tasks in a loop of its own, and the parent's still wakes up when the child has gone."""
    made = worker(Settings())

    def outcomes() -> list[str]:
        return Dispatched(made, sqs_record(message_body("catalogue.raising.wake_up"))).outcomes

    assert outcomes() == ["succeeded"]
    loop = made.loop

    def use() -> None:
        assert made.loop is None
        assert outcomes() == ["succeeded"]
        assert made.loop is not loop
        made.close()

    assert in_child(use) == ""
    assert outcomes() == ["succeeded"]
    assert made.loop is loop


def test_a_fork_waits_for_threads_that_end() -> None:
    """A thread that is noted is gone from the system when the process forks, as far as Python has done with it."""
    noted: list[int] = []

    def note() -> None:
        after_fork.note_thread()
        noted.append(threading.get_native_id())

    threads = [threading.Thread(target=note) for _ in range(70)]
    for thread in threads:
        thread.start()
        thread.join()

    def look() -> None:
        assert not after_fork._threads

    assert len(after_fork._threads) <= 64
    assert in_child(look) == ""
    assert not after_fork._threads & set(noted)
