"""The HTTP client against servers that answer well, badly, slowly and not at all."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fault_server import Script, answer, drip, hang, read_request, reset, respond, serve, serve_requests
from lambda_tasks.aws.connection import Connector
from lambda_tasks.aws.http import Client, DeadlineExceeded, HttpError, NoAnswer, Response
from lambda_tasks.aws.url import Url


@pytest.fixture
def client() -> Iterator[Client]:
    with contextlib.closing(Client(Connector({}))) as client:
        yield client


def post(client: Client, url: str, seconds: float = 20.0, patience: float | None = None) -> Response:
    parsed, deadline = Url.parse(url), time.monotonic() + seconds
    headers = {"Host": parsed.authority}
    return client.request("POST", parsed, headers, b"{}", deadline=deadline, patience_seconds=patience)


@pytest.mark.parametrize(
    "script",
    [
        answer(b"good"),
        respond(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngo", b"od"),
        respond(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\ngoo\r\n1\r\nd\r\n0\r\nTrailer: t\r\n\r\n"
        ),
        respond(b"HTTP/1.0 200 OK\r\n\r\ngo", b"od"),
    ],
)
def test_answers_of_every_framing(client: Client, script: Script) -> None:
    """A body is read whole whether it has a length, comes in chunks, or ends with the connection."""
    with serve(script) as server:
        response = post(client, server.url)
        assert (response.status, response.body) == (200, b"good")
        assert server.heads[0].startswith(b"POST / HTTP/1.1\r\nHost: 127.0.0.1:")
        assert b"canary" not in repr(Response(200, {}, b"canary")).encode()


@pytest.mark.parametrize(
    ("script", "message", "retryable"),
    [
        (reset, "Connection reset by peer while waiting for", True),
        (respond(), "the connection was closed before the answer was complete", True),
        (answer(b"short", length=6), "the connection was closed before the answer was complete", True),
        (respond(b"SSH-2.0-OpenSSH\r\n\r\n"), "the answer is not HTTP", False),
        (respond(b"HTTP/1.1 abc\r\n\r\n"), "the answer is not HTTP", False),
        (respond(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000), "the answer is not HTTP", False),
        (answer(b"", length=100 << 20), "the answer is larger than 8388608 bytes", False),
        (answer(b"", "Content-Length: -1"), "the answer's length is not a number", False),
        (respond(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"), "the answer's length is not a number", False),
        (respond(b"HTTP/1.0 200 OK\r\n\r\n", *[b"x" * (1 << 20)] * 9), "the answer is larger than 8388608 bytes", False),
    ],
)  # fmt: skip
def test_answers_that_are_broken(client: Client, script: Script, message: str, *, retryable: bool) -> None:
    """A broken answer is an error that says how, and whether another try may help."""
    with serve(script) as server, pytest.raises(HttpError, match=message) as caught:
        post(client, server.url)
    assert caught.value.retryable is retryable


def test_nobody_there_is_worth_another_try(client: Client) -> None:
    """A refused connection says which address, and may be tried again."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(HttpError, match=f"Connection refused while connecting to 127.0.0.1:{port}") as caught:
        post(client, f"http://127.0.0.1:{port}")
    assert caught.value.retryable


@pytest.mark.parametrize("kind", ["hang", "drip", "drip body"])
def test_the_deadline_bounds_the_whole_answer(client: Client, kind: str) -> None:
    """A server that never answers, or answers byte by byte for ever, is given up at the deadline."""
    stop = threading.Event()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"

    def drip_body(connection: socket.socket) -> None:
        connection.sendall(head)
        drip(b"x" * 1000, stop)(connection)

    script = {"hang": hang(stop), "drip": drip(head, stop), "drip body": drip_body}[kind]
    with serve(script) as server:
        with pytest.raises(DeadlineExceeded, match=r"no time left while waiting for 127\.0\.0\.1"):
            post(client, server.url, seconds=0.3)
        stop.set()
    with pytest.raises(DeadlineExceeded, match="no time left while connecting to"):
        post(client, "http://127.0.0.1:9", seconds=0)


def test_a_connection_serves_several_requests(client: Client) -> None:
    """A connection whose answer was read to its end is used again; one that the server closed is not."""

    def twice(connection: socket.socket) -> None:
        answer(b"first")(connection)
        server.heads.append(read_request(connection))
        answer(b"second")(connection)

    with serve(twice, answer(b"third")) as server:
        assert [post(client, server.url).body for _ in range(3)] == [b"first", b"second", b"third"]
    assert len(server.heads) == 3


def test_a_kept_connection_that_breaks_is_replaced(client: Client) -> None:
    """A connection that the server closes just when it is used again costs nothing: a new one is opened."""

    def answer_once(connection: socket.socket) -> None:
        answer(b"first")(connection)
        read_request(connection)

    with serve(answer_once, answer(b"second")) as server:
        assert [post(client, server.url).body for _ in range(2)] == [b"first", b"second"]


