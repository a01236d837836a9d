"""A local SQS and DynamoDB without memory, as fast as they can be: moto's time for a message grows with the queue.

They take whatever comes, and a queue always has messages: those that were sent to it last, in turn, or else one for the
task that it is named after.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import threading
import uuid
from collections import defaultdict, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_sent: defaultdict[str, deque[str]] = defaultdict(functools.partial(deque, maxlen=1000))


def _message(request: dict[str, Any]) -> dict[str, Any]:
    """Return a message of a queue that is never empty."""
    task = request["QueueUrl"].rpartition("/")[2]
    body = json.dumps({"task_name": task, "kwargs": {"order_id": 1, "currency": "EUR"}, "n_retries": 0})
    if sent := _sent[request["QueueUrl"]]:
        sent.rotate()
        body = sent[0]
    message_id = str(uuid.uuid4())
    digest = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
    attributes = {"ApproximateReceiveCount": "1", "SentTimestamp": "1790000000000"}
    known = {"MessageId": message_id, "ReceiptHandle": message_id, "Body": body, "MD5OfBody": digest}
    return {**known, "Attributes": attributes}


class Handler(BaseHTTPRequestHandler):
    """Answers what senders and consumers ask of SQS, and BatchExecuteStatement."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Take one request."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer: dict[str, Any] = {"MessageId": str(uuid.uuid4())}
        if "MessageBody" in request:
            _sent[request["QueueUrl"]].append(request["MessageBody"])
        if self.headers["X-Amz-Target"] == "AmazonSQS.GetQueueAttributes":
            answer = {"Attributes": {"ApproximateNumberOfMessages": "1000"}}
        if "Entries" in request:
            successful = [{"Id": entry["Id"], "MessageId": str(uuid.uuid4())} for entry in request["Entries"]]
            answer = {"Successful": successful, "Failed": []}
        if "MaxNumberOfMessages" in request:
            answer = {"Messages": [_message(request) for _ in range(request["MaxNumberOfMessages"])]}
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
