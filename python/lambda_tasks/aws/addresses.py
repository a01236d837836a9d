"""From a host's name to a connection: one address that does not answer costs a quarter of a second, not the deadline.

Source: https://www.rfc-editor.org/rfc/rfc8305
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time

from lambda_tasks import after_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeAlias

    # As socket.getaddrinfo gives them: family, kind, protocol, canonical name, address.
    Found: TypeAlias = tuple[int, int, int, str, tuple[Any, ...]]

_CONNECT_SECONDS = 1.0
_NEXT_ADDRESS_SECONDS = 0.25
_MAX_AVOIDED = 1000


class Addresses:
    """The addresses of hosts, those last that did not answer lately. Usable from several threads.

    `look_up` gives the addresses of a host and port, as `socket.getaddrinfo` does.
    """

    def __init__(self, look_up: Callable[[str, int], list[Any]] | None = None) -> None:
        self._look_up = look_up or _look_up
        self._avoided: set[tuple[Any, ...]] = set()
        self._lookups: dict[tuple[str, int], _Lookup] = {}
        self._addresses: dict[int, tuple[Any, ...]] = {}  # by the file descriptor that is connected to it
        after_fork.register(self)

    def let_go_after_fork(self) -> None:
        """Forget the lookups that are under way, since their threads are the parent's, and its connections."""
        self._lookups, self._addresses = {}, {}

    def connect(self, host: str, port: int, remaining_seconds: Callable[[], float]) -> socket.socket:
        """Return a connection to the first address of `host` that accepts one, in blocking mode.

        Raises:
            OSError: there is no address, or none that accepts; a `TimeoutError` where none answered in time.

        """
        found = sorted(self._find(host, port, remaining_seconds), key=lambda one: one[4] in self._avoided)
        race = _Race(found)
        try:
            connection, address = race.run(remaining_seconds)
        finally:
            if len(self._avoided) > _MAX_AVOIDED:  # a service's addresses change for ever
                self._avoided.clear()
            self._avoided |= race.without_answer
        self._avoided.discard(address)
        self._addresses[connection.fileno()] = address
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def avoid(self, connection: socket.socket) -> None:
        """Ask the other addresses first from now on: what `connection` is connected to did not answer as it should."""
        address = self._addresses.get(connection.fileno())
        if address:
            self._avoided.add(address)

    def _find(self, host: str, port: int, remaining_seconds: Callable[[], float]) -> list[Found]:
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                socket.inet_pton(family, host)
            except OSError:
                continue
            return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
        question = (host, port)
        lookup = self._lookups.get(question)
        if lookup is None or lookup.is_done:  # threads that ask at the same time share one answer
            lookup = self._lookups[question] = _Lookup(lambda: self._look_up(host, port))
        return _families_in_turn(lookup.wait(remaining_seconds()))


class _Lookup:
    """The question for a host's addresses, in a thread of its own: the system's resolver knows no deadline."""

    def __init__(self, look_up: Callable[[], list[Any]]) -> None:
        self._look_up = look_up
        self._found: list[Any] = []
        self._error: Exception | None = None
        self._done = threading.Event()
        try:
            threading.Thread(target=self._run, daemon=True).start()
        except RuntimeError:  # there are as many threads as the system allows
            self._run()

    @property
    def is_done(self) -> bool:
        return self._done.is_set()

    def wait(self, seconds: float) -> list[Found]:
        if not self._done.wait(seconds):
            raise TimeoutError
        if self._error:
            raise OSError(errno.EHOSTUNREACH, _reason(self._error)) from self._error
        return self._found

    def _run(self) -> None:
        try:
            self._found = self._look_up()
        except (OSError, UnicodeError) as error:
            self._error = error
        finally:
            self._done.set()


class _Race:
    """Connections that are tried one after the other, a quarter of a second apart, until one is there."""

    def __init__(self, addresses: Iterable[Found]) -> None:
        self.without_answer: set[tuple[Any, ...]] = set()
        self._waiting = list(addresses)
        self._open: dict[int, tuple[socket.socket, tuple[Any, ...], float]] = {}
        self._poll = select.poll()
        self._failure: OSError | None = None

    def run(self, remaining_seconds: Callable[[], float]) -> tuple[socket.socket, tuple[Any, ...]]:
        next_start = 0.0
        try:
            while self._waiting or self._open:
                remaining = remaining_seconds()
                now = time.monotonic()
                self._give_up(now)
                while self._waiting and (now >= next_start or not self._open):
                    if self._start(now):
                        next_start = now + _NEXT_ADDRESS_SECONDS
                ends = [end for _, _, end in self._open.values()] + ([next_start] if self._waiting else [])
                wait_seconds = max(0.0, min(remaining, min(ends, default=now) - now))
                for descriptor, _ in self._poll.poll(wait_seconds * 1000 + 1) if self._open else ():
                    connected = self._finish(descriptor)
                    if connected:
                        return connected
                    next_start = 0.0  # a refusal is an answer: the next address need not wait
        finally:
            for connection, address, _ in self._open.values():
                connection.close()
                self.without_answer.add(address)
        raise self._failure or TimeoutError

    def _start(self, now: float) -> bool:
        family, kind, protocol, _, address = self._waiting.pop(0)
        try:
            connection = socket.socket(family, kind, protocol)
        except OSError as error:  # no such family here
            self._failure = error
            return False
        connection.settimeout(0)
        status = connection.connect_ex(address)
        if status not in (0, errno.EINPROGRESS):
            connection.close()
            self._refused(status, address)
            return False
        self._open[connection.fileno()] = connection, address, now + _CONNECT_SECONDS
        self._poll.register(connection, select.POLLOUT)
        return True

    def _finish(self, descriptor: int) -> tuple[socket.socket, tuple[Any, ...]] | None:
        connection, address, _ = self._open.pop(descriptor)
        self._poll.unregister(descriptor)
        status = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not status:
            connection.settimeout(None)
            return connection, address
        connection.close()
        self._refused(status, address)
        return None

    def _refused(self, status: int, address: tuple[Any, ...]) -> None:
        self._failure = OSError(status, os.strerror(status))
        self.without_answer.add(address)

    def _give_up(self, now: float) -> None:
        for descriptor, (connection, address, end) in list(self._open.items()):
            if now >= end:
                del self._open[descriptor]
                self._poll.unregister(descriptor)
                connection.close()
                self.without_answer.add(address)


def _look_up(host: str, port: int) -> list[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _families_in_turn(found: list[Found]) -> list[Found]:
    """Return IPv6 and IPv4 addresses in turn, beginning with the family that the system prefers."""
    preferred = [one for one in found if one[0] == found[0][0]]
    others = [one for one in found if one[0] != found[0][0]]
    in_turn: list[Found] = []
    while preferred or others:
        in_turn += preferred[:1] + others[:1]
        del preferred[:1], others[:1]
    return in_turn


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or "the host name cannot be looked up")
