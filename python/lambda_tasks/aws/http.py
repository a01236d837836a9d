"""HTTP/1.1 requests with a deadline, over kept connections.

The standard library's client would cost every cold start 13 ms of CPU (it imports the email package) and bounds each
read, not the whole answer, so that a server sending one byte a second is never given up.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

from lambda_tasks.value import Value

TYPE_CHECKING = False  # that of typing, which costs a cold start 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from lambda_tasks.aws.url import Url

    # Opens a connection to an address; the second argument gives the seconds that are left.
    Connect: TypeAlias = Callable[[Url, Callable[[], float]], socket.socket]
    # Is told the size of a body, so far as it is known, before that is read, and raises where it is too large.
    Admit: TypeAlias = Callable[[int], object]

_INCOMPLETE = "the connection was closed before the answer was complete"
_MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 8 * 1024 * 1024  # well above the largest answer of the APIs in use (SQS: 1 MiB, escaped)


class HttpError(Exception):
    """The exchange failed; `retryable` tells whether another try may succeed."""

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class DeadlineExceeded(HttpError):
    """The deadline passed before the answer was complete."""

    def __init__(self, doing: str) -> None:
        super().__init__(f"no time left while {doing}", retryable=False)


class Response(Value):
    """An answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"Response(status={self.status}, {len(self.body)} bytes)"  # a body may hold a secret


class Client:
    """Send requests, keeping connections open for the next one to the same server. Usable from several threads.

    `connect` opens connections; see `lambda_tasks.aws.connection.Connector`.
    """

    def __init__(self, connect: Connect, clock: Callable[[], float] = time.monotonic) -> None:
        self._connect = connect
        self._clock = clock
        self._idle: dict[tuple[str, str, int], list[socket.socket]] = {}
        self._process_id = os.getpid()
        self._keeps_connections = True

    def request(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        deadline: float,
        max_body_bytes: int | Admit = MAX_BODY_BYTES,
    ) -> Response:
        """Send one request and return its answer, whatever its status; redirects are not followed.

        `deadline` is a reading of the clock (seconds); it bounds connecting, sending and the whole answer, whose body
        may have up to `max_body_bytes`, or what a function admits that is told its size before it is read.

        Raises:
            DeadlineExceeded: it passed.
            HttpError: no connection, a broken one, or an answer that is not HTTP.

        """
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"{method} {url.path} HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
        request = head.encode("latin-1") + body
        exchange = _Exchange(deadline, self._clock, max_body_bytes)
        try:
            kept = self._take_idle(url)
            if kept is not None:
                with contextlib.suppress(_ClosedMeanwhile):
                    return self._exchange(kept, url, request, exchange)
            exchange.doing = f"connecting to {url.authority}"
            return self._exchange(self._connect(url, exchange.remaining), url, request, exchange)
        except HttpError:
            raise
        except OSError as error:
            raise _as_http_error(error, exchange.doing) from error

    def _exchange(self, connection: socket.socket, url: Url, request: bytes, exchange: _Exchange) -> Response:
        with contextlib.ExitStack() as closing:
            closing.callback(connection.close)
            exchange.doing = f"waiting for {url.authority}"
            response, reusable = exchange.run(connection, request)
            if reusable and self._keeps_connections:
                closing.pop_all()
                self._idle.setdefault(url.origin, []).append(connection)
            return response

    def close(self) -> None:
        """Close the kept connections, and keep none from now on."""
        self._keeps_connections = False
        while self._idle:
            _, connections = self._idle.popitem()
            for connection in connections:
                connection.close()

    def _take_idle(self, url: Url) -> socket.socket | None:
        if self._process_id != os.getpid():  # a fork must not write into its parent's connections
            self._process_id, self._idle = os.getpid(), {}
        idle = self._idle.get(url.origin, [])
        while idle:
            with contextlib.suppress(IndexError):  # another thread took the last one
                connection = idle.pop()
                if _is_quiet(connection):
                    return connection
                connection.close()
        return None


class _ClosedMeanwhile(HttpError, ConnectionError):
    """The server closed the connection before it sent anything: most likely while it was kept."""