@pytest.mark.parametrize("headers", [["Connection: close"], []])
def test_a_connection_that_cannot_be_used_again_is_closed(client: Client, headers: list[str]) -> None:
    """A server that says so, or sends more than it announced, gets a new connection for the next request."""
    extra = b"" if headers else b"left over"
    with serve(answer(b"good" + extra, *headers, length=4)) as server:
        assert [post(client, server.url).body for _ in range(2)] == [b"good", b"good"]


def test_a_fork_opens_connections_of_its_own(client: Client) -> None:
    """A child process does not write into the connections that its parent keeps."""

    def serve_many(connection: socket.socket) -> None:
        while True:
            answer(b"good")(connection)
            if not read_request(connection):
                return

    with serve(serve_many) as server:
        post(client, server.url)
        parent = {s.fileno() for sockets in client._idle.values() for s in sockets}
        child = os.fork()
        if not child:
            ok = not client._take_idle(Url.parse(server.url))
            os._exit(0 if ok and not client._idle else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert parent
        client.close()


@given(st.binary(max_size=200))
def test_no_answer_breaks_the_client_otherwise(data: bytes) -> None:
    """The client returns a response or raises its own error, for any bytes of a server."""
    client = Client(Connector({}))
    with serve(respond(data)) as server, contextlib.closing(client), contextlib.suppress(HttpError):
        post(client, server.url)


@pytest.mark.parametrize("status", ["²00", "20", "2x0", "+20"])
def test_a_status_is_three_digits(client: Client, status: str) -> None:
    """A status of other characters than the digits of ASCII is no HTTP."""
    head = f"HTTP/1.1 {status} OK\r\nContent-Length: 0\r\n\r\n"
    with serve(respond(head.encode("latin-1"))) as server, pytest.raises(HttpError, match="the answer is not HTTP"):
        post(client, server.url)


@pytest.mark.parametrize("length", ["²", "+4", "1_0", "0x4", "", "9" * 5000])
def test_a_length_is_digits(client: Client, length: str) -> None:
    """A length that Python would read as a number, and HTTP does not, is refused."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\ngood"
    with serve(respond(head.encode("latin-1"))) as server, pytest.raises(HttpError, match="not a number"):
        post(client, server.url)


def test_kept_connections_that_fell_silent_cost_one_try(client: Client) -> None:
    """Where one kept connection gets no answer, those that were kept beside it are not tried either."""
    together, silent = threading.Barrier(3), threading.Event()

    def script(connection: socket.socket, *_: bytes) -> None:
        if silent.is_set() and connection not in new:
            stop.wait(30)
            return
        if not silent.is_set():
            together.wait(20)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")

    class New:
        """Connections that were opened after the others fell silent: those with a port that was not seen before."""

        def __init__(self) -> None:
            self.before: set[int] = set()

        def __contains__(self, connection: socket.socket) -> bool:
            return connection.getpeername()[1] not in self.before

    new, stop = New(), threading.Event()
    with serve_requests(script) as server:
        with ThreadPoolExecutor(3) as threads:
            answers = [threads.submit(post, client, server.url) for _ in range(3)]
            assert [one.result().body for one in answers] == [b"good"] * 3
        new.before = {kept.getsockname()[1] for kept in client._idle[Url.parse(server.url).origin]}
        assert len(new.before) == 3
        silent.set()
        with pytest.raises(NoAnswer, match=r"no answer while waiting for 127\.0\.0\.1"):
            post(client, server.url, patience=0.2)
        assert post(client, server.url, patience=5).body == b"good"
        stop.set()
        client.close()


def test_what_moves_is_waited_for(client: Client) -> None:
    """A large answer that keeps coming may take longer than one try's patience, one that drips may not."""
    steps, size = 5, 64 * 1024
    resume = [threading.Event() for _ in range(steps)]

    def in_steps(connection: socket.socket) -> None:
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {steps * size}\r\n\r\n".encode())
        for event in resume:
            event.wait(0.3)  # nothing sets it: each part comes late, all of them later than the patience
            connection.sendall(b"x" * size)

    with serve(in_steps) as server:
        assert len(post(client, server.url, patience=1).body) == steps * size
    stop = threading.Event()
    with serve(drip(b"HTTP/1.1 200 OK\r\n" + b"x" * 1000, stop)) as server:
        with pytest.raises(NoAnswer):
            post(client, server.url, patience=0.3)
        stop.set()


def test_a_large_request_is_sent_whole(client: Client) -> None:
    """A body of several parts arrives as it is."""
    body = os.urandom(300_000)
    with serve(answer(b"good")) as server:
        url = Url.parse(server.url)
        response = client.request("PUT", url, {"Host": "a"}, body, deadline=time.monotonic() + 20, patience_seconds=5)
        assert (response.body, server.bodies[0]) == (b"good", body)
