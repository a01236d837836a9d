"""Fetch the payloads of an invocation: at the same time, each with time of its own, and together within the memory."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from lambda_tasks import settings
from lambda_tasks.errors import NoRoomForPayload, PayloadTooLarge, PayloadUnavailable
from lambda_tasks.messages import body

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from lambda_tasks.messages.body import Message
    from lambda_tasks.messages.payload import Pointer

    class Objects(Protocol):
        """The calls of S3 that fetching needs."""

        def get_object(self, bucket: str, key: str, *, deadline: float, admit: _Admission) -> bytes:
            """Return an object until `deadline`; `admit` is told its size before it is read, and may raise."""
            ...


_MEMORY_PART = 4  # of the function's memory: the payload, what is made of it, and the task itself have to fit
_UNKNOWN_MEMORY_MIB = 1024
_MOST_THREADS = 10
_MOST_SECONDS_EACH = 60.0
_TIME_OF_CALLS = 0.95  # of the time that there is: a call that ends by itself says what it waited for


def memory_for_payloads(environ: Mapping[str, str]) -> int:
    """Return the bytes that the payloads of one invocation may have: a quarter of its process's share of the memory.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """
    mebibytes = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    known = mebibytes.isascii() and mebibytes.isdigit() and len(mebibytes) < 8 and int(mebibytes) > 0
    parts = _MEMORY_PART * settings.processes(environ)
    return (int(mebibytes) if known else _UNKNOWN_MEMORY_MIB) * 1024 * 1024 // parts


class Fetching:
    """The payloads of one invocation on their way, in as many threads as there can be, up to ten.

    A thread that S3 or a name server keeps for longer is left behind: nobody waits for it.
    """

    def __init__(self, pointers: Sequence[Pointer], objects: Objects, seconds: float, most_bytes: int) -> None:
        self._pointers = pointers
        self._objects = objects
        self._room = _Room(most_bytes)
        self._waiting = deque(range(len(pointers)))
        self._found: dict[int, Message | BaseException] = {}
        self._changed = threading.Condition()
        self.ends_at = time.monotonic() + seconds
        self._seconds_each = 0.0

    def start(self) -> None:
        """Begin. Where there can be no thread at all, return when everything was fetched."""
        count = len(self._pointers)
        threads = [
            threading.Thread(target=self._work, name="lambda-tasks-payload", daemon=True)
            for _ in range(min(count, _MOST_THREADS))
        ]
        self._share_time(len(threads))
        started = 0
        for thread in threads:
            try:
                thread.start()
            except (RuntimeError, MemoryError):  # can't start new thread
                break
            started += 1
        if started < len(threads):
            self._share_time(max(1, started))
        if not started:
            self._work()

    def wait(self, seconds: float = math.inf) -> None:
        """Return when every payload was fetched, or has failed; at the latest after `seconds`, or at `ends_at`."""
        until = min(self.ends_at, time.monotonic() + seconds)
        with self._changed:
            while len(self._found) < len(self._pointers) and (left := until - time.monotonic()) > 0:
                self._changed.wait(min(left, threading.TIMEOUT_MAX))

    def found(self) -> dict[int, Message | BaseException]:
        """Return what came so far, by the pointer's number: the message, or why there is none."""
        with self._changed:
            return dict(self._found)

    def missing(self, number: int) -> PayloadUnavailable:
        """Return why the payload of a pointer is not there although its time is over."""
        pointer = self._pointers[number]
        remedy = "check the route to S3 (a VPC needs an endpoint for it) and the function's timeout"
        return PayloadUnavailable("S3 did not give the payload in time", source=pointer.source, remedy=remedy)

    def _share_time(self, threads: int) -> None:
        """Give each payload its part of the time, so that one that hangs leaves the others theirs."""
        rounds = math.ceil(len(self._pointers) / threads)
        self._seconds_each = min(_MOST_SECONDS_EACH, (self.ends_at - time.monotonic()) * _TIME_OF_CALLS / rounds)

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    return
                number = self._waiting.popleft()
            found = self._fetch(self._pointers[number])
            with self._changed:
                self._found[number] = found
                self._changed.notify_all()

    def _fetch(self, pointer: Pointer) -> Message | BaseException:
        admission = _Admission(self._room, pointer)
        deadline = min(self.ends_at, time.monotonic() + self._seconds_each)
        try:
            payload = pointer.fetch(
                lambda bucket, key: self._objects.get_object(bucket, key, deadline=deadline, admit=admission)
            )
            return body.decode(payload)
        except BaseException as error:  # noqa: BLE001 - it is this message's, whatever it is
            admission.give_back()
            return error


class _Room:
    """The memory that payloads may take, together."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.left_bytes = most_bytes
        self.lock = threading.Lock()


class _Admission:
    """The memory of one payload. It is told the size, so far as that is known, and raises where it does not fit."""

    def __init__(self, room: _Room, pointer: Pointer) -> None:
        self._room = room
        self._pointer = pointer
        self._taken_bytes = 0

    def __call__(self, size_bytes: int) -> None:
        """Take memory for `size_bytes`, of which some may have been taken already.

        Raises:
            PayloadTooLarge: there would not be enough in an invocation of its own either.
            NoRoomForPayload: there is not enough beside the other payloads.

        """
        room = self._room
        if size_bytes > room.most_bytes:
            raise PayloadTooLarge(
                f"the payload has {size_bytes:,} bytes or more, and {room.most_bytes:,} is the most",
                source=self._pointer.source,
                remedy="give the function more memory: a payload may have a quarter of it",
            )
        with room.lock:
            more = max(0, size_bytes - self._taken_bytes)
            if more > room.left_bytes:
                remedy = "it is fetched with the next delivery: a smaller batch size or more memory avoids that"
                problem = "the payloads of this invocation have no room together"
                raise NoRoomForPayload(problem, source=self._pointer.source, remedy=remedy)
            room.left_bytes -= more
            self._taken_bytes += more

    def give_back(self) -> None:
        """Free the memory of a payload that did not come."""
        with self._room.lock:
            self._room.left_bytes += self._taken_bytes
            self._taken_bytes = 0