class _Exchange:
    """One request and its answer on one connection, within a deadline."""

    def __init__(self, deadline: float, clock: Callable[[], float], max_body_bytes: int | Admit) -> None:
        self.doing = ""
        self._deadline = deadline
        self._clock = clock
        self._max_body_bytes = max_body_bytes
        self._buffer = b""

    def remaining(self) -> float:
        seconds = self._deadline - self._clock()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    def run(self, connection: socket.socket, request: bytes) -> tuple[Response, bool]:
        """Return the answer, and whether the connection can serve another request."""
        try:
            connection.settimeout(self.remaining())
            connection.sendall(request)
            is_answered = self._receive(connection)
        except ConnectionError as error:
            raise _ClosedMeanwhile(f"{error.strerror or type(error).__name__} while {self.doing}") from error
        if not is_answered:
            raise _ClosedMeanwhile(_INCOMPLETE)
        status, headers = self._read_head(connection)
        while status < 200:  # 1xx answers come before the one that counts
            status, headers = self._read_head(connection)
        length = headers.get("content-length")
        delimited = True
        if "chunked" in headers.get("transfer-encoding", "").lower():
            body = self._read_chunks(connection)
        elif length is not None:
            body = self._read_exactly(connection, self._bounded(_size(length, 10)))
        else:
            body, delimited = self._read_to_end(connection), False
        reusable = delimited and not self._buffer and headers.get("connection", "").lower() != "close"
        return Response(status, headers, body), reusable

    def _receive(self, connection: socket.socket) -> bool:
        connection.settimeout(self.remaining())
        received = connection.recv(65536)
        self._buffer += received
        return bool(received)

    def _read_until(self, connection: socket.socket, end: bytes) -> bytes:
        while end not in self._buffer:
            if len(self._buffer) > _MAX_HEAD_BYTES:
                raise HttpError("the answer is not HTTP", retryable=False)
            if not self._receive(connection):
                raise HttpError(_INCOMPLETE)
        part, _, self._buffer = self._buffer.partition(end)
        return part

    def _read_head(self, connection: socket.socket) -> tuple[int, dict[str, str]]:
        status_line, *lines = self._read_until(connection, b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, _, rest = status_line.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise HttpError("the answer is not HTTP", retryable=False)
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return int(rest[:3]), headers

    def _read_exactly(self, connection: socket.socket, size: int) -> bytes:
        chunks, received = [self._buffer], len(self._buffer)
        while received < size:  # not by _receive: joining once keeps large bodies linear
            connection.settimeout(self.remaining())
            chunk = connection.recv(min(size - received, 1 << 20))
            if not chunk:
                raise HttpError(_INCOMPLETE)
            chunks.append(chunk)
            received += len(chunk)
        whole = b"".join(chunks)
        self._buffer = whole[size:]
        return whole[:size]

    def _read_chunks(self, connection: socket.socket) -> bytes:
        body = b""
        while size := _size(self._read_until(connection, b"\r\n").decode("latin-1").partition(";")[0], 16):
            self._bounded(len(body) + size)
            body += self._read_exactly(connection, size)
            self._read_until(connection, b"\r\n")
        while self._read_until(connection, b"\r\n"):  # trailers, up to an empty line
            pass
        return body

    def _read_to_end(self, connection: socket.socket) -> bytes:
        while self._receive(connection):
            self._bounded(len(self._buffer))
        body, self._buffer = self._buffer, b""
        return body

    def _bounded(self, size: int) -> int:
        most = self._max_body_bytes
        if not isinstance(most, int):
            most(size)
        elif size > most:
            raise HttpError(f"the answer is larger than {most} bytes", retryable=False)
        return size


def _size(text: str, base: int) -> int:
    try:
        size = int(text, base)
    except ValueError:
        size = -1
    if size < 0:
        raise HttpError("the answer's length is not a number", retryable=False)
    return size


def _is_quiet(connection: socket.socket) -> bool:
    """Tell whether a kept connection is still open: one that the server closed reads as an end, or as an alert."""
    connection.settimeout(0)
    try:
        connection.recv(1)
    except (BlockingIOError, OSError) as error:
        return isinstance(error, BlockingIOError) or type(error).__name__ == "SSLWantReadError"
    return False


def _as_http_error(error: OSError, doing: str) -> HttpError:
    if isinstance(error, TimeoutError):
        return DeadlineExceeded(doing)
    if type(error).__name__ == "SSLCertVerificationError":  # by name: plain HTTP must not import ssl
        reason = getattr(error, "verify_message", "")
        return HttpError(f"the certificate cannot be trusted while {doing}: {reason}", retryable=False)
    return HttpError(f"{error.strerror or type(error).__name__} while {doing}")
