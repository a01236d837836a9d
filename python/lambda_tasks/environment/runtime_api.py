"""Tell Lambda why the function cannot start, so that whoever invokes it reads the cause."""

from __future__ import annotations

import contextlib
import json
import time

from lambda_tasks.aws.connection import Connector
from lambda_tasks.aws.http import Client, HttpError
from lambda_tasks.aws.url import Url

_TIMEOUT_SECONDS = 2.0


def post_init_error(runtime_api: str, error_type: str, message: str) -> bool:
    """Report an init error to the Runtime API at `runtime_api` (host and port); return whether it was taken.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html#runtimes-api-initerror
    """
    content = {"errorType": error_type, "errorMessage": message, "stackTrace": []}
    try:
        url = Url.parse(f"http://{runtime_api}/2018-06-01/runtime/init/error")
        headers = {
            "Host": url.authority,
            "Content-Type": "application/vnd.aws.lambda.error+json",
            "Lambda-Runtime-Function-Error-Type": error_type,
        }
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        with contextlib.closing(Client(Connector({}))) as client:
            response = client.request("POST", url, headers, json.dumps(content).encode(), deadline=deadline)
    except (HttpError, ValueError):
        return False
    return response.status == 202
