"""The calls of AWS that this package makes beside those of its table: signed here inside Lambda, else by boto3.

A process has one signed transport for all of them, and for its table: one set of credentials and connections.
"""

from __future__ import annotations

import functools
import time

from lambda_tasks import settings
from lambda_tasks.aws import endpoints
from lambda_tasks.aws.credentials import CredentialChain
from lambda_tasks.aws.http import MAX_BODY_BYTES
from lambda_tasks.aws.queue_address import QueueAddress
from lambda_tasks.aws.retry import CALL_SECONDS, PAYLOAD_SECONDS
from lambda_tasks.aws.transport import CallFailed, Transport
from lambda_tasks.errors import EnqueueFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from lambda_tasks.aws.http import Admit

    class ProducerCalls(Protocol):
        """The calls of a producer. Usable from several threads; each raises `CallFailed` where AWS does not comply."""

        def sqs(self, operation: str, queue: QueueAddress, request: Mapping[str, Any]) -> dict[str, Any]:
            """Return SQS's answer to an operation on `queue`, such as ``SendMessage``."""
            ...

        def submit(self, service: str, operation: str, request: Mapping[str, Any], *, region: str) -> dict[str, Any]:
            """Return the answer of Batch's ``SubmitJob``, or of an operation of ECS."""
            ...

        def create_schedule(self, name: str, request: Mapping[str, Any], *, region: str) -> str:
            """Create a schedule in EventBridge Scheduler and return its ARN."""
            ...

        def publish(self, topic_arn: str, request: Mapping[str, Any]) -> str:
            """Publish to a topic of SNS and return the message's id; `request` has the other fields of ``Publish``."""
            ...

        def put_object(self, bucket: str, key: str, body: bytes) -> None:
            """Put an object into S3."""
            ...


class SignedCalls:
    """Our own transport, with the credentials that Lambda gives every function."""

    def __init__(self, transport: Transport, environ: Mapping[str, str]) -> None:
        self._transport = transport
        self._environ = environ

    def sqs(
        self, operation: str, queue: QueueAddress, request: Mapping[str, Any], *, deadline: float | None = None
    ) -> dict[str, Any]:
        """Return SQS's answer to an operation on `queue`, asked for until `deadline`, a reading of ``time.monotonic``.

        Raises:
            CallFailed: SQS did not comply, or it is not known whether it did.

        """
        return self._transport.call(
            "sqs",
            operation,
            {"QueueUrl": queue.url, **request},
            region=queue.region,
            partition=queue.partition,
            deadline=_within(CALL_SECONDS, deadline),
        )

    def submit(self, service: str, operation: str, request: Mapping[str, Any], *, region: str) -> dict[str, Any]:
        """Return the answer of Batch's ``SubmitJob``, or of an operation of ECS.

        Raises:
            CallFailed: as `sqs`.

        """
        partition, deadline = endpoints.partition_of(region), time.monotonic() + CALL_SECONDS
        if service == "ecs":
            return self._transport.call(
                service, operation, request, region=region, partition=partition, deadline=deadline
            )
        import json  # noqa: PLC0415 - few messages become jobs

        answer = self._transport.send(
            service,
            "POST",
            f"/v1/{operation.lower()}",
            json.dumps(request).encode(),
            region=region,
            partition=partition,
            deadline=deadline,
            headers={"Content-Type": "application/json"},
        )
        try:
            return dict(json.loads(answer))
        except (ValueError, TypeError, RecursionError) as error:
            raise CallFailed("Batch did not say whether it took the job") from error

    def create_schedule(self, name: str, request: Mapping[str, Any], *, region: str) -> str:
        """Create a schedule in EventBridge Scheduler and return its ARN.

        Raises:
            CallFailed: as `sqs`.

        """
        import json  # noqa: PLC0415 - few messages are scheduled

        answer = self._transport.send(
            "scheduler",
            "POST",
            f"/schedules/{name}",
            json.dumps(request).encode(),
            region=region,
            partition=endpoints.partition_of(region),
            deadline=time.monotonic() + CALL_SECONDS,
            headers={"Content-Type": "application/json"},
        )
        try:
            return str(json.loads(answer)["ScheduleArn"])
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise CallFailed("Scheduler did not say whether it took the schedule") from error

    def publish(self, topic_arn: str, request: Mapping[str, Any], *, deadline: float | None = None) -> str:
        """Publish to a topic of SNS, in the topic's own region, and return the message's id.

        The other fields of ``Publish`` are those of `request`; attributes are texts.

        Raises:
            CallFailed: as `sqs`.

        """
        from urllib.parse import urlencode  # noqa: PLC0415 - few functions publish

        _, partition, _, region, *_ = topic_arn.split(":")
        form = {"Action": "Publish", "Version": "2010-03-31", "TopicArn": topic_arn, **request}
        # https://docs.aws.amazon.com/sns/latest/api/API_Publish.html: a map has an entry's name and value by number
        for number, (name, value) in enumerate(form.pop("MessageAttributes", {}).items(), 1):
            entry = f"MessageAttributes.entry.{number}"
            form |= {f"{entry}.Name": name, **{f"{entry}.Value.{part}": text for part, text in value.items()}}
        answer = self._transport.send(
            "sns",
            "POST",
            "/",
            urlencode(form).encode(),
            region=region,
            partition=partition,
            deadline=_within(CALL_SECONDS, deadline),
            headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
        )
        message_id = answer.partition(b"<MessageId>")[2].partition(b"</MessageId>")[0]
        if not message_id:
            raise CallFailed("SNS did not say whether it took the message")
        return message_id.decode("utf-8", "replace")

    def put_object(self, bucket: str, key: str, body: bytes, *, deadline: float | None = None) -> None:
        """Put an object into S3, in the process's own region.

        Raises:
            CallFailed: as `sqs`.

        """
        self._s3("PUT", bucket, key, body, _within(PAYLOAD_SECONDS, deadline), MAX_BODY_BYTES)

    def get_object(self, bucket: str, key: str, *, deadline: float, admit: Admit) -> bytes:
        """Return an object of S3, asked for until `deadline`. `admit` is told its size before it is read.

        Raises:
            CallFailed: as `sqs`.
            BaseException: `admit` does.

        """
        return self._s3("GET", bucket, key, b"", max(deadline, time.monotonic()), admit)

    def _s3(
        self, method: str, bucket: str, key: str, body: bytes, deadline: float, max_answer_bytes: int | Admit
    ) -> bytes:
        from urllib.parse import quote  # noqa: PLC0415 - most functions have no large payloads

        region = endpoints.own_region(self._environ) or endpoints.DEFAULT_REGION
        # The bucket is in the path, and not in the host's name: certificates do not cover buckets with a dot.
        return self._transport.send(
            "s3",
            method,
            f"/{bucket}/{quote(key, safe='/~')}",
            body,
            region=region,
            partition=endpoints.partition_of(region),
            deadline=deadline,
            max_answer_bytes=max_answer_bytes,
        )


