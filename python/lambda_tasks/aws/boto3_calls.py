"""The calls of a producer by boto3, with whatever credentials, profile, region and endpoints it finds.

They end within the same time as those that are signed here, and are tried again as those are. boto3 by itself waits a
minute for each of five tries.
"""

from __future__ import annotations

import itertools
import threading
import time

from lambda_tasks import after_fork, settings
from lambda_tasks.aws import endpoints, retry
from lambda_tasks.aws.retry import CALL_SECONDS, PAYLOAD_SECONDS
from lambda_tasks.aws.transport import CallFailed
from lambda_tasks.errors import InvalidSetting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from lambda_tasks.aws.queue_address import QueueAddress

_left_behind: list[object] = []


class Boto3Calls:
    """boto3's session and clients, made when they are first needed. Usable from several threads.

    `call_seconds` and `payload_seconds` bound a call with all its tries, of SQS and Scheduler or of S3.
    """

    def __init__(self, *, call_seconds: float = CALL_SECONDS, payload_seconds: float = PAYLOAD_SECONDS) -> None:
        import boto3  # noqa: PLC0415 - heavy, and not there inside the layer

        self._boto3 = boto3
        self._seconds = {"s3": payload_seconds}
        self._call_seconds = call_seconds
        self._calling: set[int] = set()
        self._start()
        after_fork.register(self)

    def sqs(self, operation: str, queue: QueueAddress, request: Mapping[str, Any]) -> dict[str, Any]:
        """See `ProducerCalls.sqs`."""
        return dict(self._call("sqs", operation, {"QueueUrl": queue.url, **request}, queue.region))

    def submit(self, service: str, operation: str, request: Mapping[str, Any], *, region: str) -> dict[str, Any]:
        """See `ProducerCalls.submit`."""
        return dict(self._call(service, operation, request, region))

    def create_schedule(self, name: str, request: Mapping[str, Any], *, region: str) -> str:
        """See `ProducerCalls.create_schedule`."""
        answer = self._call("scheduler", "CreateSchedule", {"Name": name, **request}, region)
        if not answer.get("ScheduleArn"):
            raise CallFailed("Scheduler did not say whether it took the schedule")
        return str(answer["ScheduleArn"])

    def publish(self, topic_arn: str, request: Mapping[str, Any]) -> str:
        """See `ProducerCalls.publish`."""
        answer = self._call("sns", "Publish", {"TopicArn": topic_arn, **request}, topic_arn.split(":")[3])
        if not answer.get("MessageId"):
            raise CallFailed("SNS did not say whether it took the message")
        return str(answer["MessageId"])

    def put_object(self, bucket: str, key: str, body: bytes) -> None:
        """See `ProducerCalls.put_object`."""
        region = endpoints.own_region(settings.environ())
        self._call("s3", "PutObject", {"Bucket": bucket, "Key": key, "Body": body}, region)

    def let_go_after_fork(self) -> None:
        """Have a session and clients of the child's own.

        The parent's are closed where they are forgotten, which would wait for a lock that one of its threads may hold.
        """
        if self._calling:
            _left_behind.append((self._session, self._clients))
        self._calling.clear()
        self._start()

    def _start(self) -> None:
        self._session: Any = None
        self._clients: dict[tuple[str, str | None], Any] = {}
        self._lock = threading.Lock()

    def _call(self, service: str, operation: str, request: Mapping[str, Any], region: str | None) -> Any:  # noqa: ANN401
        from botocore import xform_name  # noqa: PLC0415

        seconds = self._seconds.get(service, self._call_seconds)
        deadline = time.monotonic() + seconds
        self._calling.add(thread_id := threading.get_ident())
        try:
            call = getattr(self._client(service, region, seconds), xform_name(operation))
            for attempt in itertools.count(1):
                try:
                    return call(**request)
                except Exception as error:  # noqa: BLE001 - an answer that botocore cannot read is any error
                    failure, cause = _failure(error, service), error
                left = deadline - time.monotonic()
                pause = retry.pause(retry.backoff(attempt), left, seconds) if failure.retryable else None
                if pause is None:
                    raise failure from cause
                time.sleep(pause)
        finally:
            self._calling.discard(thread_id)

    def _client(self, service: str, region: str | None, seconds: float) -> Any:  # noqa: ANN401 - made at run time
        from botocore.config import Config  # noqa: PLC0415

        patience = retry.patience_seconds(seconds)
        with self._lock:  # making one is not safe in several threads; using one is
            if (service, region) not in self._clients:
                config = Config(connect_timeout=patience, read_timeout=patience, retries={"total_max_attempts": 1})
                try:
                    self._session = self._session or self._boto3.Session()
                    client = self._session.client(service, region_name=region, config=config)
                except Exception as error:
                    raise _unusable(error, service) from error
                self._clients[service, region] = client
            return self._clients[service, region]


def _unusable(error: Exception, service: str) -> CallFailed | InvalidSetting:
    """Return the error of a client that cannot be made: of the profile, the region or the endpoint."""
    variable = endpoints.override_variable(service, settings.environ())
    if isinstance(error, ValueError):
        return InvalidSetting("the endpoint is not usable", variable=variable or None, remedy=str(error))
    remedy = "correct AWS_PROFILE, AWS_REGION and AWS's configuration files"
    return CallFailed(f"boto3 cannot be used: {error}", remedy=remedy)


def _failure(error: Exception, service: str) -> CallFailed:
    from botocore import exceptions  # noqa: PLC0415

    if isinstance(error, exceptions.ClientError):
        answer: Mapping[str, Any] = error.response
        code = str(answer.get("Error", {}).get("QueryErrorCode") or answer.get("Error", {}).get("Code", ""))
        code = code.rpartition("#")[2]
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return CallFailed(f"{service} answered {status} {code}", code=code, retryable=retry.may_pass(status, code))
    passes = isinstance(error, exceptions.HTTPClientError) and not isinstance(error, exceptions.SSLError)
    known = isinstance(error, exceptions.BotoCoreError)
    return CallFailed(str(error) if known else f"boto3 raised {type(error).__name__}: {error}", retryable=passes)
