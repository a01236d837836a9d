"""Servers that misbehave on purpose: each connection is handled by the next of the given scripts."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Script = Callable[[socket.socket], None]
RequestScript = Callable[[socket.socket, bytes, bytes], None]


@dataclass
class FaultServer:
    """A server's address, and the heads and bodies of the requests that arrived."""

    port: int
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def read_request(connection: socket.socket) -> bytes:
    """Read one whole request and return its head."""
    return read_message(connection)[0]


def read_message(connection: socket.socket) -> tuple[bytes, bytes]:
    """Read one whole request and return its head and its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        received = connection.recv(65536)
        if not received:
            return data, b""
        data += received
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    length = lengths[0] if lengths else 0
    while len(body) < length:
        body += connection.recv(65536)
    return head, body


def respond(*parts: bytes) -> Script:
    """Answer with exactly these bytes, then close."""

    def script(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)

    return script


def answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> Script:
    """Answer with a body; `length` tells another size than it has."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return respond("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def drip(data: bytes, stop: threading.Event) -> Script:
    """Answer one byte at a time, so slowly that it never ends by itself."""

    def script(connection: socket.socket) -> None:
        for byte in data:
            connection.sendall(bytes([byte]))
            if stop.wait(0.05):
                return

    return script


def hang(stop: threading.Event) -> Script:
    """Never answer."""

    def script(_: socket.socket) -> None:
        stop.wait(30)

    return script


def reset(connection: socket.socket) -> None:
    """Break the connection in the middle of an answer."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@contextlib.contextmanager
def serve(*scripts: Script, tls: ssl.SSLContext | None = None) -> Iterator[FaultServer]:
    """Handle each connection by the next script; the last one serves all that follow."""
    remaining = list(scripts)

    def handle(server: FaultServer, connection: socket.socket) -> None:
        script = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        with tls.wrap_socket(connection, server_side=True) if tls else connection as wrapped:
            _note(server, wrapped)
            script(wrapped)

    with _listen(handle) as server:
        yield server


@contextlib.contextmanager
def serve_requests(script: RequestScript, *, tls: ssl.SSLContext | None = None) -> Iterator[FaultServer]:
    """Handle each request, of which a connection may carry many, by `script`, which is given its head and body."""

    def handle(server: FaultServer, connection: socket.socket) -> None:
        with tls.wrap_socket(connection, server_side=True) if tls else connection as wrapped:
            while True:
                head, body = _note(server, wrapped)
                if not head:
                    return
                script(wrapped, head, body)

    with _listen(handle) as server:
        yield server


def _note(server: FaultServer, connection: socket.socket) -> tuple[bytes, bytes]:
    head, body = read_message(connection)
    if head:
        server.heads.append(head)
        server.bodies.append(body)
    return head, body


@contextlib.contextmanager
def _listen(handle: Callable[[FaultServer, socket.socket], None]) -> Iterator[FaultServer]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = FaultServer(listener.getsockname()[1])

    def run(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            handle(server, connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=run, args=(connection,), daemon=True))
                threads[-1].start()

    threads: list[threading.Thread] = []
    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        for thread in threads:
            thread.join()


@contextlib.contextmanager
def dead_address() -> Iterator[int]:
    """Give the port of an address on this machine that does not answer a connection: its backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(contextlib.closing(socket.create_server(("127.0.0.1", 0), backlog=0)))
        for _ in range(4):  # more than the backlog holds: further ones wait
            waiting = stack.enter_context(contextlib.closing(socket.socket()))
            waiting.settimeout(0)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def refusing_address() -> int:
    """Return the port of an address on this machine where nobody listens."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])
