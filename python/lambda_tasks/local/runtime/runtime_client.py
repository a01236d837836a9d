"""The calls of Lambda's Runtime API that awslambdaric has a compiled module for, which fits one Python alone.

A function that runs with another Python than this package gets this module in place of it.
Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import http.client
import os
from collections.abc import Mapping

_INVOCATION = "/2018-06-01/runtime/invocation/"
_DEADLINE = "Lambda-Runtime-Deadline-Ms"
_ERROR_TYPE = "Lambda-Runtime-Function-Error-Type"
_agent = {"User-Agent": ""}


def initialize_client(user_agent: str) -> None:
    """Set what this runtime calls itself."""
    _agent["User-Agent"] = user_agent


def next() -> tuple[bytes, Mapping[str, str | int]]:  # noqa: A001 - the name that awslambdaric calls
    """Wait for the next event, and return it with the headers that describe it. The deadline is a number."""
    body, headers = _call("GET", "next", http.client.OK)
    return body, {**headers, _DEADLINE: int(headers.get(_DEADLINE, "0"))}


def post_invocation_result(invoke_id: str, result: bytes, content_type: str, *_: object) -> None:
    """Answer an event."""
    _call("POST", f"{invoke_id}/response", http.client.ACCEPTED, result, {"Content-Type": content_type})


def post_error(invoke_id: str, error: bytes | str, *_: object) -> None:
    """Answer an event with an error, a JSON object that says its own type."""
    _call("POST", f"{invoke_id}/error", http.client.ACCEPTED, error, {_ERROR_TYPE: "Unhandled"})


def _call(
    method: str, path: str, expected: int, body: bytes | str | None = None, headers: Mapping[str, str] | None = None
) -> tuple[bytes, Mapping[str, str]]:
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        data = body.encode() if isinstance(body, str) else body
        connection.request(method, _INVOCATION + path, data, {**_agent, **(headers or {})})
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status != expected:
        raise RuntimeError(f"the Runtime API answered with status {response.status}")
    return content, dict(response.getheaders())
