"""A server between a client and an AWS service, which loses what a test tells it to lose."""

from __future__ import annotations

import contextlib
import enum
import http.client
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


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


@dataclass
class FaultProxy:
    """The proxy's address, and the faults of the next requests, one each. Without one a request is passed on."""

    url: str
    faults: list[Fault] = field(default_factory=list)
    requests: int = 0
    # Every request: its target, as in AmazonSQS.SendMessage, and its body.
    seen: list[tuple[str, bytes]] = field(default_factory=list)


@contextlib.contextmanager
def serve(endpoint_url: str) -> Iterator[FaultProxy]:
    """Stand before the service at `endpoint_url`, on a free loopback port."""
    host = endpoint_url.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer is one packet: a second one would wait for the first to be acknowledged

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            proxy.requests += 1
            proxy.seen.append((self.headers.get("X-Amz-Target", ""), body))
            fault = proxy.faults.pop(0) if proxy.faults else None
            answer = (0, b"") if fault and not fault.is_after else self.passed_on(body)
            if fault is None:
                self.answer(*answer)
            elif fault.status is not None:
                self.answer(fault.status, b'{"__type": "com.amazon#AccessDeniedException"}')
            else:
                self.close_connection = True

        def passed_on(self, body: bytes) -> tuple[int, bytes]:
            with contextlib.closing(http.client.HTTPConnection(host)) as connection:
                connection.request("POST", self.path, body, dict(self.headers.items()))
                response = connection.getresponse()
                return response.status, response.read()

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
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
