"""The Runtime API, where the runtime itself does not serve: why a function cannot start, and a rescued answer.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import contextlib
import json
import time

from lambda_tasks.aws.connection import Connector
from lambda_tasks.aws.http import Client, HttpError
from lambda_tasks.aws.url import Url

_INIT_ERROR_TIMEOUT_SECONDS = 2.0


def post_init_error(runtime_api: str, error_type: str, message: str) -> bool:
    """Report an init error to the Runtime API at `runtime_api` (host and port); return whether it was taken.

    Whoever invokes the function reads the error's type and message.
    """
    content = {"errorType": error_type, "errorMessage": message, "stackTrace": []}
    headers = {
        "Content-Type": "application/vnd.aws.lambda.error+json",
        "Lambda-Runtime-Function-Error-Type": error_type,
    }
    deadline = time.monotonic() + _INIT_ERROR_TIMEOUT_SECONDS
    try:
        return _post(runtime_api, "init/error", json.dumps(content).encode(), headers, deadline) == 202
    except (HttpError, ValueError):
        return False


def post_response(runtime_api: str, request_id: str, answer: bytes, deadline: float) -> None:
    """Answer the invocation `request_id` with the JSON `answer`, until `deadline`, a reading of ``time.monotonic``.

    Raises:
        HttpError: the Runtime API did not take it.
        ValueError: `runtime_api` or `request_id` cannot be part of a URL.

    """
    path = f"invocation/{request_id}/response"
    status = _post(runtime_api, path, answer, {"Content-Type": "application/json"}, deadline)
    if status != 202:
        raise HttpError(f"the Runtime API answered {status}", retryable=False)


def _post(runtime_api: str, path: str, body: bytes, headers: dict[str, str], deadline: float) -> int:
    url = Url.parse(f"http://{runtime_api}/2018-06-01/runtime/{path}")
    with contextlib.closing(Client(Connector({}))) as client:
        return client.request("POST", url, {"Host": url.authority, **headers}, body, deadline=deadline).status
