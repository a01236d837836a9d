"""Secrets Manager as a process of its own that answers after a fixed time, so that it is the same for all sides.

`python secret_server.py SECRETS DELAY_SECONDS` prints its address and serves until standard input ends. `SECRETS` is a
JSON object of ARNs and values.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

ANSWER_SECONDS = 0.03


@contextmanager
def running(secrets: Mapping[str, str], answer_seconds: float = ANSWER_SECONDS) -> Iterator[str]:
    """Serve the secrets for as long as the block lasts, and yield the address."""
    command = [sys.executable, "-I", "-S", __file__, json.dumps(dict(secrets)), str(answer_seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None  # noqa: S101 - for mypy: both are pipes
        assert process.stdout is not None  # noqa: S101
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


async def serve(secrets: Mapping[str, str], answer_seconds: float) -> None:
    """Answer each GetSecretValue, any number of them on one connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await read_head(reader):
            length = next(int(line[15:]) for line in head if line.lower().startswith(b"content-length:"))
            arn = json.loads(await reader.readexactly(length))["SecretId"]
            await asyncio.sleep(answer_seconds)
            body = json.dumps({"ARN": arn, "SecretString": secrets[arn]}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def read_head(reader: asyncio.StreamReader) -> list[bytes]:
    """Return the lines of a request's head, or none where the client is gone."""
    try:
        return (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return []


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1]), float(sys.argv[2])))
