"""A local SQS and DynamoDB that only take, as fast as they can: moto's time for a message grows with the queue."""

from __future__ import annotations

import json
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Answers SendMessage and SendMessageBatch with new message ids, and BatchExecuteStatement."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Take one request."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer: dict[str, Any] = {"MessageId": str(uuid.uuid4())}
        if "Entries" in request:
            successful = [{"Id": entry["Id"], "MessageId": str(uuid.uuid4())} for entry in request["Entries"]]
            answer = {"Successful": successful, "Failed": []}
        if "Statements" in request:
            answer = {"Responses": [{"TableName": "tasks"} for _ in request["Statements"]]}
        body = json.dumps(answer).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
