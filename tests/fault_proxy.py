"""A server between a client and an AWS service, which loses what a test tells it to lose."""

from __future__ import annotations

import contextlib
import enum
import http.client
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Fault(enum.Enum):
    """A fault of one request, and whether the service saw it. The last two are not tried again by the client."""

    REQUEST_LOST = enum.auto()
    ANSWER_LOST = enum.auto()
    SERVER_ERROR = enum.auto()
    SERVER_ERROR_AFTERWARDS = enum.auto()
    REFUSED = enum.auto()
    REFUSED_AFTERWARDS = enum.auto()

    @property
    def is_after(self) -> bool:
        """Whether the service does what it is asked."""
        return self in (Fault.ANSWER_LOST, Fault.SERVER_ERROR_AFTERWARDS, Fault.REFUSED_AFTERWARDS)

    @property
    def status(self) -> int | None:
        """The status of the answer; None for no answer at all."""
        if self in (Fault.REFUSED, Fault.REFUSED_AFTERWARDS):
            return 400
        return 500 if self in (Fault.SERVER_ERROR, Fault.SERVER_ERROR_AFTERWARDS) else None


@dataclass(frozen=True)
class Encounter:
    """What meets one request on its way: something happens before it, and after it; the answer may be swallowed.

    A request that `is_swallowed` is accepted, and nobody answers until the client gives up. Before or after the service
    saw it: that is `is_passed_on`.
    """

    before: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None
    is_passed_on: bool = True
    is_swallowed: bool = False


@dataclass
class FaultProxy:
    """Where it answers, and the faults of the next requests, one each; without one a request is passed on.

    `meets` is asked for each request first, by its operation, such as ``SendMessage`` (for a REST API its method), and
    its body. What `serves` answers, with status and body, does not reach the service.
    """

    url: str
    faults: list[Fault] = field(default_factory=list)
    requests: int = 0
    # Every request: its target, as in AmazonSQS.SendMessage, and its body.
    seen: list[tuple[str, bytes]] = field(default_factory=list)
    meets: Callable[[str, bytes], Encounter | None] = lambda _operation, _body: None
    serves: Callable[[str, bytes], tuple[int, bytes] | None] = lambda _operation, _body: None


@contextlib.contextmanager
def serve(endpoint_url: str) -> Iterator[FaultProxy]:
    """Stand before the service at `endpoint_url`, on a free loopback port."""
    host = endpoint_url.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer is one packet: a second one would wait for the first to be acknowledged

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            proxy.requests += 1
            proxy.seen.append((self.headers.get("X-Amz-Target", ""), body))
            if encounter := proxy.meets(self.operation, body):
                self.meet(encounter, body)
                return
            fault = proxy.faults.pop(0) if proxy.faults else None
            answer = (0, b"") if fault and not fault.is_after else self.passed_on(body)
            if fault is None:
                self.answer(*answer)
            elif fault.status is not None:
                self.answer(fault.status, b'{"__type": "com.amazon#AccessDeniedException"}')
            else:
                self.close_connection = True

        def do_GET(self) -> None:
            self.do_POST()

        def meet(self, encounter: Encounter, body: bytes) -> None:
            encounter.before()
            answer = self.passed_on(body) if encounter.is_passed_on else (0, b"")
            encounter.after()
            if encounter.is_swallowed:
                with contextlib.suppress(OSError):
                    self.connection.recv(1)  # the client sends no more: this returns when it has gone
            if encounter.is_swallowed or not encounter.is_passed_on:
                self.close_connection = True
            else:
                self.answer(*answer)

        @property
        def operation(self) -> str:
            return str(self.headers.get("X-Amz-Target", self.command)).rpartition(".")[2]

        def passed_on(self, body: bytes) -> tuple[int, bytes]:
            if served := proxy.serves(self.operation, body):
                return served
            with contextlib.closing(http.client.HTTPConnection(host)) as connection:
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                response = connection.getresponse()
                return response.status, response.read()

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the client may have been killed meanwhile
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Keep quiet: a client may be killed at any moment."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy = FaultProxy(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
