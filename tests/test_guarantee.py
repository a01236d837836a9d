"""What the resolver guarantees where the network fails: each row of the table in SECURITY.md is run, and compared.

A row is bounded by the time that it promises, and not by what a machine takes for it: `MARGIN_SECONDS` is for a machine
that does other things as well.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from certificates import Authority, make_authority
from fault_server import (
    RequestScript,
    Script,
    answer,
    dead_address,
    drip,
    hang,
    refusing_address,
    reset,
    respond,
    serve,
    serve_requests,
)
from lambda_tasks.aws.addresses import Addresses
from lambda_tasks.aws.connection import Connector
from lambda_tasks.aws.credentials import CredentialChain
from lambda_tasks.aws.transport import Transport
from lambda_tasks.environment.resolver import resolve
from lambda_tasks.errors import CredentialsNotFound, LambdaTasksError, ResolveTimeout, ServiceUnavailable
from lambda_tasks.settings import Settings
from wrapper import ROOT, base_environ, secret_arn

MARGIN_SECONDS = 3.0
BUDGET_SECONDS = 8.0
TRY_SECONDS = 2.7  # a third of the budget
ARNS = [secret_arn(f"shop-{number}-AbCdEf") for number in range(6)]


@dataclass
class Scene:
    """What a row sets up: where requests go, and what else is in the environment."""

    stack: contextlib.ExitStack
    authority: Authority
    stop: threading.Event = field(default_factory=threading.Event)
    environ: dict[str, str] = field(default_factory=dict)
    addresses: Addresses | None = None
    secrets: int = 1

    def serves(self, *scripts: Script) -> None:
        """Answer each connection by the next script."""
        self.environ["AWS_ENDPOINT_URL"] = self.stack.enter_context(serve(*scripts)).url

    def serves_requests(self, script: RequestScript) -> None:
        """Answer each request, of several secrets."""
        self.environ["AWS_ENDPOINT_URL"] = self.stack.enter_context(serve_requests(script)).url
        self.secrets = len(ARNS)

    def is_found_at(self, *ports: int) -> None:
        """Give the service's name these addresses."""
        kinds = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        self.addresses = Addresses(lambda *_: [(*kinds, ("127.0.0.1", port)) for port in ports])
        self.environ["AWS_ENDPOINT_URL"] = "http://service.example"


def content(arn: str) -> bytes:
    version = "11111111-2222-3333-4444-555555555555"
    return json.dumps(
        {"ARN": arn, "Name": "shop", "VersionId": version, "VersionStages": ["AWSCURRENT"], "SecretString": "v"}
    ).encode()


GOOD = answer(content(ARNS[0]))
BUSY = answer(b"", status="503 Service Unavailable")
THROTTLED = answer(b'{"__type": "ThrottlingException"}', status="400 Bad Request")


def good_for_each(connection: socket.socket, _: bytes, body: bytes) -> None:
    answer(content(json.loads(body)["SecretId"]))(connection)


def until(seconds: float, fault: Script) -> Script:
    """Be faulty for so long, and good from then on."""
    recovers_at = time.monotonic() + seconds

    def script(connection: socket.socket) -> None:
        (fault if time.monotonic() < recovers_at else GOOD)(connection)

    return script


def half_close(connection: socket.socket) -> None:
    """End the own half without an answer, and keep the other one open."""
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)


def one_address_is_dead(scene: Scene) -> None:
    good = scene.stack.enter_context(serve(GOOD))
    scene.is_found_at(scene.stack.enter_context(dead_address()), good.port)


def every_address_is_dead(scene: Scene) -> None:
    scene.is_found_at(*(scene.stack.enter_context(dead_address()) for _ in range(2)))


def one_address_is_silent(scene: Scene) -> None:
    silent, good = scene.stack.enter_context(serve(hang(scene.stop))), scene.stack.enter_context(serve(GOOD))
    scene.is_found_at(silent.port, good.port)


def nobody_listens(scene: Scene) -> None:
    scene.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{refusing_address()}"


def the_name_is_not_looked_up(scene: Scene) -> None:
    def look_up(*_: object) -> list[Any]:
        scene.stop.wait(30)
        return []

    scene.addresses = Addresses(look_up)
    scene.environ["AWS_ENDPOINT_URL"] = "http://service.example"


