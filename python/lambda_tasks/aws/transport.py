"""One signed call of an AWS API: its answer, or an error that says whether trying again may help."""

from __future__ import annotations

import itertools
import json
import time

from lambda_tasks.aws import endpoints, retry, signing
from lambda_tasks.aws.connection import Connector
from lambda_tasks.aws.http import MAX_BODY_BYTES as MAX_ANSWER_BYTES
from lambda_tasks.aws.http import Client, DeadlineExceeded, HttpError, NoAnswer
from lambda_tasks.aws.retry import backoff as backoff
from lambda_tasks.errors import LambdaTasksError
from lambda_tasks.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias, TypeVar

    from lambda_tasks.aws.credentials import Credentials
    from lambda_tasks.aws.http import Admit, Response
    from lambda_tasks.aws.url import Url

    T = TypeVar("T")
    Content: TypeAlias = Mapping[str, Any] | bytes

_JSON_VERSIONS = {"secretsmanager": "1.1", "ssm": "1.1", "sqs": "1.0", "dynamodb": "1.0", "ecs": "1.1", "events": "1.1"}
_TARGETS = {
    "ssm": "AmazonSSM",
    "sqs": "AmazonSQS",
    "dynamodb": "DynamoDB_20120810",
    "ecs": "AmazonEC2ContainerServiceV20141113",
    "events": "AWSEvents",
}

_SKEW_CODES = {"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"}
_SIGNATURE_CODES = {"SignatureDoesNotMatch", "InvalidSignatureException"}
_SKEW_SECONDS = 60


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
        variable: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(problem, variable=variable, remedy=remedy)
        self.code = code
        self.detail = detail
        self.retryable = retryable
        self.content = content or {}


class ClockSkew(CallFailed):
    """The request was refused for its time; the clock is corrected, so that another try may succeed at once."""


class NotAnswered(CallFailed):
    """One try stayed without an answer; it has taken its part of the time, so that the next one need not wait."""


class CallTimeout(CallFailed):
    """The deadline passed while an answer was still awaited."""


class _Request(Value):
    """One request before it is signed."""

    method: str
    url: Url
    headers: Mapping[str, str]
    body: bytes
    service: str
    region: str
    max_answer_bytes: int | Admit = MAX_ANSWER_BYTES