@functools.cache
def calls() -> ProducerCalls:
    """Return this process's way to AWS, made when it is first needed.

    Raises:
        EnqueueFailed: boto3 is needed and not installed.

    """
    environ = settings.environ()
    if is_lambda(environ):
        return SignedCalls(transport(), environ)
    try:
        from lambda_tasks.aws.boto3_calls import Boto3Calls  # noqa: PLC0415 - not for functions: the layer has none

        return Boto3Calls()
    except ModuleNotFoundError as error:
        if environ.get("AWS_ACCESS_KEY_ID"):  # all that our own transport needs
            return SignedCalls(transport(), environ)
        remedy = "pip install lambda-tasks[boto3], or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise EnqueueFailed("there is no boto3, which finds the AWS credentials", remedy=remedy) from error


@functools.cache
def transport() -> Transport:
    """Return the signed transport of this process, made when it is first needed."""
    environ = settings.environ()
    return Transport(CredentialChain(environ), environ)


def forget() -> None:
    """Let the next call have new connections and credentials, as after a SnapStart restore."""
    if transport.cache_info().currsize:
        transport().close()
    transport.cache_clear()
    calls.cache_clear()


def queue_at(url: str) -> QueueAddress:
    """Return the address of the queue with this URL, as this process reaches it."""
    return QueueAddress.of_url(url, settings.environ())


def is_lambda(environ: Mapping[str, str]) -> bool:
    """Tell whether this process is a function: AWS_EXECUTION_ENV alone is also that of containers and CloudShell."""
    return "AWS_LAMBDA_RUNTIME_API" in environ or environ.get("AWS_EXECUTION_ENV", "").startswith("AWS_Lambda_")


def _within(seconds: float, deadline: float | None) -> float:
    now = time.monotonic()
    return now + seconds if deadline is None else max(deadline, now)
