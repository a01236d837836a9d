"""Secrets Manager, Parameter Store and a part of SQS as one small server, which can be told to misbehave."""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class Request:
    """One request that arrived, decoded."""

    target: str
    body: dict[str, Any]
    headers: dict[str, str]


@dataclass
class FakeAws:
    """A server's secrets and parameters, and the requests that it got.

    `secrets` and `parameters` map an ARN (or a parameter's name) to text, behind an ARN may be ``:<stage>``, ``:<id>`` or
    both, and behind a name its version or label. `redrive_policies` map a queue's name to the ARN of its
    dead-letter queue; `answers` are given first, one a request.
    """

    url: str
    secrets: dict[str, str | bytes] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    answers: list[Callable[[Request], Answer | None]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    init_errors: list[Request] = field(default_factory=list)
    page_size: int = 10
    redrive_policies: dict[str, str] = field(default_factory=dict)

    @property
    def runtime_api(self) -> str:
        """The host and port that take an init error, as ``AWS_LAMBDA_RUNTIME_API`` names them."""
        return self.url.removeprefix("http://")

    @property
    def asked_for(self) -> list[Any]:
        """The secrets and parameters that were asked for, in order."""
        return [one.body.get("SecretId") or one.body.get("Names") or one.body.get("Path") for one in self.requests]

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        if self.answers:
            answer = self.answers.pop(0)(request)
            if answer is not None:
                return answer
        operation = request.target.rpartition(".")[2]
        handlers = {
            "GetSecretValue": self._secret,
            "GetParameters": self._parameters,
            "GetParametersByPath": self._parameters_by_path,
            "GetQueueAttributes": self._queue_attributes,
            "ChangeMessageVisibilityBatch": self._visibility,
            "SendMessage": self._sending,
        }
        return handlers[operation](request.body)

    @property
    def visibilities(self) -> dict[str, int]:
        """The visibility timeouts that were set, by receipt handle."""
        batches = [one.body["Entries"] for one in self.sent("ChangeMessageVisibilityBatch")]
        return {entry["ReceiptHandle"]: entry["VisibilityTimeout"] for batch in batches for entry in batch}

    def sent(self, operation: str) -> list[Request]:
        """The requests of one operation."""
        return [one for one in self.requests if one.target.endswith(f".{operation}")]

    def _visibility(self, body: dict[str, Any]) -> Answer:
        return 200, {"Successful": [{"Id": entry["Id"]} for entry in body["Entries"]], "Failed": []}

    def _sending(self, _: dict[str, Any]) -> Answer:
        return 200, {"MessageId": "22222222-3333-4444-5555-666666666666"}

    def _queue_attributes(self, body: dict[str, Any]) -> Answer:
        target = self.redrive_policies.get(body["QueueUrl"].rpartition("/")[2])
        policy = json.dumps({"deadLetterTargetArn": target, "maxReceiveCount": 5})
        return 200, {"Attributes": {"RedrivePolicy": policy}} if target else {}

    def _secret(self, body: dict[str, Any]) -> Answer:
        keys = [body["SecretId"], body.get("VersionStage", ""), body.get("VersionId", "")]
        for key in (":".join(part for part in keys if part), body["SecretId"]):
            if key in self.secrets:
                value = self.secrets[key]
                name = "SecretBinary" if isinstance(value, bytes) else "SecretString"
                text = value.decode() if isinstance(value, bytes) else value
                stages = [body.get("VersionStage", "AWSCURRENT")]
                version = body.get("VersionId") or version_id(text)
                return 200, {"ARN": body["SecretId"], "VersionId": version, "VersionStages": stages, name: text}
        return 400, {"__type": "ResourceNotFoundException", "Message": "Secrets Manager can't find it."}

    def _parameters(self, body: dict[str, Any]) -> Answer:
        found = [_parameter(name, self.parameters[name]) for name in body["Names"] if name in self.parameters]
        return 200, {"Parameters": found, "InvalidParameters": [n for n in body["Names"] if n not in self.parameters]}

    def _parameters_by_path(self, body: dict[str, Any]) -> Answer:
        names = sorted(name for name in self.parameters if name.startswith(body["Path"]))
        start = int(body.get("NextToken", 0))
        page = names[start : start + self.page_size]
        answer: dict[str, Any] = {"Parameters": [_parameter(name, self.parameters[name]) for name in page]}
        if start + self.page_size < len(names):
            answer["NextToken"] = str(start + self.page_size)
        return 200, answer


def version_id(text: str) -> str:
    """Return the version id that the server gives a secret with this text, where none was asked for."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, text))


def _parameter(asked_for: str, value: str) -> dict[str, Any]:
    """Answer as AWS does: with the bare name, the ARN without the version, and what was asked for behind a colon."""
    name, _, selector = asked_for.rpartition(":parameter/")[2].partition(":")
    arn = f"arn:aws:ssm:eu-west-1:123456789012:parameter/{name.lstrip('/')}"
    if asked_for.startswith("arn:"):
        name, arn = f"/{name}", asked_for.removesuffix(f":{selector}") if selector else asked_for
    version = int(selector) if selector.isdigit() else zlib.crc32(value.encode())
    found = {"Name": name, "ARN": arn, "Version": version, "Value": value}
    return found | ({"Selector": f":{selector}"} if selector else {})


@contextlib.contextmanager
def serve() -> Iterator[FakeAws]:
    """Run the server on a free loopback port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            content = json.loads(self.rfile.read(length))
            request = Request(self.headers.get("X-Amz-Target", ""), content, dict(self.headers.items()))
            if self.path.endswith("/runtime/init/error"):
                fake.init_errors.append(request)
                status, answer = 202, {"status": "OK"}
            else:
                status, answer = fake.answer(request)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Keep quiet about clients that do not wait for their answer."""

    server = Server(("127.0.0.1", 0), Handler)
    fake = FakeAws(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
