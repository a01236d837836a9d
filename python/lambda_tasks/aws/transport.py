"""One signed call of an AWS API: its answer, or an error that says whether trying again may help."""

from __future__ import annotations

import itertools
import json
import os
import time

from lambda_tasks.aws import endpoints, signing
from lambda_tasks.aws.connection import Connector
from lambda_tasks.aws.http import MAX_BODY_BYTES as MAX_ANSWER_BYTES
from lambda_tasks.aws.http import Client, DeadlineExceeded, HttpError
from lambda_tasks.errors import LambdaTasksError

TYPE_CHECKING = False  # that of typing, which costs a cold start 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    from lambda_tasks.aws.credentials import Credentials
    from lambda_tasks.aws.http import Admit, Response
    from lambda_tasks.aws.url import Url

    T = TypeVar("T")

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

_SKEW_CODES = {"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"}
_SIGNATURE_CODES = {"SignatureDoesNotMatch", "InvalidSignatureException"}
_SKEW_SECONDS = 60

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


class ClockSkew(CallFailed):
    """The request was refused for its time; the clock is corrected, so that another try may succeed at once."""


class CallTimeout(CallFailed):
    """The deadline passed while an answer was still awaited."""


class Transport:
    """Call AWS's APIs with signed requests. Usable from several threads.

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
        self._clock_offset_seconds = 0.0
        self._client = Client(Connector(environ))

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
        return self._retried(
            lambda: self._call_once(service, operation, request, region, partition, deadline), deadline
        )

    def send(
        self,
        service: str,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        region: str,
        partition: str,
        deadline: float,
        headers: Mapping[str, str] | None = None,
        max_answer_bytes: int | Admit = MAX_ANSWER_BYTES,
    ) -> bytes:
        """Return the body that a REST API answers with, trying again as `call` does.

        `path` begins with a slash, has no query, and is already encoded.

        Raises:
            CallTimeout: as `call`.
            CallFailed: as `call`.

        """

        def once() -> bytes:
            url = endpoints.resolve(service, region, partition, self._environ)
            full_path = url.path.rstrip("/") + path
            content = {"Host": url.authority, "X-Amz-Content-Sha256": signing.digest(body), **(headers or {})}
            response = self._send_once(
                method, url.replace(path=full_path), content, body, service, region, deadline, max_answer_bytes
            )
            return response.body

        return self._retried(once, deadline)

    def _retried(self, once: Callable[[], T], deadline: float) -> T:
        failure: CallFailed | None = None
        corrected = False
        for attempt in itertools.count(1):
            try:
                return once()
            except ClockSkew as error:
                if corrected:
                    raise
                failure, corrected = error, True
                continue
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
        response = self._send_once("POST", url, headers, body, service, region, deadline, MAX_ANSWER_BYTES)
        return _answer(response, url.authority)

    def _send_once(
        self,
        method: str,
        url: Url,
        headers: Mapping[str, str],
        body: bytes,
        service: str,
        region: str,
        deadline: float,
        max_answer_bytes: int | Admit,
    ) -> Response:
        signed = signing.sign(
            headers,
            body,
            credentials=self._credentials(),
            service=service,
            region=region,
            method=method,
            path=url.path,
            epoch_seconds=self._wall_clock() + self._clock_offset_seconds,
        )
        try:
            response = self._client.request(
                method, url, signed, body, deadline=deadline, max_body_bytes=max_answer_bytes
            )
        except DeadlineExceeded as error:
            raise CallTimeout(str(error)) from error
        except HttpError as error:
            raise CallFailed(str(error), retryable=error.retryable) from error
        if response.status >= 300:
            refusal = _refusal(response, url.authority)
            self._correct_clock(refusal, response.headers.get("date", ""))
            raise refusal
        return response

    def _correct_clock(self, error: CallFailed, date: str) -> None:
        """Take over the server's clock where the request was refused for its time.

        Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html
        """
        if error.code not in _SKEW_CODES and error.code not in _SIGNATURE_CODES:
            return
        server_epoch = _http_date_epoch(date)
        if server_epoch is None:
            return
        offset_seconds = server_epoch - self._wall_clock()
        # A wrong signature is mostly one of a wrong key: then the clocks agree, and another try is no use.
        if error.code in _SKEW_CODES or abs(offset_seconds - self._clock_offset_seconds) > _SKEW_SECONDS:
            self._clock_offset_seconds = offset_seconds
            raise ClockSkew(error.problem, code=error.code, detail=error.detail) from error


def backoff(attempt: int) -> float:
    """Return the seconds to wait before the try after `attempt` (1 for the first): exponential, with full jitter."""
    ceiling = min(_BACKOFF_MAX_SECONDS, _BACKOFF_BASE_SECONDS * (1 << min(attempt, 16)))
    return ceiling * int.from_bytes(os.urandom(4), "big") / 2**32  # importing random would cost 3 ms


def _answer(response: Response, server: str) -> dict[str, Any]:
    content = _json_object(response.body)
    if content is None:
        raise CallFailed(f"{server} answered with something else than a JSON object")
    return content


def _refusal(response: Response, server: str) -> CallFailed:
    content = _json_object(response.body) or {}
    code = str(content.get("__type") or response.headers.get("x-amzn-errortype") or _xml_code(response.body))
    code = code.rpartition("#")[2].partition(":")[0]
    problem = f"{server} answered {response.status}" + (f" {code}" if code else "")
    return CallFailed(
        problem,
        code=code,
        detail=str(content.get("message") or content.get("Message") or ""),
        retryable=response.status >= 500 or response.status == 429 or code in _THROTTLING_CODES,
        content=content,
    )


def _xml_code(body: bytes) -> str:
    """Return the code of an error of S3's: a word of letters."""
    code = body.partition(b"<Code>")[2].partition(b"</Code>")[0].decode("ascii", "replace")
    return code if code.isalnum() else ""


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _http_date_epoch(date: str) -> float | None:
    import calendar  # noqa: PLC0415 - after a failure only

    try:
        return calendar.timegm(time.strptime(date, "%a, %d %b %Y %H:%M:%S GMT"))
    except ValueError:
        return None
