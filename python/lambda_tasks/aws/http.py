"""HTTP/1.1 requests with a deadline, over kept connections.

The standard library's client would cost every cold start 13 ms of CPU (it imports the email package) and bounds each
read, not the whole answer, so that a server sending one byte a second is never given up.
"""

from __future__ import annotations

import contextlib
import socket
import time

from lambda_tasks import after_fork
from lambda_tasks.aws.retry import PROGRESS_BYTES, Patience
from lambda_tasks.aws.url import is_number
from lambda_tasks.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Protocol, TypeAlias

    from lambda_tasks.aws.url import Url

    class Connect(Protocol):
        """Opens a connection to an address; the second argument gives the seconds that are left."""

        def __call__(self, url: Url, remaining_seconds: Callable[[], float], /) -> socket.socket: ...

        def avoid(self, connection: socket.socket) -> None: ...

    Admit: TypeAlias = Callable[[int], object]  # is told a body's size before it is read, and raises if it is too large

_INCOMPLETE = "the connection was closed before the answer was complete"
_MAX_HEAD_BYTES = 64 * 1024
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
MAX_BODY_BYTES = 8 * 1024 * 1024  # well above the largest answer of the APIs in use (SQS: 1 MiB, escaped)


class HttpError(Exception):
    """The exchange failed; `retryable` tells whether another try may succeed, `variable` which setting is at fault."""

    def __init__(self, message: str, *, retryable: bool = True, variable: str | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.variable = variable


class DeadlineExceeded(HttpError):
    """The deadline passed before the answer was complete."""


class NoAnswer(HttpError):
    """Nothing came for as long as one try may take; the deadline has not passed."""


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
        self._keeps_connections = True
        after_fork.register(self)

    def request(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        deadline: float,
        patience_seconds: float | None = None,
        max_body_bytes: int | Admit = MAX_BODY_BYTES,
    ) -> Response:
        """Send one request and return its answer, whatever its status; redirects are not followed.

        `deadline` is a reading of the clock (seconds); it bounds connecting, sending and the whole answer, whose body
        may have up to `max_body_bytes`. The request is given up after `patience_seconds` too, which begin anew with
        each 64 KiB that move: a large body may take long, an answer that drips may not.

        Raises:
            DeadlineExceeded: the deadline passed.
            NoAnswer: the patience ended.
            HttpError: no connection, a broken one, or an answer that is not HTTP.

        """
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        request = f"{method} {url.path} HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body
        exchange = _Exchange(Patience(deadline, patience_seconds, self._clock), max_body_bytes)
        try:
            kept = self._take_idle(url)
            if kept is not None:
                try:
                    return self._exchange(kept, url, request, exchange)
                except _ClosedMeanwhile:
                    self._close_idle(url.origin)
            exchange.doing = f"connecting to {url.authority}"
            return self._exchange(self._connect(url, exchange.patience.remaining), url, request, exchange)
        except HttpError:
            raise
        except OSError as error:
            raise exchange.explained(error) from error

    def _exchange(self, connection: socket.socket, url: Url, request: bytes, exchange: _Exchange) -> Response:
        exchange.doing = f"waiting for {url.authority}"
        is_kept = False
        try:
            response, reusable = exchange.run(connection, request)
            is_kept = reusable and self._keeps_connections
        except TimeoutError:
            self._connect.avoid(connection)
            self._close_idle(url.origin)  # what was kept beside it is as old, and would cost a try each
            raise
        finally:
            if is_kept:
                self._idle.setdefault(url.origin, []).append(connection)
            else:
                connection.close()
        return response

    def close(self) -> None:
        """Close the kept connections, and keep none from now on."""
        self._keeps_connections = False
        for origin in list(self._idle):
            self._close_idle(origin)

    def let_go_after_fork(self) -> None:
        """Close the child's ends of the kept connections: those of the parent stay open."""
        while self._idle:
            for connection in self._idle.popitem()[1]:
                connection.close()

    def _take_idle(self, url: Url) -> socket.socket | None:
        for connection in self._idle_ones(url.origin):
            if _is_quiet(connection):
                return connection
            connection.close()
        return None

    def _close_idle(self, origin: tuple[str, str, int]) -> None:
        for connection in self._idle_ones(origin):
            connection.close()

    def _idle_ones(self, origin: tuple[str, str, int]) -> Iterator[socket.socket]:
        idle = self._idle.get(origin, [])
        while idle:
            with contextlib.suppress(IndexError):  # another thread took the last one
                yield idle.pop()


class _ClosedMeanwhile(HttpError, ConnectionError):
    """The server closed the connection before it sent anything: most likely while it was kept."""


class _Exchange:
    """One request and its answer on one connection, within a deadline, and while something moves."""

    def __init__(self, patience: Patience, max_body_bytes: int | Admit) -> None:
        self.doing = ""
        self.patience = patience
        self._max_body_bytes = max_body_bytes
        self._buffer = b""

    def explained(self, error: OSError) -> HttpError:
        """Return `error` in our terms."""
        if isinstance(error, TimeoutError):
            if self.patience.is_deadline_over:
                return DeadlineExceeded(f"no time left while {self.doing}", retryable=False)
            return NoAnswer(f"no answer while {self.doing}")
        if type(error).__name__ == "SSLCertVerificationError":  # by name: plain HTTP must not import ssl
            reason = getattr(error, "verify_message", "")
            return HttpError(f"the certificate cannot be trusted while {self.doing}: {reason}", retryable=False)
        return HttpError(f"{error.strerror or type(error).__name__} while {self.doing}")

    def run(self, connection: socket.socket, request: bytes) -> tuple[Response, bool]:
        """Return the answer, and whether the connection can serve another request."""
        try:
            self._send(connection, request)
            is_answered = self._receive(connection)
        except ConnectionError as error:
            raise _ClosedMeanwhile(f"{error.strerror or type(error).__name__} while {self.doing}") from error
        if not is_answered:
            raise _ClosedMeanwhile(_INCOMPLETE)
        status, headers = self._read_head(connection)
        while status < 200:  # 1xx answers come before the one that counts
            status, headers = self._read_head(connection)
        length, delimited = headers.get("content-length"), True
        if "chunked" in headers.get("transfer-encoding", "").lower():
            body = self._read_chunks(connection)
        elif length is not None:
            body = self._read_exactly(connection, self._bounded(_size(length, 10)))
        else:
            body, delimited = self._read_to_end(connection), False
        reusable = delimited and not self._buffer and headers.get("connection", "").lower() != "close"
        return Response(status, headers, body), reusable

    def _send(self, connection: socket.socket, request: bytes) -> None:
        whole = memoryview(request)
        for start in range(0, len(request), PROGRESS_BYTES):
            connection.settimeout(self.patience.remaining())
            connection.sendall(part := whole[start : start + PROGRESS_BYTES])
            self.patience.moved(len(part))

    def _receive(self, connection: socket.socket) -> bool:
        self._buffer += (received := self._part(connection))
        return bool(received)

    def _part(self, connection: socket.socket, size: int = PROGRESS_BYTES) -> bytes:
        connection.settimeout(self.patience.remaining())
        part = connection.recv(size)
        self.patience.moved(len(part))
        return part

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
        if not version.startswith("HTTP/1.") or not is_number(rest[:3]):
            raise HttpError("the answer is not HTTP", retryable=False)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(rest[:3]), headers

    def _read_exactly(self, connection: socket.socket, size: int) -> bytes:
        chunks, received = [self._buffer], len(self._buffer)
        while received < size:  # not by _receive: joining once keeps large bodies linear
            if not (chunk := self._part(connection, min(size - received, 1 << 20))):
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
        chunks, received = [self._buffer], len(self._buffer)
        while chunk := self._part(connection, 1 << 20):
            chunks.append(chunk)
            received = self._bounded(received + len(chunk))
        self._buffer = b""
        return b"".join(chunks)

    def _bounded(self, size: int) -> int:
        most = self._max_body_bytes
        if not isinstance(most, int):
            most(size)
        elif size > most:
            raise HttpError(f"the answer is larger than {most} bytes", retryable=False)
        return size


def _size(text: str, base: int) -> int:
    text = text.strip()
    if not (is_number(text) if base == 10 else is_number(text, _HEXADECIMAL)):
        raise HttpError("the answer's length is not a number", retryable=False)
    return int(text, base)


def _is_quiet(connection: socket.socket) -> bool:
    """Tell whether a kept connection is still open: one that the server closed reads as an end, or as an alert."""
    connection.settimeout(0)
    try:
        connection.recv(1)
    except (BlockingIOError, OSError) as error:
        return isinstance(error, BlockingIOError) or type(error).__name__ == "SSLWantReadError"
    return False
