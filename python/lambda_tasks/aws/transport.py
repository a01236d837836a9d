"""One signed call of an AWS JSON API: its answer, or an error that says whether trying again may help."""

from __future__ import annotations

import itertools
import json
import os
import time
from typing import TYPE_CHECKING, Any

from lambda_tasks.aws import endpoints, signing
from lambda_tasks.aws.http import Client, DeadlineExceeded, HttpError
from lambda_tasks.errors import LambdaTasksError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from lambda_tasks.aws.credentials import Credentials
    from lambda_tasks.aws.http import Response

# Codes of AWS's "try again later" answers that come with status 400: botocore's list.
_THROTTLING_CODES = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
_JSON_VERSIONS = {"secretsmanager": "1.1", "ssm": "1.1", "sqs": "1.0", "dynamodb": "1.0"}
_TARGETS = {"ssm": "AmazonSSM", "sqs": "AmazonSQS", "dynamodb": "DynamoDB_20120810"}

_BACKOFF_BASE_SECONDS = 0.05
_BACKOFF_MAX_SECONDS = 2.0


class CallFailed(LambdaTasksError):
    """A call did not succeed.

    `code` is AWS's error code, or empty where there was no answer of AWS's own; `content` is what else the answer held.
    """

    def __init__(
        self,
        problem: str,
        *,
        code: str = "",
        detail: str = "",
        retryable: bool = False,
        content: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(problem)
        self.code = code
        self.detail = detail
        self.retryable = retryable
        self.content = content or {}


class CallTimeout(CallFailed):
    """The deadline passed while an answer was still awaited."""


class Transport:
    """Call AWS's JSON APIs with signed requests. Usable from several threads.

    `credentials` is asked once for each request, so that temporary ones can be renewed.
    """

    def __init__(
        self,
        credentials: Callable[[], Credentials],
        environ: Mapping[str, str],
        *,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._credentials = credentials
        self._environ = environ
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._tls: ssl.SSLContext | None = None
        self._client = Client(self._tls_context)

    def call(
        self, service: str, operation: str, request: Mapping[str, Any], *, region: str, partition: str, deadline: float
    ) -> dict[str, Any]:
        """Return the JSON object that `operation` answers `request` with, trying again until `deadline`.

        Throttling, 5xx and broken connections are tried again, after a backoff with full jitter
        (https://docs.aws.amazon.com/general/latest/gr/api-retries.html).

        Raises:
            CallTimeout: the deadline (a reading of ``time.monotonic``) passed while waiting for an answer.
            CallFailed: AWS refused the call, or could not be reached until the deadline.

        """
        failure = None
        for attempt in itertools.count(1):
            try:
                return self._call_once(service, operation, request, region, partition, deadline)
            except CallTimeout as error:
                raise failure or error from error  # what an earlier try met says more than that this one had no time
            except CallFailed as error:
                failure = error
                backoff_seconds = backoff(attempt)
                if not error.retryable or time.monotonic() + backoff_seconds >= deadline:
                    raise
            self._sleep(backoff_seconds)
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close the connections that were kept for further calls, and keep none from now on."""
        self._client.close()

    def _call_once(
        self, service: str, operation: str, request: Mapping[str, Any], region: str, partition: str, deadline: float
    ) -> dict[str, Any]:
        url = endpoints.resolve(service, region, partition, self._environ)
        body = json.dumps(request).encode()
        headers = {
            "Host": url.authority,
            "Content-Type": f"application/x-amz-json-{_JSON_VERSIONS[service]}",
            "X-Amz-Target": f"{_TARGETS.get(service, service)}.{operation}",
        }
        signed = signing.sign(
            headers,
            body,
            credentials=self._credentials(),
            service=service,
            region=region,
            path=url.path,
            epoch_seconds=self._wall_clock(),
        )
        try:
            response = self._client.post(url, signed, body, deadline=deadline)
        except DeadlineExceeded as error:
            raise CallTimeout(str(error)) from error
        except HttpError as error:
            raise CallFailed(str(error), retryable=error.retryable) from error
        return _answer(response, url.authority)

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            import ssl  # noqa: PLC0415 - plain HTTP (a test server, a VPC proxy) must not pay for it

            self._tls = ssl.create_default_context(cafile=self._environ.get("AWS_CA_BUNDLE") or None)
        return self._tls


def backoff(attempt: int) -> float:
    """Return the seconds to wait before the try after `attempt` (1 for the first): exponential, with full jitter."""
    ceiling = min(_BACKOFF_MAX_SECONDS, _BACKOFF_BASE_SECONDS * (1 << min(attempt, 16)))
    return ceiling * int.from_bytes(os.urandom(4), "big") / 2**32  # importing random would cost 3 ms


def _answer(response: Response, server: str) -> dict[str, Any]:
    content = _json_object(response.body)
    if response.status == 200 and content is not None:
        return content
    if response.status == 200:
        raise CallFailed(f"{server} answered with something else than a JSON object")
    content = content or {}
    code = str(content.get("__type") or response.headers.get("x-amzn-errortype") or "")
    code = code.rpartition("#")[2].partition(":")[0]
    problem = f"{server} answered {response.status}" + (f" {code}" if code else "")
    raise CallFailed(
        problem,
        code=code,
        detail=str(content.get("message") or content.get("Message") or ""),
        retryable=response.status >= 500 or response.status == 429 or code in _THROTTLING_CODES,
        content=content,
    )


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
