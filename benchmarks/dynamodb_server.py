"""A DynamoDB on this machine that takes every write after 5 ms: moto's own time is longer, and varies.

It speaks as much as `lambda_tasks.state` and Powertools' persistence layer need: an UpdateItem or PutItem whose
condition holds. An UpdateItem that asks for ``ALL_NEW`` is answered with the values that it gave.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
import threading
from typing import Any

import msgspec

SECONDS = 0.005


class Connection(asyncio.Protocol):
    """One connection, which may carry one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what the answers are written to."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for mypy
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Note when it came, before any work is done: many requests may come at once, and each has its own 5 ms."""
        self._received += data
        self._loop.call_soon(self._answer, self._loop.time() + SECONDS)

    def _answer(self, due_at: float) -> None:
        """Have a request answered when that is due, where it is whole."""
        head, ended, body = self._received.partition(b"\r\n\r\n")
        if not ended:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) >= length and self._transport is not None:
            self._received = body[length:]
            self._loop.call_at(due_at, self._transport.write, _response(msgspec.json.decode(body[:length])))


def _response(request: dict[str, Any]) -> bytes:
    answer = {}
    if request.get("ReturnValues") == "ALL_NEW":
        values = request.get("ExpressionAttributeValues", {})
        answer = {"Attributes": {**request["Key"], **{name[1:]: value for name, value in values.items()}}}
    body = msgspec.json.encode(answer)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    closed = asyncio.Event()

    def read_to_the_end() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(closed.set)

    threading.Thread(target=read_to_the_end, daemon=True).start()
    await closed.wait()


if __name__ == "__main__":
    # Not by epoll, whose timeouts are whole milliseconds.
    asyncio.SelectorEventLoop(selectors.SelectSelector()).run_until_complete(_serve())
