"""A server of secrets for benchmarks, as a process of its own: it answers every request after 30 ms, however many wait.

Run as ``python secrets_server.py [CERTIFICATE]``; prints its port, and serves until standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys

ANSWER_AFTER_SECONDS = 0.03
ECHOED = {"ARN": "SecretId", "VersionId": "VersionId"}
# One content serves as environment and for every JSON key.
CONTENT = json.dumps({f"KEY_{number}": f"value {number}" for number in range(8)})


async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests until the client closes the connection."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
            request = json.loads(await reader.readexactly(length) or b"{}")
            await asyncio.sleep(ANSWER_AFTER_SECONDS)
            asked = {name: request[key] for name, key in ECHOED.items() if key in request}
            body = json.dumps({"SecretString": CONTENT, **asked}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        pass
    finally:
        writer.close()


async def main(certificate: str | None) -> None:
    """Serve on a free loopback port until standard input ends."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    server = await asyncio.start_server(serve_connection, "127.0.0.1", 0, ssl=context, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
