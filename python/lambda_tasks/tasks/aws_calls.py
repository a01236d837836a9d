"""How producers reach AWS: by our own signed transport inside Lambda, by boto3 with its credentials elsewhere."""

from __future__ import annotations

import functools
import itertools
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from lambda_tasks import settings
from lambda_tasks.aws import endpoints
from lambda_tasks.aws.credentials import CredentialChain
from lambda_tasks.aws.transport import CallFailed, Transport
from lambda_tasks.errors import EnqueueFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

_CALL_TIMEOUT_SECONDS = 10.0
_PAYLOAD_TIMEOUT_SECONDS = 60.0

# The largest payload that is fetched: an invocation has to hold it in memory.
MAX_PAYLOAD_BYTES = 256 * 1024 * 1024


class AwsCalls(Protocol):
    """The calls of a producer. Usable from several threads; each raises `CallFailed` where AWS does not comply."""

    def sqs(self, operation: str, request: Mapping[str, Any], *, region: str) -> dict[str, Any]:
        """Return SQS's answer to an operation such as ``SendMessage``."""
        ...

    def create_schedule(self, name: str, request: Mapping[str, Any], *, region: str) -> str:
        """Create a schedule in EventBridge Scheduler and return its ARN."""
        ...

    def put_object(self, bucket: str, key: str, body: bytes) -> None:
        """Put an object into S3."""
        ...

    def get_object(self, bucket: str, key: str) -> bytes:
        """Return an object of S3."""
        ...


class SignedCalls:
    """Our own transport, with the credentials that Lambda gives every function."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def sqs(self, operation: str, request: Mapping[str, Any], *, region: str) -> dict[str, Any]:
        partition, deadline = endpoints.partition_of(region), time.monotonic() + _CALL_TIMEOUT_SECONDS
        return self._transport.call("sqs", operation, request, region=region, partition=partition, deadline=deadline)

    def create_schedule(self, name: str, request: Mapping[str, Any], *, region: str) -> str:
        import msgspec  # noqa: PLC0415 - no call but this one needs it here

        body = msgspec.json.encode(request)
        answer = self._transport.send(
            "scheduler",
            "POST",
            f"/schedules/{name}",
            body,
            region=region,
            partition=endpoints.partition_of(region),
            deadline=time.monotonic() + _CALL_TIMEOUT_SECONDS,
            headers={"Content-Type": "application/json"},
        )
        return str(msgspec.json.decode(answer)["ScheduleArn"])

    def put_object(self, bucket: str, key: str, body: bytes) -> None:
        self._s3("PUT", bucket, key, body)

    def get_object(self, bucket: str, key: str) -> bytes:
        return self._s3("GET", bucket, key)

    def _s3(self, method: str, bucket: str, key: str, body: bytes = b"") -> bytes:
        from urllib.parse import quote  # noqa: PLC0415 - most functions have no large payloads

        region = _region() or endpoints.DEFAULT_REGION
        # The bucket is in the path, and not in the host's name: certificates do not cover buckets with a dot.
        return self._transport.send(
            "s3",
            method,
            f"/{bucket}/{quote(key, safe='/~')}",
            body,
            region=region,
            partition=endpoints.partition_of(region),
            deadline=time.monotonic() + _PAYLOAD_TIMEOUT_SECONDS,
            max_answer_bytes=MAX_PAYLOAD_BYTES,
        )


class Boto3Calls:
    """boto3, with whatever credentials, profile, region and endpoints it finds."""

    def __init__(self) -> None:
        import boto3  # noqa: PLC0415 - heavy, and not there inside the layer

        self._session = boto3.Session()
        self._clients: dict[tuple[str, str | None], Any] = {}
        self._lock = threading.Lock()

    def sqs(self, operation: str, request: Mapping[str, Any], *, region: str) -> dict[str, Any]:
        return dict(self._call("sqs", operation, request, region))

    def create_schedule(self, name: str, request: Mapping[str, Any], *, region: str) -> str:
        return str(self._call("scheduler", "CreateSchedule", {"Name": name, **request}, region)["ScheduleArn"])

    def put_object(self, bucket: str, key: str, body: bytes) -> None:
        self._call("s3", "PutObject", {"Bucket": bucket, "Key": key, "Body": body}, _region())

    def get_object(self, bucket: str, key: str) -> bytes:
        answer = self._call("s3", "GetObject", {"Bucket": bucket, "Key": key}, _region())
        return bytes(answer["Body"].read())

    def _call(self, service: str, operation: str, request: Mapping[str, Any], region: str | None) -> Any:  # noqa: ANN401
        from botocore import xform_name  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            return getattr(self._client(service, region), xform_name(operation))(**request)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
            code = error.response.get("Error", {}).get("QueryErrorCode", code) or code
            raise CallFailed(f"{service} answered {status} {code}", code=code.rpartition("#")[2]) from error
        except BotoCoreError as error:
            raise CallFailed(str(error)) from error

    def _client(self, service: str, region: str | None) -> Any:  # noqa: ANN401 - botocore makes its clients at run time
        from botocore.config import Config  # noqa: PLC0415

        with self._lock:  # making one is not safe in several threads; using one is
            if (service, region) not in self._clients:
                config = Config(connect_timeout=_CALL_TIMEOUT_SECONDS, read_timeout=_PAYLOAD_TIMEOUT_SECONDS)
                self._clients[service, region] = self._session.client(service, region_name=region, config=config)
        return self._clients[service, region]


@functools.cache
def calls() -> AwsCalls:
    """Return this process's way to AWS, made when it is first needed.

    Raises:
        EnqueueFailed: boto3 is needed and not installed.

    """
    environ = settings.environ()
    if is_lambda(environ):
        return SignedCalls(transport())
    try:
        return Boto3Calls()
    except ModuleNotFoundError as error:
        if environ.get("AWS_ACCESS_KEY_ID"):  # all that our own transport needs
            return SignedCalls(transport())
        remedy = "pip install lambda-tasks[boto3], or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise EnqueueFailed("there is no boto3, which finds the AWS credentials", remedy=remedy) from error


@functools.cache
def transport() -> Transport:
    """Return the signed transport of this process, made when it is first needed."""
    environ = settings.environ()
    return Transport(CredentialChain(environ), environ)


def is_lambda(environ: Mapping[str, str]) -> bool:
    """Tell whether this process is a function: AWS_EXECUTION_ENV alone is also that of containers and CloudShell."""
    return "AWS_LAMBDA_RUNTIME_API" in environ or environ.get("AWS_EXECUTION_ENV", "").startswith("AWS_Lambda_")


def region_of(queue_url: str) -> str:
    """Return the region that `queue_url` names, else this process's own.

    ``https://sqs.<region>.amazonaws.com/...``, and the older ``https://<region>.queue.amazonaws.com/...``.
    """
    host = queue_url.partition("://")[2].split("/")[0].split(".")
    for before, name in itertools.pairwise(host):
        if before in ("sqs", "sqs-fips") and len(host) > 2:
            return name
        if name == "queue" and before:
            return before
    return _region() or endpoints.DEFAULT_REGION


def _region() -> str | None:
    return endpoints.own_region(settings.environ())
