"""Fixtures that make this process a producer, by each of the two ways to AWS."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lambda_tasks.aws import calls as aws_calls
from lambda_tasks.aws.transport import Transport
from lambda_tasks.local.embedded_aws import EmbeddedAws
from lambda_tasks.local.queue import Queue

SettingsVariables = ("MODE", "QUEUE_URL", "PAYLOAD_BUCKET", "SCHEDULER_ROLE_ARN", "MODULES")


@pytest.fixture
def calls_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test have the clients and connections of its own environment, which has no settings yet."""
    for name in SettingsVariables:
        monkeypatch.delenv(f"LAMBDA_TASKS_{name}", raising=False)
    aws_calls.calls.cache_clear()
    aws_calls.transport.cache_clear()
    yield
    made: Transport = aws_calls.transport()
    made.close()
    aws_calls.calls.cache_clear()
    aws_calls.transport.cache_clear()


@pytest.fixture(params=["boto3", "signed"])
def producer(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    embedded_aws: EmbeddedAws,
    calls_of_its_own: None,  # noqa: ARG001
) -> EmbeddedAws:
    """Make this process a producer of the embedded AWS: one outside of Lambda, and one inside."""
    for name, value in embedded_aws.environ().items():
        monkeypatch.setenv(name, value)
    if request.param == "signed":
        monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    return embedded_aws


@pytest.fixture
def default_queue(producer: EmbeddedAws, make_queue: Callable[..., Queue], monkeypatch: pytest.MonkeyPatch) -> Queue:  # noqa: ARG001
    """The queue that tasks go to by default."""
    made = make_queue()
    monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL", made.url)
    return made
