"""The health of a worker, for whoever looks after its container: a file that is touched, or a port that answers."""

from __future__ import annotations

import contextlib
import selectors
import socket
from pathlib import Path

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
_BAD = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 10\r\nConnection: close\r\n\r\n"
    b"not well.\n"
)
_REQUEST_SECONDS = 1.0


class Health:
    """The health that is shown: `file` is touched while all is well, and `port` answers with 200, or else 503."""

    def __init__(self, file: Path | None = None, port: int | None = None) -> None:
        self._file = file
        self.is_well = False
        self._listener: socket.socket | None = None
        if port is not None:
            both = socket.has_dualstack_ipv6()  # a cluster may have either
            family = socket.AF_INET6 if both else socket.AF_INET
            self._listener = socket.create_server(("", port), family=family, dualstack_ipv6=both)
            self._listener.settimeout(0)

    def listen(self, selector: selectors.BaseSelector) -> None:
        """Have `selector` wake for requests; its data is what answers them."""
        if self._listener is not None:
            selector.register(self._listener, selectors.EVENT_READ, self._answer)

    @property
    def port(self) -> int | None:
        """The port that answers."""
        return None if self._listener is None else int(self._listener.getsockname()[1])

    def note(self, *, is_well: bool) -> None:
        """Show whether all is well."""
        self.is_well = is_well
        if self._file is not None and is_well:
            with contextlib.suppress(OSError):
                self._file.touch()

    def close(self) -> None:
        """Show nothing more: the file goes, so that it tells nothing of a later container."""
        if self._listener is not None:
            self._listener.close()
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def let_go(self) -> None:
        """Close the child's own end of the port, after a fork."""
        if self._listener is not None:
            self._listener.close()

    def _answer(self) -> None:
        assert self._listener is not None  # noqa: S101 - for mypy: it is what woke
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            with connection:
                connection.settimeout(_REQUEST_SECONDS)
                connection.recv(4096)
                connection.sendall(_OK if self.is_well else _BAD)
