"""The way from other processes to the pool: a socket at which it takes messages, one a connection.

A worker, and a copy of the application, hand over what they enqueue, and go on when the pool has it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from lambda_tasks import settings
from lambda_tasks.errors import EnqueueFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lambda_tasks.messages.sqs_event import Record

VARIABLE = "_LAMBDA_TASKS_LOCAL_POOL"  # it is no setting: workers, and what they start, have it

is_worker = False  # set in the process of a worker

_SECONDS = 30.0  # for one message
_ACCEPTED = b"\n"

logger = logging.getLogger("lambda_tasks")


def address() -> str | None:
    """Return the address of the pool that this process belongs to, where that is another one's."""
    return settings.environ().get(VARIABLE) or _announced()


@contextlib.contextmanager
def announced(address: str) -> Iterator[None]:
    """Let the other processes of this user's that run in this folder, with the same settings, find the pool."""
    place = _place()
    place.unlink(missing_ok=True)
    with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(address)
    try:
        yield
    finally:
        place.unlink(missing_ok=True)


def _announced() -> str | None:
    """Return the address that a process of this user's announced; the folder is everybody's."""
    try:
        with os.fdopen(os.open(_place(), os.O_RDONLY | os.O_NOFOLLOW)) as file:
            return file.read() if os.fstat(file.fileno()).st_uid == os.getuid() else None
    except OSError:
        return None


def _place() -> Path:
    project = f"{Path.cwd()}\n{settings.environ().get('DJANGO_SETTINGS_MODULE', '')}"
    name = hashlib.sha256(project.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"lambda-tasks-{os.getuid()}-{name}"


def hand_over(address: str, record: Record, delay_seconds: float) -> bool:
    """Give a message to the pool at `address`, and tell whether there is one.

    Raises:
        EnqueueFailed: it is not certain that the pool has the message.

    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_SECONDS)
        try:
            connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError as error:
            raise _failed(error) from error
        try:
            connection.sendall(json.dumps([record, delay_seconds]).encode() + b"\n")
            if connection.recv(1) == _ACCEPTED:
                return True
        except OSError as error:
            raise _failed(error) from error
    raise _failed(None)


class Listener:
    """A thread that gives each message that arrives to `take`, with its delay in seconds."""

    def __init__(self, take: Callable[[Record, float], None]) -> None:
        self._take = take
        self._folder = Path(tempfile.mkdtemp(prefix="lambda-tasks-"))  # for this user alone
        self.address = str(self._folder / "pool")
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self.address)
        self._socket.listen(128)

    def start(self) -> None:
        """Begin to listen."""
        threading.Thread(target=self._listen, name="lambda-tasks-handover", daemon=True).start()

    def close(self) -> None:
        """Stop: whoever comes now is refused."""
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # which wakes the thread up
        self._socket.close()

    def forget(self) -> None:
        """Close a copy's end, so that nobody waits at it when the original is gone."""
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                try:
                    self._receive(connection)
                except Exception as error:  # noqa: BLE001 - whoever sent it is not answered, and raises
                    logger.error("a message for the local workers did not arrive: %s", error)  # noqa: TRY400

    def _receive(self, connection: socket.socket) -> None:
        connection.settimeout(_SECONDS)
        with connection.makefile("rb") as lines:
            record, delay_seconds = json.loads(lines.readline())
        self._take(record, delay_seconds)
        connection.sendall(_ACCEPTED)


def _failed(error: OSError | None) -> EnqueueFailed:
    problem = f"the local workers' pool did not take the message ({error or 'no answer'})"
    return EnqueueFailed(problem, source=f"process {os.getpid()}", remedy="see the log of the application")