class Transport:
    """Call AWS's APIs with signed requests. Usable from several threads.

    `credentials` is asked once for each request, so that temporary ones can be renewed; where it has a method `before`,
    that one, with the deadline. Clocks are corrected for each server by itself.
    """

    def __init__(
        self,
        credentials: Callable[[], Credentials],
        environ: Mapping[str, str],
        *,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        connect: Connector | None = None,
    ) -> None:
        self._credentials: Callable[[float], Credentials]
        self._credentials = getattr(credentials, "before", None) or (lambda _: credentials())
        self._environ = environ
        self._endpoints = endpoints.Endpoints(environ)
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._clock_offsets: dict[str, float] = {}  # seconds, by the server's authority
        self._client = Client(connect or Connector(environ))

    def call(
        self, service: str, operation: str, request: Content, *, region: str, partition: str, deadline: float
    ) -> dict[str, Any]:
        """Return the JSON object that `operation` answers `request` with, trying again until `deadline`.

        The request is a JSON object, or is one already in JSON.

        Throttling, 5xx and broken connections are tried again, after a backoff with full jitter
        (https://docs.aws.amazon.com/general/latest/gr/api-retries.html). A try that stays without an answer ends after
        a third of the time, and the next one begins.

        Raises:
            CallTimeout: the deadline (a reading of ``time.monotonic``) passed while waiting for an answer.
            CallFailed: AWS refused the call, or could not be reached until the deadline.

        """
        url = self._endpoints(service, region, partition)
        headers = {
            "Host": url.authority,
            "Content-Type": f"application/x-amz-json-{_JSON_VERSIONS[service]}",
            "X-Amz-Target": f"{_TARGETS.get(service, service)}.{operation}",
        }
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        signable = _Request("POST", url, headers, body, service, region)
        return self._retried(lambda patience: _answer(self._send_once(signable, deadline, patience), url), deadline)

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
        url = self._endpoints(service, region, partition)
        content = {"Host": url.authority, "X-Amz-Content-Sha256": signing.digest(body), **(headers or {})}
        url = url.replace(path=url.path.rstrip("/") + path)
        request = _Request(method, url, content, body, service, region, max_answer_bytes)
        return self._retried(lambda patience: self._send_once(request, deadline, patience).body, deadline)

    def _retried(self, once: Callable[[float], T], deadline: float) -> T:
        budget_seconds = deadline - time.monotonic()
        patience_seconds = retry.patience_seconds(budget_seconds)
        failure: CallFailed | None = None
        corrected = False
        for attempt in itertools.count(1):
            try:
                return once(patience_seconds)
            except ClockSkew as error:
                if corrected:
                    raise
                failure, corrected = error, True
            except CallTimeout as error:
                raise failure or error from error  # what an earlier try met says more than that this one had no time
            except NotAnswered:
                self._sleep(retry.backoff(1))
            except CallFailed as error:
                failure = error
                if not error.retryable:
                    raise
                wanted_seconds = retry.backoff(attempt)
                pause_seconds = retry.pause(wanted_seconds, deadline - time.monotonic(), budget_seconds)
                if pause_seconds is None:
                    raise
                self._sleep(pause_seconds)
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close the connections that were kept for further calls, and keep none from now on."""
        self._client.close()

    def _send_once(self, request: _Request, deadline: float, patience_seconds: float) -> Response:
        server = request.headers["Host"]
        clock_offset_seconds = self._clock_offsets.get(server, 0.0)
        signed = signing.sign(
            request.headers,
            request.body,
            credentials=self._credentials(deadline),
            service=request.service,
            region=request.region,
            method=request.method,
            path=request.url.path,
            epoch_seconds=self._wall_clock() + clock_offset_seconds,
        )
        try:
            response = self._client.request(
                request.method,
                request.url,
                signed,
                request.body,
                deadline=deadline,
                patience_seconds=patience_seconds,
                max_body_bytes=request.max_answer_bytes,
            )
        except HttpError as error:
            raise self._failure(error, request.service) from error
        if response.status >= 300:
            refusal = _refusal(response, server)
            self._correct_clock(refusal, server, response.headers.get("date", ""), clock_offset_seconds)
            raise refusal
        return response

    def _failure(self, error: HttpError, service: str) -> CallFailed:
        named_by = endpoints.override_variable(service, self._environ)
        problem = str(error) + (f" (endpoint of {named_by})" if named_by and not error.variable else "")
        if isinstance(error, DeadlineExceeded):
            return CallTimeout(problem)
        if isinstance(error, NoAnswer):
            return NotAnswered(problem, retryable=True)
        return CallFailed(problem, retryable=error.retryable, variable=error.variable)

    def _correct_clock(self, error: CallFailed, server: str, date: str, clock_offset_seconds: float) -> None:
        """Take over the server's clock where the request, signed with `clock_offset_seconds`, was refused for its time.

        Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html
        """
        if error.code not in _SKEW_CODES and error.code not in _SIGNATURE_CODES:
            return
        server_epoch = _http_date_epoch(date)
        if server_epoch is None:
            return
        offset_seconds = server_epoch - self._wall_clock()
        # A wrong signature is mostly one of a wrong key: then the clocks agree, and another try is no use. They are
        # compared as they were when this request was signed: another thread may have corrected the clock meanwhile.
        if error.code in _SKEW_CODES or abs(offset_seconds - clock_offset_seconds) > _SKEW_SECONDS:
            self._clock_offsets[server] = offset_seconds
            raise ClockSkew(error.problem, code=error.code, detail=error.detail) from error


def _answer(response: Response, url: Url) -> dict[str, Any]:
    content = _json_object(response.body)
    if content is None:
        raise CallFailed(f"{url.authority} answered with something else than a JSON object")
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
        retryable=retry.may_pass(response.status, code),
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