def the_clock_is_wrong(scene: Scene) -> None:
    """The server's clock is an hour ahead: what is signed by another one is refused."""

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        ahead = time.gmtime(time.time() + 3600)
        if time.strftime("X-Amz-Date: %Y%m%dT%H", ahead).encode() in head:
            good_for_each(connection, head, body)
            return
        date = time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT", ahead)
        answer(b'{"__type": "InvalidSignatureException"}', date, status="400 Bad Request")(connection)

    scene.serves_requests(script)


def credentials_from(scene: Scene, *scripts: Script) -> None:
    scene.serves_requests(good_for_each)
    endpoint = scene.stack.enter_context(serve(*scripts))
    scene.environ |= {"AWS_ACCESS_KEY_ID": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": endpoint.url}


CREDENTIALS = answer(b'{"AccessKeyId": "id", "SecretAccessKey": "key", "Token": "token"}')


def credentials_are_late(scene: Scene) -> None:
    credentials_from(scene, hang(scene.stop), BUSY, answer(b"{broken"), CREDENTIALS)


def the_proxy_is_down(scene: Scene) -> None:
    scene.environ |= {
        "AWS_ENDPOINT_URL": "https://127.0.0.1:9",
        "HTTPS_PROXY": f"http://127.0.0.1:{refusing_address()}",
    }


def the_certificate_is(scene: Scene, host: str, *, expired: bool = False) -> None:
    server = scene.stack.enter_context(serve(GOOD, tls=scene.authority.server_context(host, expired=expired)))
    scene.environ |= {
        "AWS_ENDPOINT_URL": f"https://127.0.0.1:{server.port}",
        "AWS_CA_BUNDLE": str(scene.authority.bundle),
    }


@dataclass(frozen=True)
class Row:
    """A row of the table: a fault, what is done about it, what comes of it, and after which time at the latest."""

    fault: str
    deed: str
    longest_seconds: float
    set_up: Callable[[Scene], None]
    error: type[LambdaTasksError] | None = None
    names: str = ""

    @property
    def outcome(self) -> str:
        if self.error is None:
            return "the values arrive"
        return f"`{self.error.__name__}`" + (f", which names `{self.names}`" if self.names else "")

    @property
    def longest(self) -> str:
        return f"{self.longest_seconds:g} s" if self.longest_seconds else "at once"


AGAIN = "tries again after a backoff with full jitter"
TO_THE_END = f"{AGAIN}, the last time half a second before the end"
ROWS = [
    Row("address dead: one of several", "connects to the next one after a quarter of a second, and asks it first from then on", 0.25, one_address_is_dead),
    Row("address dead: all of them", "gives each a second, and begins anew", BUDGET_SECONDS, every_address_is_dead, ResolveTimeout),
    Row("address refuses the connection", TO_THE_END, BUDGET_SECONDS, nobody_listens, ServiceUnavailable),
    Row("name is not looked up", "waits; the system's resolver asks again by itself", BUDGET_SECONDS, the_name_is_not_looked_up, ResolveTimeout),
    Row("silent: one connection", "gives it up after a third of the budget, and opens another one", TRY_SECONDS, lambda scene: scene.serves(hang(scene.stop), GOOD)),
    Row("silent: one address of several", "the same, and asks another address first from then on", TRY_SECONDS, one_address_is_silent),
    Row("silent: all connections", "tries three times, a third of the budget each", BUDGET_SECONDS, lambda scene: scene.serves(hang(scene.stop)), ResolveTimeout),
    Row("slow: one answer drips", "gives up what brings less than 64 KiB in a third of the budget, and asks again", TRY_SECONDS, lambda scene: scene.serves(drip(b"HTTP/1.1 200 OK\r\n" + b"x" * 9999, scene.stop), GOOD)),
    Row("slow: all answers drip", "the same, three times", BUDGET_SECONDS, lambda scene: scene.serves(drip(b"HTTP/1.1 200 OK\r\n" + b"x" * 9999, scene.stop)), ResolveTimeout),
    Row("half-closed: the server ends its half", AGAIN, 0.1, lambda scene: scene.serves(half_close, GOOD)),
    Row("closed without an answer", AGAIN, 0.1, lambda scene: scene.serves(respond(), GOOD)),
    Row("reset in the middle of an answer", AGAIN, 0.1, lambda scene: scene.serves(reset, GOOD)),
    Row("reset for ever", TO_THE_END, BUDGET_SECONDS, lambda scene: scene.serves(reset), ServiceUnavailable),
    Row("5xx until 7 s have passed", TO_THE_END, BUDGET_SECONDS, lambda scene: scene.serves(until(7, BUSY))),
    Row("5xx for ever", TO_THE_END, BUDGET_SECONDS, lambda scene: scene.serves(BUSY), ServiceUnavailable),
    Row("throttled until 7 s have passed", TO_THE_END, BUDGET_SECONDS, lambda scene: scene.serves(until(7, THROTTLED))),
    Row("throttled for ever", TO_THE_END, BUDGET_SECONDS, lambda scene: scene.serves(THROTTLED), ServiceUnavailable),
    Row("clock wrong", "signs each request that was refused for its time again, by the server's clock", 0, the_clock_is_wrong),
    Row("credentials late: the container's endpoint hangs, then answers 503, then nonsense", "asks again after at most 2 s, one thread for all; what the endpoint refuses thrice is final", 4, credentials_are_late),
    Row("credentials never", "the same", BUDGET_SECONDS, lambda scene: credentials_from(scene, BUSY), CredentialsNotFound, "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    Row("proxy down", TO_THE_END, BUDGET_SECONDS, the_proxy_is_down, ServiceUnavailable, "HTTPS_PROXY"),
    Row("TLS wrong: certificate expired", "sends nothing", 0, lambda scene: the_certificate_is(scene, "127.0.0.1", expired=True), ServiceUnavailable),
    Row("TLS wrong: certificate of another host", "sends nothing", 0, lambda scene: the_certificate_is(scene, "other.example"), ServiceUnavailable),
]  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What came of a row: the values or the error, and the seconds that it took."""

    exports: dict[str, str]
    error: LambdaTasksError | None
    seconds: float


def run(row: Row, authority: Authority) -> Outcome:
    """Resolve with the default budget where the row's fault is."""
    with contextlib.ExitStack() as stack:
        scene = Scene(stack, authority)
        stack.callback(scene.stop.set)
        row.set_up(scene)
        environ = {**base_environ(), **scene.environ}
        environ |= {f"LAMBDA_TASKS_SECRET_VALUE_{number}": ARNS[number] for number in range(scene.secrets)}
        connect = Connector(environ, addresses=scene.addresses)
        exports, failure = {}, None
        with contextlib.closing(Transport(CredentialChain(environ), environ, connect=connect)) as transport:
            started = time.monotonic()
            try:
                exports = dict(resolve(environ, Settings.from_environ(environ), transport).exports)
            except LambdaTasksError as error:
                failure = error
            seconds = time.monotonic() - started
        scene.stop.set()
        return Outcome(exports, failure, seconds)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Row, Future[Outcome]]]:
    """All rows, at the same time: most of it is waiting."""
    authority = make_authority(tmp_path_factory.mktemp("authority"))
    with ThreadPoolExecutor(len(ROWS)) as threads:
        yield {row: threads.submit(run, row, authority) for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=[row.fault for row in ROWS])
def test_a_row_holds(row: Row, outcomes: dict[Row, Future[Outcome]]) -> None:
    """Each fault ends as the table says, and within the time that it says."""
    outcome = outcomes[row].result()
    assert type(outcome.error) is (row.error or type(None)), outcome.error
    if row.error is None:
        assert set(outcome.exports.values()) == {"v"}
    if row.names:
        assert outcome.error
        assert {one.variable for one in outcome.error.errors} == {row.names}
    assert outcome.seconds <= row.longest_seconds + MARGIN_SECONDS


def table(rows: Sequence[Row]) -> str:
    """Return the table as it stands in SECURITY.md."""
    lines = ["| fault | what the resolver does | outcome | after at most |", "|---|---|---|---|"]
    lines += [f"| {row.fault} | {row.deed} | {row.outcome} | {row.longest} |" for row in rows]
    return "\n".join(lines) + "\n"


def test_the_table_is_published() -> None:
    """The table in SECURITY.md has these rows and no others, with the default budget."""
    print(table(ROWS))  # noqa: T201 - shown at the end of the run, see conftest.py
    assert Settings().resolve_timeout_seconds == BUDGET_SECONDS
    assert f"\n\n{table(ROWS)}\n" in (ROOT / "SECURITY.md").read_text()
