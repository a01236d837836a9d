"""An SQS of a few queues, by name, that speaks the JSON protocol on a loopback port: what is received stays there."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class SmallSqs:
    """The queues, each a list of messages, and how often visibility was given back."""

    def __init__(self) -> None:
        self.queues: dict[str, list[dict[str, Any]]] = {"tasks": [], "dead": []}
        self.released = 0
        self.url = ""

    def answer(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        queue = self.queues[request["QueueUrl"].rpartition("/")[2]]
        if operation == "SendMessage":
            number = sum(map(len, self.queues.values()))
            message = {"MessageId": f"sent-{number}", "ReceiptHandle": f"sent-{number}", "Body": request["MessageBody"]}
            queue.append({**message, "MessageAttributes": request.get("MessageAttributes", {}), "seen": False})
            return {"MessageId": message["MessageId"]}
        if operation == "ReceiveMessage":
            found = [one for one in queue if not one["seen"]][: request["MaxNumberOfMessages"]]
            for one in found:
                one["seen"] = True
            return {"Messages": [{**one, "Attributes": {"SentTimestamp": "1790000000000"}} for one in found]}
        if operation == "DeleteMessage":
            queue[:] = [one for one in queue if one["ReceiptHandle"] != request["ReceiptHandle"]]
        if operation == "ChangeMessageVisibilityBatch":
            self.released += len(request["Entries"])
        if operation == "GetQueueAttributes":
            policy = {"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:123456789012:dead", "maxReceiveCount": 3}
            return {"Attributes": {"RedrivePolicy": json.dumps(policy)}}
        return {}


@contextlib.contextmanager
def serve() -> Iterator[SmallSqs]:
    """Serve the queues ``tasks`` and ``dead``."""
    queues = SmallSqs()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = queues.answer(self.headers["X-Amz-Target"].rpartition(".")[2], request)
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        queues.url = f"http://127.0.0.1:{server.server_port}"
        yield queues
        server.shutdown()
        thread.join()
